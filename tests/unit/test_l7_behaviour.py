"""What is made of the behaviour probes' answers: what they disable, the list of known-bad kernels, what is remembered."""

from __future__ import annotations

import re

import msgspec
import pytest

from ebpfmesh.tiers.l7.behaviour import Behaviour, Outcome, catalogue, memory, remember, remembered, trial
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


def test_what_had_no_answer_is_not_remembered(tmp_path):
    path = tmp_path / "behaviour.json"
    remember(path, behaviour(OK))
    remember(path, behaviour(OK, outcome("unknown", "local_reply")))
    assert remembered(path) is None
    assert not path.exists()


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
    import dataclasses

    probe = dataclasses.replace(probe, run=lambda site: site.answer(), ordinary=True)
    found = trial.make(probe, FakeSite(enrolled, ordinary))
    assert (found.state, found.text) == (state, text)
    assert bool(found.remedy) == (state != "ok")
