"""Vectors: inputs of a parser and what they tell, run at every split point.

Those of a core that is not built in are run before it is used the first time: a library is believed nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ebpfmesh.errors import ParseError, ParserFaultError
from ebpfmesh.l7.contain import Limits, Watch
from ebpfmesh.l7.contract import Config, Engine
from ebpfmesh.l7.events import Event, builtins, joined

if TYPE_CHECKING:
    from ebpfmesh.l7.connection import Connection
    from ebpfmesh.l7.parser import Parser

LONGEST = 16384
"""Bytes of one vector: there are as many splits as bytes, and each run reads all of them."""

Expected = Event | Mapping[str, Any]
Piece = tuple[int, bytes]


class Vector(msgspec.Struct, frozen=True):
    """An input, and what it tells."""

    name: str
    inputs: Sequence[tuple[int, bytes]]
    """(direction, bytes), in the order of their coming. An empty bytes is the end of the direction."""
    expect: Sequence[Expected] = ()
    """The events, as values or as `events.builtins` writes them; neighbouring Data of a message are one."""
    error: tuple[int, int] | None = None
    """(code, position) of the ParseError that ends it."""
    config: Config = Config()


def run_vectors(
    parser: Parser, vectors: Sequence[Vector] | None = None, *, engine: Engine | None = None
) -> int:
    """Run the parser's vectors, or the given ones, whole, at every split point and byte by byte; returns how many runs.

    Errors: ParserFaultError names the vector, the split, what came and what was expected.
    """
    runs = 0
    for vector in parser.vectors if vectors is None else vectors:
        wanted = _wanted(vector)
        if sum(len(data) for _, data in vector.inputs) > LONGEST:
            raise ParserFaultError(
                f"is longer than {LONGEST} bytes", parser=parser.name, where=_where(parser, vector)
            )
        for split, pieces in (
            splits(vector.inputs) if "tcp" in parser.transports else _datagrams(vector.inputs)
        ):
            runs += 1
            got = outcome(_unhurried(parser.connection(vector.config, engine=engine)), pieces)
            if got != wanted:
                raise ParserFaultError(
                    _difference(got, wanted), parser=parser.name, where=f"{_where(parser, vector)}, {split}"
                )
    return runs


def _unhurried(connection: Connection) -> Connection:
    """Without a limit of time: a machine that is busy now says nothing about the parser."""
    if connection._watch is not None:
        connection._watch = Watch(connection.parser.name, Limits(budget=math.inf))
    return connection


def splits(inputs: Sequence[Piece]) -> Iterator[tuple[str, list[Piece]]]:
    """The inputs whole, cut in two at every point, and byte by byte; each with its name."""
    yield "whole", list(inputs)
    for index, (direction, data) in enumerate(inputs):
        for at in range(1, len(data)):
            cut = [(direction, data[:at]), (direction, data[at:])]
            yield f"input {index} split at {at}", [*inputs[:index], *cut, *inputs[index + 1 :]]
    yield (
        "byte by byte",
        [
            piece
            for direction, data in inputs
            for piece in ([(direction, data[at : at + 1]) for at in range(len(data))] or [(direction, b"")])
        ],
    )


def _datagrams(inputs: Sequence[Piece]) -> Iterator[tuple[str, list[Piece]]]:
    """The inputs, each a datagram: nothing splits those."""
    yield "whole", list(inputs)


Outcome = tuple[list[dict[str, Any]], tuple[int, int] | None]


def outcome(connection: Connection, pieces: Sequence[Piece]) -> Outcome:
    """(events as plain values, joined; (code, position) of the error that ended it): the same for every split."""
    told: list[Event] = []
    error = None
    try:
        for direction, data in pieces:
            told += connection.feed(direction, data) if data else connection.end(direction)
    except ParseError as failure:
        told += failure.events
        error = failure.code, failure.position
    return [builtins(event) for event in joined(told)], error


def _wanted(vector: Vector) -> Outcome:
    events = [builtins(one) if isinstance(one, Event) else dict(one) for one in vector.expect]
    return events, vector.error


def _where(parser: Parser, vector: Vector) -> str:
    return f"parser {parser.name}, vector {vector.name!r}"


def _difference(got: Outcome, wanted: Outcome) -> str:
    """The first thing that differs, in words."""
    for number, (one, other) in enumerate(zip(got[0], wanted[0], strict=False)):
        if one != other:
            return f"event {number} is {one!r:.300}, not {other!r:.300}"
    if len(got[0]) > len(wanted[0]):
        return f"an event too many: {got[0][len(wanted[0])]!r:.300}"
    if len(got[0]) < len(wanted[0]):
        return f"no event {wanted[0][len(got[0])]!r:.300}" + (f", but error {got[1]}" if got[1] else "")
    return f"(code, position) of the error is {got[1]}, not {wanted[1]}"
