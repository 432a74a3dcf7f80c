"""``ebpfmesh stop [NAME]``: SIGTERM to exactly the agent, and wait; without an agent, remove what it left."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ebpfmesh.cli.mesh_name import add_name, mesh_name
from ebpfmesh.errors import HeldError, HostError

if TYPE_CHECKING:
    from ebpfmesh.ownership import PinDirectory

_LONGEST = 86400  # seconds; poll(2) waits for 24 days at most


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """NAME and --timeout."""
    add_name(parser)
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=45.0,
        metavar="SECONDS",
        help="how long to wait for the agent's end, which itself waits 30 s for connections under policy (45)",
    )


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= _LONGEST:
        raise ValueError
    return seconds


_seconds.__name__ = "number of seconds"  # argparse says "invalid number of seconds value"


def run(arguments: argparse.Namespace) -> int:
    """Stop the agent; 1 if it does not end in time."""
    name = mesh_name(arguments)
    if stop(name, arguments):
        _report_left(name, arguments)
        return 0
    from ebpfmesh.cli.cleanup import remove

    print(f"no agent of {name} runs")
    return remove(name, arguments)


def stop(name: str, arguments: argparse.Namespace) -> bool:
    """Stop the agent of ``name`` and wait; False if none runs.

    Errors: HeldError if it does not end in time; HostError if it is in another pid namespace; CapabilityError.
    """
    from ebpfmesh.ownership import RunDirectory, holder

    held = holder(RunDirectory(name, arguments.run_root))
    if held is None:
        return False
    process = held.process
    if not process.visible:
        raise HostError(
            f"process {process.pid} is in another pid namespace",
            where=f"agent {name}",
            remedy="stop it from there",
        )
    if not process.stop(arguments.timeout):
        raise HeldError(
            f"process {process.pid} did not end in {arguments.timeout:g} s",
            pid=process.pid,
            where=f"agent {name}",
            remedy="wait longer with --timeout; after a SIGKILL the data path stays, and `ebpfmesh cleanup` removes it",
        )
    print(f"stopped {name} (process {process.pid})")
    return True


def _report_left(name: str, arguments: argparse.Namespace) -> None:
    from ebpfmesh.ownership.cleanup import pin_directories

    left = pin_directories(name, arguments.run_root, arguments.bpffs)
    if left and (count := _draining(left[0])):
        from ebpfmesh.tiers.l7 import draining

        print(draining.notice(name, count))
    elif left:
        print(f"its data path stays in place ({left[0].path}); `ebpfmesh cleanup {name}` removes it")


def _draining(pins: PinDirectory) -> int:
    """Connections that are still open and keep some pins; 0 where all of the data path was left on purpose."""
    if pins.maps() or not pins.draining():
        return 0
    from ebpfmesh.tiers.l7 import draining

    return draining.count(pins)
