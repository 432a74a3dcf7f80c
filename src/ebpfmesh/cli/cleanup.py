"""``ebpfmesh cleanup [NAME]``: remove the pins and records of a dead agent, and nothing that is not ours."""

from __future__ import annotations

import argparse
import sys

from ebpfmesh.cli.mesh_name import add_name, mesh_name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """NAME, --stop, --timeout, --force and --json."""
    add_name(parser)
    parser.add_argument("--stop", action="store_true", help="stop the agent first, if one runs")
    parser.add_argument(
        "--timeout",
        type=float,
        default=45.0,
        metavar="SECONDS",
        help="how long --stop waits for the agent's end (45)",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="reset the connections that are still open and would need some pins until they close",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Remove what is ours; 1 if something had to stay."""
    name = mesh_name(arguments)
    if arguments.stop:
        from ebpfmesh.cli.stop import stop

        stop(name, arguments)
    return remove(name, arguments)


def remove(name: str, arguments: argparse.Namespace) -> int:
    """Clean up ``name`` and say what was removed and what was left; the exit status.

    Errors: HeldError while an agent lives.
    """
    from ebpfmesh.cli.output import plural, print_json
    from ebpfmesh.ownership import PinDirectory, cleanup

    def first(pins: PinDirectory) -> int:
        if "l7_sockets" not in pins.maps() and not pins.draining():
            return 0
        from ebpfmesh.tiers.l7 import draining

        return draining.end(pins, force=getattr(arguments, "force", False))

    removed = cleanup(name, arguments.run_root, arguments.bpffs, first=first)
    if getattr(arguments, "json", False):
        print_json(removed)
        return 1 if removed.left or removed.draining else 0
    if not removed.found:
        print(f"nothing of {name} is here")
    else:
        print(
            f"removed {plural(len(removed.links), 'link')} and {plural(len(removed.maps), 'map')} of {name}"
        )
    for left in removed.left:
        print(f"left alone, not ours: {left}", file=sys.stderr)
    if removed.draining:
        from ebpfmesh.tiers.l7 import draining

        print(draining.notice(name, removed.draining), file=sys.stderr)
    return 1 if removed.left or removed.draining else 0
