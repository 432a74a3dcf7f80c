"""The behaviour probes on this kernel: they answer in time, leave nothing, and fail where the behaviour is another."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ebpfmesh import features
from ebpfmesh.lowlevel.mount import cgroup2_mount
from ebpfmesh.testing import NetNs, PrivateCgroup
from ebpfmesh.tiers.l7 import behaviour
from ebpfmesh.tiers.l7.behaviour import catalogue, measuring, site, trial
from ebpfmesh.tiers.l7.behaviour.site import Site, Verdict
from slower import SLOWER

pytestmark = pytest.mark.kernel(feature="sockhash")

# what an enrolled socket of this kernel does not do: programs that rely on it stay out of the mesh
KNOWN = {
    "zerocopy_notices": "the number of the last notice of 1 calls: 2 instead of 0",
    "blocked_receive": "when there was room to send",
    "wait_all": "recv(MSG_WAITALL)",
    "below_low_water": "EAGAIN, with 100 bytes there",
    "splice_receive": "EAGAIN, with 20000 bytes to read",
    "urgent": "the urgent byte of what the server sends",
}


def probe(name: str):
    return next(one for one in catalogue.every() if one.name == name)


@pytest.fixture
def enrolling(cgroup: PrivateCgroup, netns: NetNs) -> Iterator[Site]:
    """A site in this process: it is in the cgroup meanwhile."""
    with Site(cgroup.fd) as made, cgroup.enter():
        yield made


@pytest.fixture
def impatient(netns, monkeypatch):
    """The test's namespace and its patches, the first of which makes time-outs short."""
    monkeypatch.setattr(site, "PATIENCE", 0.1)
    return netns, monkeypatch


def made(netns: NetNs, one, where: Site):
    return netns.call(lambda: trial.make(one, where))


def test_all_probes_answer_in_time_and_leave_no_cgroup():
    found = behaviour.measure()
    assert found.conclusive, [(one.name, one.text) for one in found.outcomes if one.state == "unknown"]
    assert [one.name for one in found.outcomes] == [one.name for one in catalogue.every()]
    assert found.seconds < 2 * SLOWER
    assert not list(cgroup2_mount().glob(f"ebpfmesh-probe-{os.getpid()}-*"))
    assert all(one.remedy for one in found.failing)


@pytest.mark.skipif(
    not os.uname().release.startswith(("6.18.", "6.1.")), reason="these are the answers of 6.18 and 6.1"
)
def test_what_this_kernel_does():
    found = behaviour.measure()
    assert found.disabled == frozenset()
    assert {one.name for one in found.failing} == set(KNOWN)
    for one in found.failing:
        assert KNOWN[one.name] in one.text


@pytest.mark.parametrize("name", [one.name for one in catalogue.every() if one.name not in KNOWN])
def test_a_probe_alone_and_again(netns, enrolling, name):
    for _ in range(3):
        outcome = made(netns, probe(name), enrolling)
        assert outcome.state == "ok", outcome.text


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_ordinary_sockets_do_what_enrolled_ones_do_not(netns, enrolling, name):
    assert netns.call(lambda: trial._attempt(probe(name), enrolling, ordinary=True)) == ("ok", "")


# --- a kernel that does otherwise: the object is told to do something else than the probe asks ----------------------------


def otherwise(monkeypatch: pytest.MonkeyPatch, enrolling: Site, verdict: Verdict) -> None:
    says = enrolling.says
    monkeypatch.setattr(enrolling, "says", lambda _wanted, **options: says(verdict, **options))


def test_a_verdict_that_outlives_a_failed_push_is_found(netns, enrolling, monkeypatch):
    """SK_PASS is remembered by the kernel: the hazard because of which messages are redirected instead."""
    otherwise(monkeypatch, enrolling, Verdict.PASSES)
    outcome = made(netns, probe("egress_redirect"), enrolling)
    assert (outcome.state, outcome.disables) == ("fails", ("enrolment",))
    assert outcome.text == "the program runs after a push that failed: False instead of True"


@pytest.mark.parametrize(
    ("name", "verdict", "text"),
    [
        ("local_reply", Verdict.FORWARDS, "poll() tells of the reply"),
        ("local_reply", Verdict.SWALLOWS, "TimeoutError"),
        ("local_reply", Verdict.REFUSES, "PermissionError"),
        ("swallow", Verdict.FORWARDS, "the server saw a message of 1 bytes"),
        ("half_close", Verdict.SWALLOWS, "what the server gets before the client's end: b''"),
        ("sendfile", Verdict.SWALLOWS, "TimeoutError"),
        ("nonblocking", Verdict.REFUSES, "PermissionError"),
    ],
)
def test_a_kernel_that_does_otherwise_is_found(impatient, enrolling, name, verdict, text):
    netns, monkeypatch = impatient
    otherwise(monkeypatch, enrolling, verdict)
    outcome = made(netns, probe(name), enrolling)
    assert outcome.state == "fails"
    assert text in outcome.text


def test_a_reply_that_is_another_is_found(netns, enrolling, monkeypatch):
    monkeypatch.setattr("ebpfmesh.tiers.l7.behaviour.local_reply.REPLY", site.REPLY[:-1] + b"?")
    outcome = made(netns, probe("local_reply"), enrolling)
    assert outcome.state == "fails"
    assert outcome.text.startswith("the reply: 64 bytes")


def test_a_client_that_is_not_enrolled_is_found(cgroup, netns):
    def with_a_full_map():
        with Site(cgroup.fd, capacity=1) as small, cgroup.enter(), small.connection():
            return trial.make(probe("fionread"), small)

    outcome = netns.call(with_a_full_map)
    assert (outcome.state, outcome.text) == ("fails", "the client was not enrolled at ESTABLISHED")


# --- probes that do not end, or cannot be made ----------------------------------------------------------------------------


def measured_with_a_child_that_stops(monkeypatch: pytest.MonkeyPatch, links: int) -> behaviour.Behaviour:
    """What is measured where the first child stands still as soon as it has attached so many links."""
    monkeypatch.setattr(measuring, "HUNG", 3.0)
    monkeypatch.setattr(measuring, "BEGINS", 3.0)
    found: list[behaviour.Behaviour] = []
    thread = threading.Thread(target=lambda: found.append(behaviour.measure()))
    before = _children()
    thread.start()
    stopped = _stop_a_new_child(before, links)
    thread.join(20 * SLOWER)
    assert stopped
    assert not thread.is_alive()
    assert [one.name for one in found[0].outcomes] == [one.name for one in catalogue.every()]
    return found[0]


def test_a_probe_that_hangs_fails_and_the_others_are_made(monkeypatch):
    links = 3 if features.supported("sockmap_link") else 1  # the last of them is there either way
    outcomes = measured_with_a_child_that_stops(monkeypatch, links=links).outcomes
    hung = [one.name for one in outcomes if one.text == "it did not come to an end"]
    assert len(hung) == 1
    assert {one.name for one in outcomes if one.state == "fails"} - set(hung) <= set(KNOWN)
    assert {one.state for one in outcomes} == {"ok", "fails"}


def test_a_process_that_does_not_begin_says_nothing_of_the_kernel(monkeypatch):
    found = measured_with_a_child_that_stops(monkeypatch, links=0)
    assert {(one.state, one.text) for one in found.outcomes} == {
        ("unknown", "the probes' process did not begin in time")
    }
    assert "enrolment" not in found.disabled


def test_a_process_that_is_slow_is_waited_for(monkeypatch):
    """It computes for longer than an idle one is given; that of a machine that is emulated takes a minute to begin."""
    monkeypatch.setattr(measuring, "BEGINS", 0.5 * SLOWER)
    monkeypatch.setattr(measuring, "HUNG", 0.5 * SLOWER)
    busy = "import time\nend = time.process_time() + 1.5\nwhile time.process_time() < end: pass\nprint(flush=True)"
    begin = time.monotonic()
    said, hung, _ = measuring._heard([sys.executable, "-c", busy], 0, begin + 60 * SLOWER)
    assert (said, hung) == (b"\n", False)
    assert time.monotonic() - begin >= 1.5
    idle = "import time\nprint(flush=True)\ntime.sleep(60)"
    said, hung, _ = measuring._heard([sys.executable, "-c", idle], 0, begin + 60 * SLOWER)
    assert (said, hung) == (b"\n", True)


def test_the_time_for_all_probes_says_nothing_of_the_kernel():
    found = behaviour.measure(timeout=0.01)
    assert {one.state for one in found.outcomes} == {"unknown"}
    assert found.tentative


def test_the_time_for_all_probes_ends_a_process_that_keeps_talking():
    talks = "import time\nwhile True: print(flush=True); time.sleep(0.01)"
    begin = time.monotonic()
    said, hung, _ = measuring._heard([sys.executable, "-c", talks], 0, begin + 1)
    assert said and hung
    assert 1 <= time.monotonic() - begin < 10 * SLOWER


def _children() -> set[str]:
    found: set[str] = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # a thread that has just ended
            found.update((task / "children").read_text().split())
    return found


def _stop_a_new_child(before: set[str], links: int) -> bool:
    deadline = time.monotonic() + 5 * SLOWER
    while time.monotonic() < deadline:
        for child in _children() - before:
            # not between fork() and exec(), while the parent waits for the latter
            with suppress(FileNotFoundError):
                if b"ebpfmesh.tiers.l7.behaviour" not in Path(f"/proc/{child}/cmdline").read_bytes().split(
                    b"\0"
                ):
                    continue
                if _links(child) >= links:
                    time.sleep(0.03 * SLOWER if links else 0)  # into the probes, which take ten times that
                    os.kill(int(child), signal.SIGSTOP)
                    return True
        time.sleep(0.001)
    return False


def _links(child: str) -> int:
    """How many BPF links a process holds."""
    found = 0
    for entry in Path(f"/proc/{child}/fd").iterdir():
        with suppress(OSError):
            found += str(entry.readlink()).replace("_", "-").endswith("bpf-link")
    return found


def test_where_the_process_cannot_begin_nothing_can_be_told(monkeypatch):
    monkeypatch.setattr(measuring.sys, "executable", "/bin/false")
    found = behaviour.measure(timeout=2)
    assert {one.state for one in found.outcomes} == {"unknown"}
    assert found.outcomes[0].text == "the probes' process ended without a word"
    assert found.disabled == {"local_reply", "swallow"}


def test_where_no_cgroup_can_be_made_nothing_can_be_told(monkeypatch):
    from ebpfmesh.errors import HostError

    def refuse() -> None:
        raise HostError("no cgroup v2 is mounted")

    monkeypatch.setattr(measuring, "throwaway_cgroup", refuse)
    found = behaviour.measure()
    assert {(one.state, one.text) for one in found.outcomes} == {("unknown", "no cgroup v2 is mounted")}


def test_the_features_that_the_object_needs_are_there():
    assert features.supported("sockhash")
    assert features.supported("sk_storage")
