"""The process that makes the probes: ``python -m ebpfmesh.tiers.l7.behaviour CGROUP FIRST``; see `measure`.

It moves into the cgroup behind the descriptor CGROUP, makes the probes from number FIRST on, and prints a line for each:
the outcome as JSON, and an empty one before the first.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec

from ebpfmesh.errors import EbpfMeshError
from ebpfmesh.lowlevel import netns
from ebpfmesh.tiers.l7.behaviour import catalogue, trial
from ebpfmesh.tiers.l7.behaviour.site import Site, raise_loopback


def main(cgroup: int, first: int) -> int:
    """Make the probes; 1 and one line on stderr if they cannot be made."""
    try:
        # a socket is of the cgroup that its process is in when it is made
        Path(f"/proc/self/fd/{cgroup}/cgroup.procs").write_text("0")
        namespace = _namespace()
        netns.inside(namespace, lambda: _run(cgroup, first))
    except (EbpfMeshError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _namespace() -> int | None:
    """A namespace of its own, where nobody filters; without the right to make one, the one that we are in."""
    try:
        return netns.create()
    except EbpfMeshError:
        return None


def _run(cgroup: int, first: int) -> None:
    with suppress(PermissionError):  # in the host's namespace it is up
        raise_loopback()
    with ExitStack() as stack:
        site = stack.enter_context(Site(cgroup))
        print(flush=True)  # an empty line: it begins
        for probe in catalogue.every()[first:]:
            sys.stdout.write(msgspec.json.encode(trial.make(probe, site)).decode() + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
