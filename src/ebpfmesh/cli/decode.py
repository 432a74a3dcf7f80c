"""``ebpfmesh decode FILE``: what the recorded bytes of a connection are, by the parsers that the mesh uses."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from io import FileIO
from typing import TYPE_CHECKING, Any

from ebpfmesh.errors import ConfigError, HostError, ParseError

if TYPE_CHECKING:
    from ebpfmesh.l7 import Config, Direction, Event, Parser
    from ebpfmesh.l7.contract import Engine
    from ebpfmesh.l7.recording import Recording

_PREVIEW = 48  # bytes of payload in a line for people


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """FILE, FILE2 and what to do with them."""
    parser.add_argument(
        "file", metavar="FILE", help="the bytes of a direction, as they were sent; - is standard input"
    )
    parser.add_argument(
        "other", metavar="FILE2", nargs="?", help="those of the other direction: responses as a rule"
    )
    parser.add_argument(
        "--protocol",
        metavar="NAME",
        default="auto",
        help="the parser; auto: the one that knows the first bytes (auto)",
    )
    parser.add_argument(
        "--direction", choices=("request", "response", "auto"), default="auto",
        help="whose bytes FILE holds; auto: as the first bytes look (auto)",
    )  # fmt: skip
    parser.add_argument(
        "--engine", choices=("native", "kernel"), default="native",
        help="where the core runs: as machine code here, or as BPF in the kernel, which needs root (native)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object a line; bytes are base64")
    parser.add_argument(
        "--splits",
        metavar="OFFSETS",
        type=_splits,
        default=(),
        help="where to split the bytes: 10,20,30, or every",
    )
    _add_configuration(parser)
    parser.add_argument("--port", type=int, metavar="PORT", help="of the server: a hint for --protocol auto")
    parser.add_argument("--udp", action="store_true", help="FILE is one datagram; for --protocol auto")
    parser.epilog = (
        "exit status: 0 decoded to the end, 1 not, or bytes that break the protocol, 2 wrong usage"
    )


def _add_configuration(parser: argparse.ArgumentParser) -> None:
    """What `Config` is made of."""
    parser.add_argument(
        "--lenient",
        metavar="NAME",
        action="append",
        default=[],
        help="a leniency of the protocol; may be repeated",
    )
    parser.add_argument("--all-headers", action="store_true", help="heads list all of their headers")
    parser.add_argument(
        "--header",
        metavar="NAME",
        action="append",
        default=[],
        help="a header whose value to show; up to 8 of them",
    )
    parser.add_argument(
        "--key",
        metavar="HEX",
        type=_key,
        help="32 digits: the key of the digests of secrets (one that nobody knows)",
    )


def _splits(text: str) -> tuple[int, ...] | str:
    if text == "every":
        return text
    found = tuple(int(part) for part in text.split(","))
    if min(found) < 0:
        raise ValueError
    if list(found) != sorted(found):
        raise argparse.ArgumentTypeError(f"the offsets {text} are not in order")
    return found


def _key(text: str) -> bytes:
    key = bytes.fromhex(text)
    if len(key) != 16:
        raise ValueError
    return key


_splits.__name__, _key.__name__ = "list of offsets", "key"  # argparse says "invalid key value"


def run(arguments: argparse.Namespace) -> int:
    """Print the events. Errors: ParseError where the bytes break the protocol; those of the files, parser and engine."""
    from ebpfmesh.cli import logs
    from ebpfmesh.l7.recording import replay

    logs.configure(debug=arguments.debug, as_json=arguments.json)
    if (arguments.file, arguments.other) == ("-", "-"):
        raise _wrong_usage(arguments, "only one of the files can be standard input")
    with ExitStack() as stack:
        recordings = _recordings(arguments, stack)
        parser = _parser(arguments, recordings)
        config = _config(arguments, parser, both=len(recordings) > 1)
        connection = parser.connection(config, engine=_engine(arguments, parser, stack))
        show = _show_json if arguments.json else _show
        decoded = True
        try:
            for event in replay(connection, recordings):
                decoded = show(event) and decoded
        except ParseError as error:
            _error(error, show, as_json=arguments.json)
            raise
    if not decoded:
        print(f"ebpfmesh: {_place(arguments)}: not decoded to the end", file=sys.stderr)
    return 0 if decoded else 1


# --- what is decoded, and by what -------------------------------------------------------------------------------------


def _recordings(arguments: argparse.Namespace, stack: ExitStack) -> list[Recording]:
    """FILE and FILE2, opened; the direction of FILE may still have to be found."""
    from ebpfmesh.l7 import Direction
    from ebpfmesh.l7.recording import Recording

    first = Direction.RESPONSE if arguments.direction == "response" else Direction.REQUEST
    every = arguments.splits == "every"
    splits = () if every else arguments.splits
    return [
        Recording(Direction(direction), _opened(name, stack), splits=splits, every=every)
        for name, direction in ((arguments.file, first), (arguments.other, 1 - first))
        if name is not None
    ]


def _opened(name: str, stack: ExitStack) -> Callable[[int], bytes]:
    """What reads a file, as bytes come. HostError if it cannot be opened; the reader raises it too."""
    try:
        file = stack.enter_context(FileIO(0 if name == "-" else name, closefd=name != "-"))
    except OSError as error:
        raise HostError(error.strerror or str(error), where=name) from error

    def read(length: int) -> bytes:
        try:
            return file.read(length) or b""
        except OSError as error:
            raise HostError(error.strerror or str(error), where=name) from error

    return read


def _parser(arguments: argparse.Namespace, recordings: list[Recording]) -> Parser:
    """The parser that was asked for or found; with ``--direction auto``, the directions of ``recordings`` as well."""
    from ebpfmesh.l7 import Direction
    from ebpfmesh.l7.registry import REGISTRY

    if arguments.protocol == "auto":
        transport = "udp" if arguments.udp else "tcp"
        candidates = list(REGISTRY.usable(transport))
    elif arguments.protocol in REGISTRY.names():
        candidates = [REGISTRY.parser(arguments.protocol)]
    else:
        raise _wrong_usage(
            arguments, f"there is no parser {arguments.protocol!r}; there are: {', '.join(REGISTRY.names())}"
        )
    directions = [recordings[0].direction] if arguments.direction != "auto" else list(Direction)
    if arguments.protocol == "auto" or arguments.direction == "auto":
        found, direction = _detected(candidates, recordings[0], directions, arguments.port)
        if found is None and arguments.protocol == "auto":
            raise ConfigError(
                "no parser knows its first bytes",
                where=_place(arguments),
                remedy=f"name one with --protocol: {', '.join(REGISTRY.names())}",
            )
        for recording, side in zip(recordings, (direction, 1 - direction), strict=False):
            recording.direction = Direction(side)
        return found or candidates[0]
    return candidates[0]


def _detected(
    candidates: list[Parser], recording: Recording, directions: list[Direction], port: int | None
) -> tuple[Parser | None, Direction]:
    """Which parser knows the bytes, and as whose; None and the first direction if none does."""
    from ebpfmesh.l7.detect import examine

    least = 1
    while True:
        prefix = recording.look(least)
        found = [(examine(candidates, prefix, direction, port), direction) for direction in directions]
        best, direction = max(found, key=lambda one: one[0].confidence if one[0].parser else -1)
        undecided = any(one.undecided for one, _ in found)
        if not undecided or len(prefix) < least:  # nobody waits for more, or there is no more
            return best.parser, direction if best.parser else directions[0]
        least = len(prefix) + 1


def _config(arguments: argparse.Namespace, parser: Parser, *, both: bool) -> Config:
    """The configuration of the connection; wrong usage if there is no such leniency or header."""
    import secrets

    from ebpfmesh.l7 import Config

    try:
        return Config(
            leniencies=frozenset(arguments.lenient),
            names=tuple(name.lower() for name in arguments.header),
            all_headers=arguments.all_headers,
            one_direction=not both,
            key=arguments.key or secrets.token_bytes(16),
        ).resolved(parser.leniencies)
    except ConfigError as error:
        raise _wrong_usage(arguments, str(error)) from error


def _engine(arguments: argparse.Namespace, parser: Parser, stack: ExitStack) -> Engine | None:
    """The kernel's engine, loaded; None for the native one. ConfigError if the parser has no core."""
    if arguments.engine == "native":
        return None
    from ebpfmesh import harness
    from ebpfmesh.l7 import CoreParser

    if not isinstance(parser, CoreParser):
        raise ConfigError("is written in Python: the kernel cannot run it", where=f"parser {parser.name}")
    name = parser.core_name or parser.name
    loaded = harness.load(name) if parser.object is None else harness.load(name, path=parser.object)
    return stack.enter_context(loaded)


def _wrong_usage(arguments: argparse.Namespace, what: str) -> SystemExit:
    """Ends the command as argparse does."""
    arguments.parser.print_usage(sys.stderr)
    print(f"ebpfmesh decode: error: {what}", file=sys.stderr)
    return SystemExit(2)


def _place(arguments: argparse.Namespace) -> str:
    return "standard input" if arguments.file == "-" else str(arguments.file)


# --- what is shown ----------------------------------------------------------------------------------------------------


def _show_json(event: Event) -> bool:
    """One object, in one line; returns whether the direction is still followed."""
    import msgspec

    from ebpfmesh.l7 import Undecodable
    from ebpfmesh.l7.events import builtins

    _write(msgspec.json.encode(builtins(event)).decode())
    return not isinstance(event, Undecodable)


def _show(event: Event) -> bool:
    """``position direction event field=value ...``, for people."""
    from ebpfmesh.l7 import Undecodable
    from ebpfmesh.l7.events import builtins

    document = builtins(event)
    name, direction, position = (document.pop(key) for key in ("event", "direction", "position"))
    fields = " ".join(f"{key}={_text(value)}" for key, value in _fields(event, document))
    _write(f"{position:>8} {direction:8} {name} {fields}".rstrip())
    return not isinstance(event, Undecodable)


def _fields(event: Event, document: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The fields that are worth a word: headers and registered names one by one, numbers by their names."""
    from enum import Enum

    for key, value in document.items():
        if key == "headers":
            yield from value
        elif isinstance(value, dict):
            yield from value.items()
        else:
            kept = getattr(event, key)
            yield key, kept.name.lower() if isinstance(kept, Enum) and kept.name else value


def _text(value: Any) -> str:
    """A value as one word that cannot steer a terminal."""
    from ebpfmesh.cli.output import plural

    if isinstance(value, bytes):
        shown = _text(value[:_PREVIEW].decode("latin-1"))
        return f"{shown}{'…' if len(value) > _PREVIEW else ''} ({plural(len(value), 'byte')})"
    if isinstance(value, list | tuple):
        return ",".join(_text(one) for one in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    if text and text.isascii() and text.isprintable() and not set(text) & set(" \"'\\"):
        return text
    escaped = text.encode("unicode_escape").decode("ascii").replace('"', '\\"')
    return f'"{escaped}"'


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")


def _error(error: ParseError, show: Callable[[Event], bool], *, as_json: bool) -> None:
    """What came before the error in the same bytes, and for machines the error itself."""
    import msgspec

    for event in error.events:
        show(event)
    if as_json:
        document = {"event": "error", "direction": error.direction, "position": error.position}
        _write(msgspec.json.encode({**document, "code": error.code, "reason": error.reason}).decode())
    sys.stdout.flush()
