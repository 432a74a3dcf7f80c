"""``ebpfmesh cleanup [NAME]``: remove the pins and records of a dead agent, and nothing that is not ours."""

from __future__ import annotations

import argparse
import sys

from ebpfmesh.cli.mesh_name import add_name, mesh_name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """NAME, --stop, --timeout and --json."""
    add_name(parser)
    parser.add_argument("--stop", action="store_true", help="stop the agent first, if one runs")
    parser.add_argument(
        "--timeout",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="how long --stop waits for the agent's end (10)",
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
    from ebpfmesh.ownership import cleanup

    removed = cleanup(name, arguments.run_root, arguments.bpffs)
    if getattr(arguments, "json", False):
        print_json(removed)
        return 1 if removed.left else 0
    if not removed.found:
        print(f"nothing of {name} is here")
    else:
        print(
            f"removed {plural(len(removed.links), 'link')} and {plural(len(removed.maps), 'map')} of {name}"
        )
    for left in removed.left:
        print(f"left alone, not ours: {left}", file=sys.stderr)
    return 1 if removed.left else 0
