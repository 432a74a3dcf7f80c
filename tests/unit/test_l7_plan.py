"""Events of records: the compiled functions and the loop make the same ones, and wrong declarations are named."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebpfmesh.errors import ParserFaultError
from ebpfmesh.l7 import REQUEST, Binary, Config, CoreParser, Data, End, Event, Kind, Number, Text
from ebpfmesh.l7.connection import CoreConnection
from ebpfmesh.l7.contract import EVENT, Bytes, Op, RawEvent, raw_events
from ebpfmesh.l7.plan import PLANS, checked, header_list


class Colour(IntEnum):
    RED = 1


class Bits(IntFlag):
    ONE = 1
    TWO = 2


class Head(Event, frozen=True):
    stream: int
    registered: dict[str, str] = {}  # noqa: RUF012 - msgspec makes a new one
    headers: tuple[tuple[str, str], ...] = ()
    name: str = ""
    text: str | None = None
    raw: bytes = b""
    number: int = 7
    colour: int = 0
    bits: Bits = Bits(0)
    truth: bool = False
    repeated: tuple[str, ...] = ()
    truncated: tuple[str, ...] = ()


class Bare(Event, frozen=True, kw_only=True):
    number: int
    made: list[str] = []  # noqa: RUF012 - msgspec makes a new one


FIELDS = (
    Text(0, "name"), Text(3, "text"), Binary(4, "raw"), Number(5, "number"), Number(6, "colour", Colour),
    Number(7, "bits", Bits), Number(8, "truth", bool),
)  # fmt: skip
KINDS = {
    1: Kind(Head, FIELDS, registered=20, headers_behind=(0, 3)),
    2: Kind(Bare, (Number(1, "number"),)),
    3: Kind(None),
}
NUMBERS = {field.number for field in FIELDS if isinstance(field, Number)}


class Face(CoreParser):
    name = "face"
    kinds = KINDS


class Engine:
    """Tells what it is given."""

    def __init__(self, told: bytes) -> None:
        self._told = told

    def connection(self, config: Config) -> Engine:
        return self

    def told(self, direction: int, data: Bytes, *, end: bool = False) -> bytes:
        return self._told

    def lost(self, direction: int, count: int) -> None:
        raise AssertionError


def record(kind: int, fields: dict[int, int | bytes], flags: int = 0, **changed: int) -> bytes:
    """One ``struct l7_event``."""
    text, values, present = b"", b"", 0
    for number, value in sorted(fields.items()):
        present |= 1 << number
        if isinstance(value, bytes):
            values += len(text).to_bytes(4, "little") + len(value).to_bytes(4, "little")
            text += value
        else:
            values += value.to_bytes(8, "little")
    size = (EVENT.size + len(values) + len(text) + 7) & ~7
    given = {"position": 5, "count": 9, "head": 9, "stream": 3, "repeated": 0, "truncated": 0, **changed}
    head = EVENT.pack(
        size, kind, flags, Op.PASS, REQUEST, len(fields), 0, given["position"], given["count"], given["head"],
        given["stream"], present, given["repeated"], given["truncated"], len(text),
    )  # fmt: skip
    return (head + values + text).ljust(size, b"\0")


def events(told: bytes, times: int = 1, **config: Any) -> list[Event]:
    """What the last of ``times`` connections of one parser makes of it, which was fed 100 bytes."""
    face, found = Face(), []
    for _ in range(times):
        connection = face.connection(Config(**config), engine=Engine(told))
        found = connection.feed(REQUEST, bytes(100))
    assert isinstance(connection, CoreConnection)
    if times > 1 and found:
        assert connection._compiled  # or the compiled functions were not looked at
    return found


@st.composite
def records(draw: st.DrawFn) -> bytes:
    numbers = draw(st.sets(st.sampled_from([0, 1, 2, 3, 4, 5, 6, 7, 8, 20, 21, 22, 30])))
    fields: dict[int, int | bytes] = {
        number: draw(st.integers(0, 5) if number in NUMBERS else st.binary(max_size=9)) for number in numbers
    }
    flags, head = draw(st.sampled_from([0, 1])), draw(st.integers(0, 50))
    return record(1, fields, flags, head=head, count=head + draw(st.sampled_from([0, 0, 20])))


@settings(deadline=None)
@given(records(), st.sampled_from([(), ("x-tenant",), ("b", "a")]))
def test_compiled_functions_make_the_events_of_the_loop(told: bytes, names: tuple[str, ...]) -> None:
    assert events(told, 20, names=names) == events(told, names=names)


def test_each_kind_of_field_becomes_its_type() -> None:
    told = record(1, {0: b"a", 3: b"\xe9", 4: b"\xe9", 5: 1 << 63, 6: 1, 7: 3, 8: 1, 21: b"v"}, 1)
    for times in (1, 20):
        [head, end] = events(told, times, names=("x-a", "x-b"))
        assert head == Head(
            REQUEST,
            14,
            3,
            {"x-b": "v"},
            (),
            "a",
            "\xe9",
            b"\xe9",
            1 << 63,
            Colour.RED,
            Bits.ONE | Bits.TWO,
            True,
        )
        assert isinstance(head, Head)
        assert (type(head.colour), type(head.bits), head.truth) == (Colour, Bits, True)
        assert end == End(REQUEST, 14, 3)


def test_an_enumeration_keeps_a_number_that_it_does_not_know() -> None:
    for times in (1, 20):
        [head] = events(record(1, {6: 250}), times)
        assert isinstance(head, Head)
        assert (head.colour, type(head.colour)) == (250, int)


def test_events_that_take_keywords_only_are_made_too() -> None:
    for times in (1, 20):
        [event] = events(record(2, {1: 4}), times)
        assert event == Bare(direction=REQUEST, position=14, number=4)
    [one], [other] = events(record(2, {1: 4})), events(record(2, {1: 4}))
    assert isinstance(one, Bare) and isinstance(other, Bare)
    assert one.made is not other.made


def test_a_kind_without_event_tells_nothing_but_its_bytes_do() -> None:
    assert events(record(3, {}, 1, count=12)) == [Data(REQUEST, 14, 3, bytes(3)), End(REQUEST, 17, 3)]


def test_doubtful_fields_are_named() -> None:
    for times in (1, 20):
        connection_events = events(
            record(1, {0: b"a"}, repeated=1, truncated=1 << 3 | 1 << 20 | 1 << 2), times=1, names=("x-a",)
        )
        [head] = connection_events
        assert isinstance(head, Head)
        assert (head.repeated, head.truncated) == (("name",), ("text", "x-a")), times


@pytest.mark.parametrize("times", [1, 20])  # by the loop, by the compiled function
@pytest.mark.parametrize("fields", [{0: b"GET", 3: b"/"}, {0: b"GET"}, {3: b"\xe9"}, {}])
@pytest.mark.parametrize(("listed", "found"), [
    (b"\1\0\2\0xab" + b"\0\0\0\0" + b"\2\0\0\0yy", (("x", "ab"), ("", ""), ("yy", ""))),
    (b"\1\0\1\0\xff\xfe", (("\xff", "\xfe"),)),
    (b"\1\0\2\0xab" + b"\1\0\2\0x", (("x", "ab"),)),
    (b"", ()),
])  # fmt: skip
def test_all_headers_are_listed_behind_the_fields(fields: Any, listed: bytes, found: Any, times: int) -> None:
    told = record(1, fields)
    text = b"".join(fields.values()) + listed
    told = told[: EVENT.size + 8 * len(fields)] + text
    told = len(told).to_bytes(4, "little") + told[4:60] + len(text).to_bytes(4, "little") + told[64:]
    [head] = events(told, times, all_headers=True)
    assert isinstance(head, Head)
    assert head.headers == found
    assert head.text == (fields[3].decode("latin-1") if 3 in fields else None)


@pytest.mark.parametrize(("text", "found"), [
    (b"", ()), (b"\1", ()), (b"\1\0\1\0a", ()), (b"\1\0\1\0ab\1\0\1\0", (("a", "b"),)),
])  # fmt: skip
def test_a_list_of_headers_that_was_cut_has_what_is_whole(text: bytes, found: Any) -> None:
    assert header_list(text, 0) == found


def test_a_peer_cannot_make_a_parser_compile_without_end() -> None:
    face = Face()
    for mask in range(PLANS + 50):
        told = record(
            1, {number: 1 if number in NUMBERS else b"" for number in range(12) if mask >> number & 1}
        )
        for _ in range(12):
            connection = face.connection(engine=Engine(told))
            assert len(connection.feed(REQUEST, bytes(100))) == 1
    assert isinstance(connection, CoreConnection)
    assert len(connection._compiled) == PLANS
    assert len(connection._plans._seen) <= 4 * PLANS


@pytest.mark.parametrize(("kinds", "reason"), [
    ({1: Kind(Head, (Text(0, "nome"),))}, "kind 1: Head has no attribute nome"),
    ({1: Kind(Bare, registered=20)}, "kind 1: Bare has no attribute registered"),
    ({1: Kind(Bare, headers_behind=())}, "kind 1: Bare has no attribute headers"),
    ({1: Kind(Head, (Text(32, "name"),))}, "kind 1: numbers of fields are 0 to 31, each once"),
    ({1: Kind(Head, (Text(1, "name"), Text(1, "text")))}, "kind 1: numbers of fields are 0 to 31, each once"),
    ({5: Kind(int)}, "kind 5: <class 'int'> is no Event"),
])  # fmt: skip
def test_a_wrong_declaration_is_named(kinds: Any, reason: str) -> None:
    assert checked(kinds) == reason
    face = type("Wrong", (Face,), {"kinds": kinds})()
    with pytest.raises(ParserFaultError, match="parser face: kind"):
        face.connection(engine=Engine(b""))


def test_declarations_that_are_right_are_taken() -> None:
    assert checked(KINDS) is None


def test_raw_events_are_what_the_structures_hold() -> None:
    told = record(1, {0: b"ab", 3: b"cde", 5: 9}, 2, repeated=4, truncated=8, stream=77)
    [raw, other] = raw_events(told + record(3, {}))
    assert raw == RawEvent(
        1, 2, Op.PASS, REQUEST, 0, 5, 9, 9, 77, 0b101001, 4, 8, (2 << 32, 2 | 3 << 32, 9), b"abcde"
    )
    assert (raw.bytes_of(0), raw.bytes_of(3), raw.number(5), raw.bytes_of(1), raw.number(31)) == (
        b"ab", b"cde", 9, None, None,
    )  # fmt: skip
    assert (other.kind, other.values, other.text) == (3, (), b"")
