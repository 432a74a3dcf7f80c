"""How records become events: a protocol declares each kind's event and fields, and this makes the event.

A record has one of very many sets of fields, and traffic uses few of them. For a set that is seen again and again a
function is written and compiled, which reads exactly that set; a loop serves all others.
"""

from __future__ import annotations

import inspect
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from ebpfmesh.l7.contract import EVENT, FIELDS, NAMES, Bytes, Direction, Op, RawEvent, RecordFlag
from ebpfmesh.l7.events import End, Event

Header = tuple[str, str]
Key = tuple[bytes, bytes]
"""What an event is made by: kind to code, and present to truncated, as they stand in ``struct l7_event``."""
Maker = Callable[[Direction, int, bytes, int, int, Callable[[Event], None]], bool]
"""(direction, bytes that were fed of it, told, where kind begins in it, bytes of text, append): appends the event, and
`End` if that is all there is to a message; true if bytes of the record are still to be told of."""

PLANS = 256
"""Compiled functions a parser keeps. A peer that sends every combination of headers does not make it more."""
_OFTEN = 8  # compiling takes as long as a hundred loops
_lengths = struct.Struct("<HH").unpack_from
_NUMBERS = "12xQQQQ16x"  # of struct l7_event from kind on: position, count, head, stream
_VALUES = EVENT.size - 4  # where its values begin, from kind on


class Field(msgspec.Struct, frozen=True):
    """Field ``number`` of a record is the event's ``attribute``: a str, decoded as Latin-1."""

    number: int
    attribute: str


class Text(Field, frozen=True):
    """A str. Bytes above 127 become the characters of the same number, as in HTTP: nothing is lost."""


class Binary(Field, frozen=True):
    """A bytes."""


class Number(Field, frozen=True):
    """An int, or what ``convert`` makes of it: an enumeration keeps numbers that it does not know as int."""

    convert: Callable[[int], Any] | None = None


class Kind(msgspec.Struct, frozen=True):
    """A kind of records: its event (None tells nothing), its fields, and what else there is in the text."""

    event: type[Event] | None
    fields: tuple[Field, ...] = ()
    registered: int | None = None
    """The field of the first name of ``config.names``; the event's ``registered`` is a dict of name and value."""
    headers_behind: tuple[int, ...] | None = None
    """The list of all headers begins behind the last of these fields; the event's ``headers`` are its pairs."""

    def within(self, names: Sequence[str]) -> tuple[Field, ...]:
        """The fields, with those of registered names."""
        if self.registered is None:
            return self.fields
        return (*self.fields, *(Text(self.registered + n, name) for n, name in enumerate(names[:NAMES])))


class _Members(dict[int, Any]):
    """What a converter made of numbers: a flag's member takes far longer to find than a value of a dict."""

    def __init__(self, convert: Callable[[int], Any]) -> None:
        self._convert = convert

    def __missing__(self, number: int) -> Any:
        try:
            made = self._convert(number)
        except ValueError:
            made = number
        if len(self) < 1 << 8:
            self[number] = made
        return made


class Plans:
    """Makes the events of one parser, for connections that registered the same names."""

    def __init__(self, kinds: dict[int, Kind], names: tuple[str, ...], *, all_headers: bool) -> None:
        self._kinds, self._names, self._all_headers = kinds, names, all_headers
        self._members = {
            field.convert: _Members(field.convert)
            for kind in kinds.values()
            for field in kind.fields
            if isinstance(field, Number) and field.convert is not None
        }
        self._seen: dict[Key, int] = {}
        self.compiled: dict[Key, Maker] = {}

    def make(self, raw: RawEvent, key: Key | None = None) -> Event | None:
        """The event of a record; None if its kind tells nothing. With ``key`` it counts as seen."""
        kind = self._kinds[raw.kind]
        if kind.event is None:
            return None
        if key is not None:
            self._count(kind, raw, key)
        given: dict[str, Any] = {}
        if "stream" in kind.event.__struct_fields__:
            given["stream"] = raw.stream
        registered = {}
        for field in kind.within(self._names):
            if not raw.present >> field.number & 1:
                continue
            value = self._value(field, raw)
            if kind.registered is not None and field not in kind.fields:
                registered[field.attribute] = value
            else:
                given[field.attribute] = value
        behind = raw.position + (raw.count if raw.op in (Op.DROP, Op.REPLY) else raw.head)
        return kind.event(Direction(raw.direction), behind, **given, **self._extra(kind, raw, registered))

    def _value(self, field: Field, raw: RawEvent) -> Any:
        if isinstance(field, Number):
            number = raw.number(field.number) or 0
            return number if field.convert is None else self._members[field.convert][number]
        text = raw.bytes_of(field.number) or b""
        return text if isinstance(field, Binary) else text.decode("latin-1")

    def _extra(self, kind: Kind, raw: RawEvent, registered: dict[str, Any]) -> dict[str, Any]:
        """What is no field: registered names, the list of headers, which fields are more or less than they seem."""
        assert kind.event is not None
        given: dict[str, Any] = {}
        for name, bits in (("repeated", raw.repeated), ("truncated", raw.truncated)):
            if bits and name in kind.event.__struct_fields__:
                fields = kind.within(self._names)
                given[name] = tuple(field.attribute for field in fields if bits >> field.number & 1)
        if registered:
            given["registered"] = registered
        if self._all_headers and kind.headers_behind is not None:
            ends = [_end(raw.number(field)) for field in kind.headers_behind]
            given["headers"] = header_list(raw.text, max(ends, default=0))
        return given

    def _count(self, kind: Kind, raw: RawEvent, key: Key) -> None:
        """Compiles what is seen often, as long as there is room."""
        if len(self.compiled) >= PLANS or raw.repeated or raw.truncated or raw.op != Op.PASS:
            return
        if len(self._seen) > 4 * PLANS:
            self._seen.clear()
        seen = self._seen[key] = self._seen.get(key, 0) + 1
        if seen >= _OFTEN:
            self.compiled[key] = self._compile(kind, raw.present, raw.flags)

    def _compile(self, kind: Kind, present: int, flags: int) -> Maker:
        """The function for exactly these fields."""
        assert kind.event is not None
        fields = kind.within(self._names)
        told = {field.number: field for field in fields if present >> field.number & 1}
        code, targets, format, given = _Code(), [], "", {}
        for number in range(FIELDS):
            if not present >> number & 1:
                continue
            field = told.get(number)
            if field is None:
                format += "8x"
            elif isinstance(field, Number):
                format += "Q"
                targets.append(f"v{number}")
            else:
                format += "II"
                targets += [f"v{number}", f"n{number}"]
        registered = []
        for field in fields:
            if field.number not in told:
                continue
            value = code.value(field, self._members)
            if kind.registered is not None and field not in kind.fields:
                registered.append(f"{field.attribute!r}: {value}")
            else:
                given[field.attribute] = value
        if registered:
            given["registered"] = "{" + ", ".join(registered) + "}"
        if self._all_headers and kind.headers_behind is not None:
            given["headers"] = code.headers([number for number in kind.headers_behind if number in told])
        code.lines.append(f"append(event({_arguments(kind.event, given, code.names)}))")
        code.lines += _AFTER.get(flags, ["return True"])
        return code.compiled(kind.event, format, targets, 8 * present.bit_count())


_AFTER = {  # by flags of the record: what is left to be told of its bytes
    0: ["return count != head"],
    RecordFlag.MESSAGE_ENDS: [
        "if count == head and behind <= fed:",
        "    append(End(direction, behind, stream))",
        "    return False",
        "return True",
    ],
}


class _Code:
    """The text of a function that makes an event, and the objects it names."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}
        self.lines: list[str] = []
        self.text = self.raw = False

    def value(self, field: Field, members: dict[Any, _Members]) -> str:
        number = field.number
        if isinstance(field, Number):
            if field.convert is None:
                return f"v{number}"
            self.names[f"m{number}"] = members[field.convert]
            return f"m{number}[v{number}]"
        if isinstance(field, Binary):
            self.raw = True
            return f"raw[v{number}:v{number} + n{number}]"
        self.text = True
        return f"text[v{number}:v{number} + n{number}]"

    def headers(self, behind: list[int]) -> str:
        self.names["pairs"] = _pairs
        self.text = True
        ends = ", ".join(f"v{number} + n{number}" for number in behind)
        return f"pairs(raw, text, max(0, {ends}))" if ends else "pairs(raw, text, 0)"

    def compiled(self, event: type[Event], format: str, targets: list[str], values: int) -> Maker:
        targets = ["position", "count", "head", "stream", *targets]
        self.names["unpack"] = struct.Struct(f"<{_NUMBERS}{format}").unpack_from
        before = [f"{', '.join(targets)} = unpack(told, at)", "behind = position + head"]
        if self.text or self.raw:
            before.append(f"raw = told[at + {_VALUES + values}:at + {_VALUES + values} + used]")
        if self.text:
            before.append("text = raw.decode('latin-1')")
        body = "\n    ".join([*before, *self.lines])
        source = f"def make(direction, fed, told, at, used, append):\n    {body}\n"
        scope = {"event": event, "End": End, **self.names}
        # names of attributes and headers are the only words in it that are not ours, and both were checked
        exec(compile(source, f"<plan of {event.__name__}>", "exec"), scope)
        made: Maker = scope["make"]
        return made


def _arguments(event: type[Event], given: dict[str, str], names: dict[str, Any]) -> str:
    """The arguments of the event's constructor: by position where it can be, which is fast."""
    given = {"direction": "direction", "position": "behind", "stream": "stream", **given}
    defaults = {field.name: field for field in msgspec.structs.fields(event)}
    written, by_position = [], True
    for name, parameter in inspect.signature(event).parameters.items():
        by_position = by_position and parameter.kind is not inspect.Parameter.KEYWORD_ONLY
        value = given.get(name)
        if value is None and by_position:
            field = defaults[name]
            if field.default_factory in _EMPTY:
                value = _EMPTY[field.default_factory]
            elif field.default is not msgspec.NODEFAULT:
                value = f"d_{name}"
                names[value] = field.default
            else:
                by_position = (
                    False  # what else is made anew for each event; or an error, which the constructor tells
                )
                continue
        if value is not None:
            written.append(value if by_position else f"{name}={value}")
    return ", ".join(written)


_EMPTY: dict[Any, str] = {dict: "{}", list: "[]", set: "set()"}


def _end(value: int | None) -> int:
    """Where a text ends, by its raw value."""
    return 0 if value is None else (value & 0xFFFFFFFF) + (value >> 32)


def header_list(text: Bytes, at: int) -> tuple[Header, ...]:
    """The headers in a text that lists them from ``at`` on: lengths, name, value, one after the other."""
    raw = bytes(text)
    return _pairs(raw, raw.decode("latin-1"), at)


def _pairs(raw: bytes, text: str, at: int) -> tuple[Header, ...]:
    """Of the same bytes as ``raw`` and as ``text``, which are decoded once and not pair by pair."""
    found, begin, end = [], at + 4, len(raw)
    while begin <= end:
        name, value = _lengths(raw, begin - 4)
        name += begin
        value += name
        if value > end:
            break
        found.append((text[begin:name], text[name:value]))
        begin = value + 4
    return tuple(found)


def checked(kinds: Mapping[int, Kind]) -> str | None:
    """What is wrong with a parser's declaration of its kinds, or None."""
    for number, kind in kinds.items():
        event: Any = kind.event
        if event is None:
            continue
        if not (isinstance(event, type) and issubclass(event, Event)):
            return f"kind {number}: {event!r} is no Event"
        known = {*event.__struct_fields__}
        wanted = {field.attribute for field in kind.fields}
        wanted |= {"registered"} if kind.registered is not None else set()
        wanted |= {"headers"} if kind.headers_behind is not None else set()
        if missing := sorted(wanted - known):
            return f"kind {number}: {event.__name__} has no attribute {', '.join(missing)}"
        numbers = [field.number for field in kind.fields]
        if any(not 0 <= one < FIELDS for one in numbers) or len(set(numbers)) != len(numbers):
            return f"kind {number}: numbers of fields are 0 to {FIELDS - 1}, each once"
    return None
