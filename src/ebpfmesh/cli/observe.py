"""``ebpfmesh observe [NAME]``: the decisions of a mesh as they are made."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from ebpfmesh.cli.decision_line import line
from ebpfmesh.cli.mesh_name import add_name, mesh_name

if TYPE_CHECKING:
    from ebpfmesh.observe import Stream

_TELL_EVERY = 1.0  # seconds between words about what is missing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """NAME and what to show of it."""
    add_name(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument(
        "--earlier", action="store_true", help="begin with what nobody read yet, however old it is"
    )
    parser.add_argument("--count", type=int, metavar="N", help="end after N decisions")
    parser.add_argument("--seconds", type=float, metavar="S", help="end after S seconds")


def run(arguments: argparse.Namespace) -> int:
    """Print decisions until it is ended. HostError if there is no such mesh, or it judges no requests."""
    from ebpfmesh.cli.pinned import pins_of
    from ebpfmesh.observe import Observer

    with (
        Observer(pins_of(mesh_name(arguments), arguments)) as observer,
        observer.stream(earlier=arguments.earlier) as stream,
    ):
        _follow(stream, arguments)
    return 0


def _follow(stream: Stream, arguments: argparse.Namespace) -> None:
    import msgspec

    end = None if arguments.seconds is None else time.monotonic() + arguments.seconds
    shown, missing = 0, 0
    while arguments.count is None or shown < arguments.count:
        left = _TELL_EVERY if end is None else min(_TELL_EVERY, end - time.monotonic())
        if left <= 0:
            break
        decision = stream.read(left)
        if decision is not None:
            text = msgspec.json.encode(decision).decode() if arguments.json else line(decision)
            sys.stdout.write(text + "\n")
            sys.stdout.flush()
            shown += 1
        if (dropped := stream.dropped) > missing:
            print(f"ebpfmesh: {dropped - missing} more were not told: too many at a time", file=sys.stderr)
            missing = dropped
