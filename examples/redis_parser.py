"""Redis in Python only, RESP2 and RESP3, in one file: it tells values, which the built-in parser does not.

    python examples/redis_parser.py REQUESTS [RESPONSES]    # recorded bytes of a connection

What is passed is never shown again, so it passes each line and string as soon as it is complete, and keeps what it has of a
message itself: a reply of any size is read, and of a long string only its beginning is kept.
"""

from __future__ import annotations

import re
import sys
from collections import deque
from enum import IntEnum
from pathlib import Path

import msgspec

from ebpfmesh import l7

KEPT = 4096
"""Bytes of a string that are kept."""
DEPTH = 16
LARGEST = 0x7FFFFFFF
"""Elements of an aggregate, as in the server."""
_LENGTH = re.compile(rb"(-?)((?:0|[1-9][0-9]{0,17})?)")
_LINE_END = re.compile(rb"[\r\n]")
_WORD = re.compile(
    rb"[ \t\r\n\v\f]* (?![ \t\r\n\v\f]) ([^ \t\r\n\"']*) (?: \"((?:\\.|[^\"\\])*)\" | '((?:\\'|\\(?!')|[^'\\])*)' )?"
    rb"(?=[ \t\r\n\v\f]|$)",
    re.VERBOSE,
)
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)")
_ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}
_MESSAGES = {
    kind.encode(): kind.endswith("be")
    for base in ("message", "subscribe", "unsubscribe")
    for kind in (base, "p" + base, "s" + base)
}


class Code(IntEnum):
    """What breaks the protocol, or makes a direction undecodable (the last two)."""

    BAD_LENGTH = 16
    BAD_LINE_END = 17
    BAD_TYPE = 18
    NOT_BULK = 19
    BAD_VALUE = 20
    BAD_INLINE = 21
    BAD_STRING_END = 22
    STREAMED = 23
    TOO_DEEP = 24


class Value(msgspec.Struct, frozen=True, omit_defaults=True):
    """A value: the first byte of its type, and what it is. The nulls of RESP2 have the type of RESP3's."""

    type: str
    data: bytes = b""
    """Of what is no aggregate, as it was sent; of a long string the beginning."""
    length: int = 0
    """Of a string, in bytes."""
    items: tuple[Value, ...] = ()
    """Of an aggregate; of a map key, value, key, value."""


class Command(l7.Event, frozen=True):
    """A command; ``stream`` is its number, from 1 on."""

    stream: int
    arguments: tuple[Value, ...]


class Answer(l7.Event, frozen=True):
    """What answers the command ``stream``; 0 if that cannot be known."""

    stream: int
    value: Value


class Push(l7.Event, frozen=True):
    """What was not asked for, or (``stream``) confirms a subscription."""

    stream: int
    value: Value


class Stop(Exception):  # noqa: N818 - as StopIteration
    """No line or string can be read now: ``step`` says what is to be done instead."""

    def __init__(self, step: l7.Step) -> None:
        self.step = step


class Frame:
    """An aggregate that is not complete."""

    def __init__(self, type: str, left: int) -> None:
        self.type, self.left = type, left
        self.items: list[Value] = []


class Reader:
    """One direction: the aggregates that its next value belongs to."""

    def __init__(self, direction: l7.Direction) -> None:
        self.is_command = direction == l7.REQUEST
        self.frames: list[Frame] = []
        self.begun = False

    def read(self, data: bytes) -> tuple[int, Value | None]:
        """One line or string at the front of ``data``: its bytes, and the message that is complete with it."""
        type = chr(data[0])
        if self.is_command and not self.frames and type != "*":
            return self.inline(data)
        if self.is_command and self.frames and type != "$":
            raise Stop(l7.Error(Code.NOT_BULK))
        self.begun = True
        if type in "+-:_#,(":
            return self.line(type, data)
        if type in "$!=":
            return self.string(type, data)
        if type in "*%~>|":
            return self.aggregate(type, data)
        raise Stop(l7.Error(Code.BAD_TYPE))

    def length(self, type: str, data: bytes) -> tuple[int, int]:
        """Of a header: its bytes, and the number; -1 is a null."""
        if data[1:2] == b"?" and not self.is_command:
            raise Stop(l7.Escalate(Code.STREAMED))
        found = _LENGTH.match(data, 1)
        assert found is not None  # it matches nothing, too
        if data[found.end() : found.end() + 1] not in ((b"", b"\r") if found[2] else (b"",)):
            raise Stop(l7.Error(Code.BAD_LENGTH, found.end()))
        behind = self.line_end(data, found.end(), Code.BAD_LINE_END)
        number = -1 if found[1] else int(found[2])
        if (found[1] and not self.is_command and (type not in "$*" or found[2] != b"1")) or (
            number > LARGEST and type not in "$!="
        ):
            raise Stop(l7.Error(Code.BAD_LENGTH, behind - 1))
        return behind, number

    def line_end(self, data: bytes, at: int, code: Code) -> int:
        """What is behind CRLF at an offset."""
        found = data[at : at + 2]
        if not b"\r\n".startswith(found):
            raise Stop(l7.Error(code, at + (found[:1] == b"\r")))
        if len(found) < 2:
            raise Stop(l7.More())
        return at + 2

    def line(self, type: str, data: bytes) -> tuple[int, Value | None]:
        found = _LINE_END.search(data, 1)
        if found is None:
            raise Stop(l7.More())
        content, behind = data[1 : found.start()], self.line_end(data, found.start(), Code.BAD_LINE_END)
        fits = {"_": not content, "#": content in (b"t", b"f"), "+": True, "-": True}
        if not fits.get(type, content != b""):
            raise Stop(l7.Error(Code.BAD_VALUE, behind - 1))
        return behind, self.complete(Value(type, content))

    def string(self, type: str, data: bytes) -> tuple[int, Value | None]:
        head, length = self.length(type, data)
        if length < 0 and self.is_command:
            raise Stop(l7.Error(Code.BAD_LENGTH, head - 1))
        if length < 0:
            return head, self.complete(Value("_"))
        kept = data[head : head + min(length, KEPT)]
        if len(kept) < min(length, KEPT):
            raise Stop(l7.More(min(length, KEPT) - len(kept)))
        end = head + length
        # CRLF behind a long string is not looked at: redis-server does not look at any
        end = end + 2 if length > KEPT else self.line_end(data, end, Code.BAD_STRING_END)
        return end, self.complete(Value(type, kept, length))

    def aggregate(self, type: str, data: bytes) -> tuple[int, Value | None]:
        head, items = self.length(type, data)
        if self.is_command and items <= 0:  # no command
            self.begun = False
            return head, None
        if items <= 0:
            return head, None if type == "|" else self.complete(Value("_" if items else type))
        if len(self.frames) >= DEPTH:
            raise Stop(l7.Escalate(Code.TOO_DEEP))
        self.frames.append(Frame(type, items * 2 if type in "%|" else items))
        return head, None

    def inline(self, data: bytes) -> tuple[int, Value | None]:
        """A line of words as a person types them; an empty one is no command."""
        end = data.find(b"\n")
        if end < 0:
            raise Stop(l7.More())
        words: list[Value] = []
        at = 0
        while data[at:end].strip(b" \t\r\v\f"):
            found = _WORD.match(data, at, end)
            if found is None or 0 in found[0]:
                raise Stop(l7.Error(Code.BAD_INLINE, at))
            double = _ESCAPE.sub(lambda escape: _unescaped(escape[1]), found[2] or b"")
            word = found[1] + double + (found[3] or b"").replace(b"\\'", b"'")
            words.append(Value("$", word, len(word)))
            at = found.end()
        return end + 1, Value("*", items=tuple(words)) if words else None

    def complete(self, value: Value) -> Value | None:
        """``value`` is complete, and maybe what it is the last of; the message, if it is."""
        while self.frames:
            frame = self.frames[-1]
            frame.left -= 1
            frame.items.append(value)
            if frame.left:
                return None
            self.frames.pop()
            if frame.type == "|":  # attributes are read, and not told
                return None
            value = Value(frame.type, items=tuple(frame.items))
        self.begun = False
        return value


def _unescaped(escape: bytes) -> bytes:
    return bytes([int(escape[1:], 16)]) if len(escape) > 1 else _ESCAPES.get(escape, escape)


@l7.register
class RedisValues(l7.PythonParser):
    """RESP2, RESP3 and inline commands, with their values."""

    name = "redis-values"
    ports = (6379,)
    codes = Code

    def __init__(self) -> None:
        self.readers = Reader(l7.REQUEST), Reader(l7.RESPONSE)
        self.asked = self.answered = 0
        self.waiting: deque[tuple[str, int]] = deque()
        """Of each command that was not answered: its name, and the messages that confirm it if it subscribes."""
        self.resp3 = self.subscribed = self.monitoring = False

    def detect(self, prefix: bytes, direction: l7.Direction) -> int | None:
        """Less sure than the built-in parser, which is taken where it can be."""
        return l7.parser("redis").detect(prefix, direction) and 10

    def parse(self, direction: l7.Direction, data: bytes, end: bool) -> l7.Step:
        reader = self.readers[direction]
        if end:
            return l7.Error(l7.Code.INCOMPLETE, len(data)) if reader.begun or data else l7.More()
        try:
            count, message = reader.read(data)
        except Stop as stop:
            return stop.step
        if message is None:
            return l7.Pass(count)
        event = self.command(message) if direction == l7.REQUEST else self.answer(message)
        return l7.Pass(count, event, ends=True, stream=event.stream)

    def command(self, message: Value) -> Command:
        name = message.items[0].data.upper().decode("latin-1")
        subscribes = re.fullmatch("[PS]?(UN)?SUBSCRIBE", name)
        self.subscribed |= bool(subscribes and not subscribes[1])
        self.asked += 1
        self.waiting.append((name, max(1, len(message.items) - 1) if subscribes else 0))
        return Command(l7.REQUEST, 0, self.asked, message.items)

    def answer(self, value: Value) -> Answer | Push:
        self.resp3 |= value.type in "%>~"
        first = value.items[0].data if value.items else b""
        name, confirmations = self.waiting[0] if self.waiting else ("", 0)
        # RESP2 has no type for what is pushed: it is an array with the name of a message, where no other reply can be next
        subscribed = self.subscribed and (confirmations or not any(left for _, left in self.waiting))
        pushed = value.type == ">" or bool(
            value.type == "*" and subscribed and not self.resp3 and first in _MESSAGES
        )
        if pushed and first in (b"unsubscribe", b"punsubscribe") and value.items[-1] == Value(":", b"0"):
            self.subscribed = False
        if pushed or (self.monitoring and value.type == "+" and value.data[:1].isdigit()):
            if not (_MESSAGES.get(first) and confirmations):
                return Push(l7.RESPONSE, 0, 0, value)
            if confirmations > 1:
                self.waiting[0] = name, confirmations - 1
                return Push(l7.RESPONSE, 0, self.answered + 1, value)
        elif name == "MONITOR":
            self.monitoring = value.type == "+"
        elif name == "RESET":
            self.monitoring = self.subscribed = self.resp3 = False
        elif name == "HELLO" and value.type == "*":
            self.resp3 = False
        if self.waiting:
            self.waiting.popleft()
        self.answered += 1
        return (Push if pushed else Answer)(l7.RESPONSE, 0, self.answered, value)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python examples/redis_parser.py REQUESTS [RESPONSES] (files)")
    connection = l7.parser("redis-values").connection()
    for direction, file in zip(l7.Direction, sys.argv[1:], strict=False):
        for event in [*connection.feed(direction, Path(file).read_bytes()), *connection.end(direction)]:
            print(event)
