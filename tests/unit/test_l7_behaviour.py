"""What is made of the behaviour probes' answers: what they disable, the list of known-bad kernels, what is remembered."""

from __future__ import annotations

import dataclasses
import re
import time

import msgspec
import pytest

from ebpfmesh.tiers.l7 import abilities
from ebpfmesh.tiers.l7.behaviour import (
    Behaviour,
    Outcome,
    catalogue,
    memory,
    remember,
    remembered,
    site,
    trial,
)
from ebpfmesh.tiers.l7.behaviour.large_message import fixed
from ebpfmesh.tiers.l7.behaviour.probe import UnlikeError, expect

OK = Outcome("a", "a works", "ok", disables=("enrolment",))


def behaviour(*outcomes: Outcome) -> Behaviour:
    return Behaviour("6.18.44", outcomes, 0.4)


def outcome(state, *disables):
    return Outcome(f"{state} {disables}", "it works", state, "seen", "remedy", disables)


def test_every_probe_says_what_it_proves_and_what_to_do():
    names = [probe.name for probe in catalogue.every()]
    assert len(set(names)) == len(names)
    for probe in catalogue.every():
        assert re.fullmatch(r"[a-z_]+", probe.name)
        assert probe.proves and probe.remedy
        assert not probe.proves.endswith(".")


def test_the_issues_behaviours_are_all_probed():
    """The list of issue 4, "Enrolment"."""
    assert {probe.name for probe in catalogue.every()} >= {
        "fionread", "local_reply", "half_close", "queued_fin", "peek", "wait_all", "splice_receive", "splice_send",
        "sendfile", "zero_window", "large_message", "nonblocking", "epoll_level", "epoll_edge", "low_water",
    }  # fmt: skip


def test_what_fails_disables_what_depends_on_it():
    assert behaviour(OK).disabled == frozenset()
    assert behaviour(OK, outcome("fails", "local_reply")).disabled == {"local_reply"}
    assert behaviour(outcome("fails", "enrolment"), outcome("fails", "swallow")).disabled == {
        "enrolment",
        "swallow",
    }
    assert behaviour(outcome("fails")).disabled == frozenset()


def test_what_could_not_be_told_disables_all_but_enrolment():
    found = behaviour(outcome("unknown", "enrolment"), outcome("unknown", "local_reply"))
    assert found.disabled == {"local_reply"}
    assert not found.conclusive
    assert behaviour(OK).conclusive
    assert not behaviour().conclusive


def test_failing_probes_are_listed_the_worst_first():
    harmless, harmful = outcome("fails"), outcome("fails", "enrolment")
    found = behaviour(OK, harmless, harmful)
    assert found.failing == (harmful, harmless)
    assert found.of("a") is OK
    with pytest.raises(KeyError):
        found.of("b")


def test_an_outcome_goes_through_json():
    one = outcome("fails", "enrolment", "swallow")
    assert msgspec.json.decode(msgspec.json.encode(one), type=Outcome) == one


@pytest.mark.parametrize(
    ("release", "version", "expected"),
    [
        ("6.18.44", "", True),
        ("6.16.0", "", True),
        ("7.0.0-rc1", "", True),
        ("6.15.3", "", True),
        ("6.15.2", "", False),
        ("6.15.0-rc4", "", None),  # no patch level: a release candidate, or a distributor's numbering
        ("6.12.34+deb13-amd64", "", True),
        ("6.12.33-custom", "", False),
        ("6.6.93", "", False),
        ("6.1.142", "", True),
        ("6.1.0-32-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.129-1 (2025-03-06)", False),
        ("6.1.0-37-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.147-1 (2025-08-02)", True),
        ("6.1.0-32-amd64", "", None),
        ("6.8.0-60-generic", "#63-Ubuntu SMP", None),
        ("6.14.11", "", None),  # ended before the fix
        ("5.14.0-503.el9.x86_64", "", None),
        ("strange", "", None),
    ],
)
def test_kernels_with_the_panic_are_known_by_their_release(release, version, expected):
    assert fixed(release, version) is expected


def test_what_was_measured_is_remembered_for_this_boot(tmp_path, monkeypatch):
    path, found = tmp_path / "behaviour.json", behaviour(OK)
    assert remembered(path) is None
    remember(path, found)
    assert path.stat().st_mode & 0o777 == 0o600
    again = remembered(path)
    assert again is not None
    assert again.remembered
    assert again.outcomes == found.outcomes
    assert [entry.name for entry in tmp_path.iterdir()] == ["behaviour.json"]
    other = tmp_path / "boot_id"
    other.write_text("another boot\n")
    monkeypatch.setattr(memory, "_BOOT_ID", other)
    assert remembered(path) is None


def test_another_kernel_or_other_live_patches_are_measured_anew(tmp_path, monkeypatch):
    path = tmp_path / "behaviour.json"
    remember(path, behaviour(OK))
    patches = tmp_path / "livepatch"
    (patches / "fix_sockmap").mkdir(parents=True)
    with monkeypatch.context() as patched:
        patched.setattr(memory, "_LIVEPATCHES", patches)
        assert remembered(path) is None
    with monkeypatch.context() as patched:
        patched.setattr(memory.platform, "release", lambda: "6.18.45")
        assert remembered(path) is None
    assert remembered(path) is not None


def test_what_had_no_answer_is_kept_for_people_and_measured_again(tmp_path, monkeypatch):
    path, answers = (
        tmp_path / "behaviour.json",
        [behaviour(OK, outcome("unknown", "local_reply")), behaviour(OK)],
    )
    monkeypatch.setattr("ebpfmesh.tiers.l7.behaviour.measure", lambda: answers.pop(0))
    without, again, third = abilities.measured(path), abilities.measured(path), abilities.measured(path)
    assert without.disabled == {"local_reply"}
    assert again.disabled == frozenset()
    assert third.remembered  # conclusive: nothing is left to ask for
    remember(path, without)
    assert remembered(path).reasons == {"local_reply": "probe unknown ('local_reply',) has no answer: seen"}


def test_the_reason_of_what_is_left_out_is_a_failure_rather_than_a_missing_answer():
    found = behaviour(outcome("unknown", "local_reply"), OK, outcome("fails", "local_reply", "swallow"))
    failed = "probe fails ('local_reply', 'swallow') fails: seen"
    assert found.reasons == {"local_reply": failed, "swallow": failed}
    assert not found.tentative
    assert behaviour(OK, outcome("unknown", "local_reply"), outcome("fails", "swallow")).tentative
    assert not behaviour(OK, outcome("unknown", "enrolment"), outcome("unknown")).tentative


def test_people_are_told_what_is_left_out_why_and_when_it_comes_back():
    without, with_it = behaviour(outcome("unknown", "local_reply")), behaviour(OK)
    first, then = abilities.notices(without, None)
    assert first == (
        "local_reply is left out here, refusals are EACCES at send(): "
        "probe unknown ('local_reply',) has no answer: seen"
    )
    assert "made again" in then
    assert abilities.notices(without, without) == [then]
    assert abilities.notices(with_it, without) == ["local_reply is used from now on"]
    assert abilities.notices(with_it, None) == []


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"key":"x"}', b"\xff"])
def test_a_file_that_is_no_memory_is_none(tmp_path, text):
    path = tmp_path / "behaviour.json"
    path.write_bytes(text)
    assert remembered(path) is None


def test_a_difference_is_told_shortly():
    expect(1, 1, "one")
    with pytest.raises(UnlikeError, match=r"^what is read: b'ab' instead of b'ac'$"):
        expect(b"ab", b"ac", "what is read")
    with pytest.raises(UnlikeError, match=r"^x: 5000 bytes beginning with b'aaaaaaaa' instead of 2$"):
        expect(b"a" * 5000, 2, "x")


class FakeSite:
    """A site whose sockets do what the test says, enrolled and ordinary."""

    def __init__(self, enrolled, ordinary):
        self.answers, self.ordinary = {False: enrolled, True: ordinary}, False

    def answer(self):
        if (error := self.answers[self.ordinary]) is not None:
            raise error


@pytest.mark.parametrize(
    ("enrolled", "ordinary", "state", "text"),
    [
        (None, None, "ok", ""),
        (UnlikeError("other"), None, "fails", "other"),
        (TimeoutError("timed out"), None, "fails", "TimeoutError: timed out"),
        (
            UnlikeError("other"),
            UnlikeError("so too"),
            "unknown",
            "an ordinary socket does not do it here either: so too",
        ),
    ],
)
def test_a_failure_counts_only_if_an_ordinary_socket_does_it(enrolled, ordinary, state, text):
    probe = catalogue.every()[1]
    probe = dataclasses.replace(probe, run=lambda site: site.answer(), ordinary=True)
    found = trial.make(probe, FakeSite(enrolled, ordinary))
    assert (found.state, found.text) == (state, text)
    assert bool(found.remedy) == (state != "ok")


def test_a_slow_machine_is_not_a_failing_kernel(slow):
    """What needs longer than the first patience, and no longer than the second."""
    made, patiences = slow(lambda: 2.0)
    assert (made.state, made.text) == ("ok", "")
    assert patiences == [0.1, *[0.1 * trial.PATIENT] * trial.AGAIN]


def test_a_kernel_that_forgets_now_and_then_fails_however_much_patience_it_gets(slow):
    waits = iter([2.0, 0.0, 0.0, 100.0])
    made, patiences = slow(lambda: next(waits))
    assert (made.state, made.text) == ("fails", "TimeoutError: timed out")
    assert len(patiences) == 4


def test_a_difference_that_was_not_waited_for_is_final(slow):
    made, patiences = slow(lambda: None)
    assert (made.state, made.text) == ("fails", "other")
    assert patiences == [0.1]


@pytest.fixture
def slow(monkeypatch):
    """Make a probe whose peer takes so many times the first patience; None: it says another thing at once."""
    monkeypatch.setattr(site, "PATIENCE", 0.1)

    def make(wait):
        patiences = []

        def run(_site):
            patiences.append(pytest.approx(site.patience()))
            if (times := wait()) is None:
                raise UnlikeError("other")
            time.sleep(min(times * 0.1, site.patience()))
            if times * 0.1 > site.patience():
                raise TimeoutError("timed out")

        probe = dataclasses.replace(catalogue.every()[0], run=run, ordinary=False)
        return trial.make(probe, FakeSite(None, None)), patiences

    return make
