"""Making all probes, in a process of their own, within a bounded time.

The bounds are of time in which the process neither computes nor waits for a processor: a machine that is emulated, or
starved by others, takes long and comes to the same answers; a process that is stuck does not. `TIMEOUT` bounds the rest.
"""

from __future__ import annotations

import os
import platform
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from ebpfmesh.errors import EbpfMeshError
from ebpfmesh.features.throwaway import throwaway_cgroup
from ebpfmesh.tiers.l7.behaviour import catalogue, trial
from ebpfmesh.tiers.l7.behaviour.outcome import Behaviour, Outcome

TIMEOUT = 300.0
"""Seconds that all probes may take together; half a second is what they take."""
BEGINS = 45.0
"""Idle seconds until the process that makes them has to begin: it may have to be read from a slow disk."""
HUNG = 15.0
"""Idle seconds without an answer after which it counts as hung; the longest wait of a probe is shorter."""
SPINS = 120.0
"""Seconds without an answer after which it counts as hung whatever it does."""
_LOOK = 0.25  # seconds between two looks at what it does


def measure(timeout: float = TIMEOUT) -> Behaviour:
    """What this kernel does with enrolled sockets: every probe made once, in a throw-away cgroup and namespace.

    The probes run in a child process: a socket gets its cgroup from the process that makes it, and what hangs is ended with
    the process: that probe "fails", those behind it are made by another child. ``timeout`` is in seconds; a probe that it
    ends is "unknown", and so are those behind it.

    Never raises for what the kernel does: where probes cannot be made (no object, no cgroup, a missing capability) their
    outcomes are "unknown" and say why. Minimum kernel: 5.13. Capabilities: CAP_BPF, CAP_NET_ADMIN; with CAP_SYS_ADMIN in a
    network namespace of their own.
    """
    start = time.monotonic()
    outcomes: list[Outcome] = []
    try:
        with throwaway_cgroup() as cgroup:
            while len(outcomes) < len(catalogue.every()):
                outcomes += _child(cgroup, len(outcomes), start + timeout)
    except (EbpfMeshError, OSError) as error:
        outcomes += _rest(len(outcomes), str(error))
    return Behaviour(platform.release(), tuple(outcomes), round(time.monotonic() - start, 3))


def _child(cgroup: int, first: int, deadline: float) -> Iterator[Outcome]:
    """The outcomes of the probes from ``first`` on; at least one."""
    command = [sys.executable, "-P", "-m", "ebpfmesh.tiers.l7.behaviour", str(cgroup), str(first)]
    left = deadline - time.monotonic()
    if left <= 0:
        yield from _rest(first, "not begun: the time for all probes was up")
        return
    said, hung, error = _heard(command, cgroup, deadline)
    late = time.monotonic() >= deadline
    began, lines = said[:1] == b"\n", said[1:]
    found = [
        msgspec.json.decode(line, type=Outcome)
        for line in lines.splitlines(keepends=True)
        if line[-1:] == b"\n"
    ]
    yield from found
    at = first + len(found)
    if at == len(catalogue.every()):
        return
    if hung and not began:
        yield from _rest(at, "the probes' process did not begin in time")
    elif hung and late:  # it was slow: nothing is known of the kernel
        yield trial.not_made(catalogue.every()[at], "unknown", "not ended: the time for all probes was up")
    elif hung:
        yield trial.not_made(catalogue.every()[at], "fails", "it did not come to an end")
    elif not found:  # the child could not begin: another would not either
        yield from _rest(at, _last_line(error) or "the probes' process ended without a word")
    else:
        yield trial.not_made(
            catalogue.every()[at], "unknown", f"the probes' process ended: {_last_line(error)}"
        )


def _heard(command: list[str], cgroup: int, deadline: float) -> tuple[bytes, bool, bytes]:
    """What the process says on standard output until it ends, or says nothing for too long: then True, and it is killed.

    Then what it said on standard error.
    """
    said = b""
    with subprocess.Popen(
        command, env=_environment(), pass_fds=(cgroup,), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        try:
            heard = busy = time.monotonic()
            work = _work(process.pid)
            while (left := deadline - time.monotonic()) > 0:
                if select.select([process.stdout], [], [], min(_LOOK, left))[0]:
                    if not (more := os.read(process.stdout.fileno(), 65536)):
                        return said, False, process.stderr.read()
                    said += more
                    heard = busy = time.monotonic()
                    continue
                now, before, work = time.monotonic(), work, _work(process.pid)
                if work != before:
                    busy = now
                if now - busy >= (HUNG if said else BEGINS) or (said and now - heard >= SPINS):
                    break
            return said, True, b""
        finally:
            process.kill()


def _work(pid: int) -> list[str]:
    """What the threads of a process have computed, and waited for a processor: it stands still where they do neither."""
    found: list[str] = []
    with suppress(OSError):  # it has just ended
        for task in Path(f"/proc/{pid}/task").iterdir():
            told = task / "schedstat"  # tells of waiting too; not every kernel is built with it
            found.append((told if told.exists() else task / "stat").read_text())
    return found


def _rest(first: int, why: str) -> Iterator[Outcome]:
    for probe in catalogue.every()[first:]:
        yield trial.not_made(probe, "unknown", why)


def _last_line(text: bytes) -> str:
    lines = text.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def _environment() -> dict[str, str]:
    """This process's, and the paths that it imports from: the child is to find the same package."""
    package = str(Path(__file__).parents[4])
    paths = [package, *(path for path in sys.path if path and path != package)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
