"""The protocol of ``tally.h``: the face of its core, a parser in Python, and a model that reads it all at once."""

from __future__ import annotations

from enum import IntEnum
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from probe import library

from ebpfmesh import l7
from ebpfmesh.l7 import REQUEST, Data, Direction, Dropped, End, Event, Replied, Tunnel, Undecodable
from ebpfmesh.l7.vectors import Outcome

HEADER = Path(__file__).with_name("tally.h")


class Code(IntEnum):
    """What is wrong."""

    LETTER = 16
    SECRET = 17


class Tone(IntEnum):
    """The last two bits of a name's length; 3 has no name."""

    LOW = 0
    MIDDLE = 1
    HIGH = 2


class Message(Event, frozen=True):
    """Any message but S."""

    stream: int
    name: str = ""
    size: int | None = None
    tone: int = 0
    repeated: tuple[str, ...] = ()
    truncated: tuple[str, ...] = ()


class Stream(Event, frozen=True):
    """S."""

    stream: int
    raw: bytes = b""


FIELDS = (l7.Text(0, "name"), l7.Number(1, "size"), l7.Number(2, "tone", Tone))


class Tally(l7.CoreParser):
    """The face of the core; its library is made by `made`."""

    name = "tally"
    prefix = 3
    codes = Code
    kinds = {1: l7.Kind(Message, FIELDS), 2: l7.Kind(Stream, (l7.Binary(0, "raw"),))}  # noqa: RUF012
    vectors = (
        l7.Vector(
            "message", [(REQUEST, b"M\1\0x")], [Message(REQUEST, 4, 1, "x", tone=1), End(REQUEST, 4, 1)]
        ),
        l7.Vector(
            "error", [(REQUEST, b"M\0\0!")], [Message(REQUEST, 3, 1), End(REQUEST, 3, 1)], error=(16, 3)
        ),
    )


def made(directory: Path) -> type[Tally]:
    """The face with its library."""

    class Built(Tally):
        library = build(directory)

    return Built


def build(directory: Path) -> Path:
    """The library."""
    return library(directory, f'#include "{HEADER}"\n', "tally")


class PythonTally(l7.PythonParser):
    """The protocol in Python, to the same events."""

    name = "python-tally"
    codes = Code

    def __init__(self) -> None:
        self.messages = [0, 0]

    def parse(  # noqa: PLR0911 - an answer a line
        self, direction: Direction, data: bytes, end: bool
    ) -> l7.Step:
        if not data:
            return l7.More()
        letter = chr(data[0])
        if letter == "E":
            return l7.Escalate(Code.SECRET)
        if letter not in "MQSTDRU":
            return l7.Error(Code.LETTER)
        if len(data) < 3:
            return l7.More(3 - len(data))
        head, payload = 3 + data[1], data[2]
        if len(data) < head:
            return l7.More(head - len(data))
        self.messages[direction] += 1
        stream, name = self.messages[direction], data[3:head]
        event = message(letter, name, payload, direction, 0, stream)
        if letter == "S":
            return l7.Pass(head, event, to_end=True, stream=stream)
        if letter == "T":
            return l7.Pass(head, event, tunnel=True, stream=stream)
        if letter == "D":
            return l7.Drop(head + payload, event)
        if letter == "R":
            return l7.Reply(head + payload, b"no")
        return l7.Pass(head + payload, event, head=head, ends=True, stream=stream)


def message(letter: str, name: bytes, payload: int, *where: Any) -> Event:
    """The event of a message; where are direction, position and stream."""
    if letter == "S":
        return Stream(*where, name)
    doubtful: dict[str, Any] = {"repeated": ("name",), "truncated": ("size",)} if letter == "Q" else {}
    number = len(name) & 3
    tone = Tone(number) if number < 3 else number
    return Message(*where, name.decode("latin-1"), payload or None, tone, **doubtful)


def read(direction: Direction, data: bytes, *, end: bool) -> tuple[list[Event], tuple[int, int] | None]:
    """The events of all the bytes of a direction, and the error that ends them: written without a thought of splits."""
    at = stream = 0
    events: list[Event] = []
    while at < len(data):
        letter = chr(data[at])
        if letter == "E":
            return [*events, Undecodable(direction, at, 17, "secret")], None
        if letter not in "MQSTDR":
            return events, (16, at)
        if at + 3 > len(data) or at + 3 + data[at + 1] > len(data):
            break
        payload, behind = data[at + 2], at + 3 + data[at + 1]
        stream += 1
        if letter != "R":
            position = behind + payload * (letter == "D")
            events.append(message(letter, data[at + 3 : behind], payload, direction, position, stream))
        if letter in "ST":
            events += [Tunnel(direction, behind, stream)] if letter == "T" else []
            events += [Data(direction, behind, stream, data[behind:])] if data[behind:] else []
            events += [End(direction, len(data), stream)] if letter == "S" and end else []
            return events, None
        at, body = behind + payload, data[behind : behind + payload]
        if letter == "D":
            events.append(Dropped(direction, at))
        elif letter == "R":
            events.append(Replied(direction, at, b"no"))
        else:
            events += [Data(direction, behind, stream, body)] if body else []
            events += [End(direction, at, stream)] if at <= len(data) else []
    return events, ((3, len(data)) if end and at != len(data) else None)


def outcome(direction: Direction, data: bytes, *, end: bool) -> Outcome:
    """As `vectors.outcome` has it."""
    from ebpfmesh.l7.events import builtins

    events, error = read(direction, data, end=end)
    return [builtins(event) for event in events], error


@st.composite
def streams(draw: st.DrawFn, letters: str = "MQSTDRE!") -> bytes:
    """Bytes of a direction: messages, of which the last may be cut, or anything at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=40))
    data = b""
    for _ in range(draw(st.integers(0, 6))):
        letter = draw(st.sampled_from("MMMM" + letters))
        name, payload = draw(st.binary(max_size=12)), draw(st.binary(max_size=12))
        data += letter.encode() + bytes([len(name), len(payload)]) + name + payload
    return data[: len(data) - draw(st.integers(0, 5))] if draw(st.booleans()) else data


def pieces(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """The bytes cut at random."""
    cuts = sorted({0, len(data), *draw(st.lists(st.integers(0, len(data)), max_size=8))})
    return [data[start:stop] for start, stop in pairwise(cuts)]
