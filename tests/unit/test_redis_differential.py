"""Redis in Python only (an example) against the core: the same messages, the same errors at the same place."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis_wire import COMMANDS, PUSHES, VALUES, broken

from ebpfmesh import l7
from ebpfmesh.errors import ParseError
from ebpfmesh.l7.contain import Limits, Watch
from ebpfmesh.l7.redis import Code

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def in_python() -> Iterator[l7.Parser]:
    sys.path.insert(0, str(EXAMPLES))
    try:
        import redis_parser

        parser = redis_parser.RedisValues()
        parser.watch = Watch(
            parser.name, Limits(budget=60)
        )  # how fast this machine is, is not what is tested
        yield parser
    finally:
        sys.path.remove(str(EXAMPLES))


def _plain(event: Any) -> tuple[object, ...]:
    """What both parsers tell of a message."""
    kind, place = type(event).__name__, (int(event.direction), event.position)
    if kind == "Command" and hasattr(event, "name"):
        return "command", *place, event.name, event.arguments
    if kind == "Command":
        return "command", *place, event.arguments[0].data.upper().decode("latin-1")[:32], len(event.arguments)
    if kind in ("Reply", "Answer", "Push"):
        value = getattr(event, "value", None)
        type_ = str(value.type if value else event.type)
        text = "" if type_ not in "+-!" else value.data.decode("latin-1") if value else event.text
        elements = (len(value.items) if value else event.elements) or 0
        return (
            "push" if kind == "Push" else "reply",
            *place,
            type_,
            text[:256],
            elements * (1 + (type_ == "%" and not value)),
        )
    if kind == "End":
        return "end", *place
    return (
        kind,
        int(event.direction),
        int(event.code),
    )  # a step of Python's has no place within what it is shown


def _outcome(
    parser: l7.Parser, pieces: list[tuple[int, bytes]]
) -> tuple[list[tuple[object, ...]], list[int], tuple[str, int, int | None] | None]:
    """The messages, the streams of each, and the first error of either direction."""
    connection, told, error = parser.connection(), [], None
    try:
        for direction, data in pieces:
            told += connection.feed(direction, data) if data else connection.end(direction)
    except ParseError as failure:
        told += failure.events
        # of a line of words, the one in Python finds the word, and the core the character
        error = failure.direction, failure.code, None if failure.code == Code.BAD_INLINE else failure.position
    # what is told once the last length is known, before the last bytes have come, the one in Python does not tell yet
    sent = [sum(len(data) for side, data in pieces if side == direction) for direction in (0, 1)]
    told = [event for event in told if event.position <= sent[event.direction]]
    return [_plain(event) for event in told], [getattr(event, "stream", -1) for event in told], error


def _pieces(direction: int, data: bytes, cuts: list[int]) -> list[tuple[int, bytes]]:
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    return [(direction, data[one:two]) for one, two in pairwise(edges)]


CUTS = st.lists(st.integers(1, 200), max_size=4)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.one_of(COMMANDS, broken(COMMANDS)), max_size=6),
    st.lists(st.one_of(VALUES, PUSHES, broken(VALUES)), max_size=6),
    st.tuples(CUTS, CUTS),
    st.booleans(),
)
def test_both_tell_the_same(
    in_python: l7.Parser,
    commands: list[bytes],
    replies: list[bytes],
    cuts: tuple[list[int], list[int]],
    end: bool,
) -> None:
    asked, answered = b"".join(commands), b"".join(replies)
    whole = [*_pieces(0, asked, []), *_pieces(1, answered, [])] + [(0, b""), (1, b"")] * end
    cut = [*_pieces(0, asked, cuts[0]), *_pieces(1, answered, cuts[1])] + [(0, b""), (1, b"")] * end
    core = l7.parser("redis")
    events, streams, error = _outcome(core, whole)
    assert _outcome(core, cut) == (events, streams, error)
    for pieces in (whole, cut):
        got, numbers, failure = _outcome(in_python, pieces)
        # the one in Python waits for the end of a line of words
        if (
            error is not None
            and error[1] == Code.BAD_INLINE
            and error != failure
            and not asked.endswith(b"\n")
        ):
            continue
        # the one in Python reads each of these strings, the core only those it keeps
        if failure != error and failure is not None and failure[1] == Code.BAD_STRING_END:
            continue
        assert (got, failure) == (events, error)
        # the core says 0 where it does not follow any more which reply is whose
        assert [one for one, other in zip(numbers, streams, strict=True) if other > 0] == [
            other for other in streams if other > 0
        ]
