"""A core and a parser in Python tell what a model tells that reads all bytes at once, wherever they are split."""

from __future__ import annotations

import gc
import threading
import weakref
from array import array
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tally import Code, Message, PythonTally, Stream, Tally, Tone, build, outcome, pieces, streams

from ebpfmesh import l7
from ebpfmesh.errors import ConfigError, ParseError
from ebpfmesh.l7 import REQUEST, RESPONSE, Data, Direction, Dropped, End, Event, Replied, Tunnel, Undecodable
from ebpfmesh.l7.events import builtins, joined
from ebpfmesh.l7.vectors import outcome as told_by

slow = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> type[Tally]:
    """The face of the core, with its library."""
    return type("Built", (Tally,), {"library": build(tmp_path_factory.mktemp("tally"))})


@pytest.fixture(params=["core", "python"])
def parser(request: pytest.FixtureRequest, core: type[Tally]) -> l7.Parser:
    """The protocol, parsed in C and in Python."""
    return core() if request.param == "core" else PythonTally()


@slow
@given(st.data())
def test_events_are_those_of_the_model_wherever_bytes_are_split(
    parser: l7.Parser, data: st.DataObject
) -> None:
    stream, end = data.draw(streams()), data.draw(st.booleans())
    parts = [
        (REQUEST, piece) for piece in data.draw(st.composite(lambda draw: pieces(draw, stream))()) if piece
    ]
    assert told_by(parser.connection(), [*parts, (REQUEST, b"")] if end else parts) == outcome(
        REQUEST, stream, end=end
    )


@slow
@given(st.data())
def test_directions_do_not_touch_each_other(parser: l7.Parser, data: st.DataObject) -> None:
    streams_of = {direction: data.draw(streams(letters="MQSDR")) for direction in Direction}
    left = {direction: data.draw(st.composite(lambda draw, s=stream: pieces(draw, s))())
            for direction, stream in streams_of.items()}  # fmt: skip
    connection = parser.connection()
    told: dict[Direction, list[Event]] = {REQUEST: [], RESPONSE: []}
    while any(left.values()):
        direction = data.draw(st.sampled_from([one for one in Direction if left[one]]))
        try:
            told[direction] += connection.feed(direction, left[direction].pop(0))
        except ParseError as error:
            told[direction] += error.events
            left[direction] = []
    for direction, stream in streams_of.items():
        assert [builtins(one) for one in joined(told[direction])] == outcome(direction, stream, end=False)[0]


def test_a_message_comes_with_its_payload_and_its_end(parser: l7.Parser) -> None:
    connection = parser.connection()
    assert connection.feed(REQUEST, b"M\1\5xhel") == [
        Message(REQUEST, 4, 1, "x", 5, Tone.MIDDLE),
        Data(REQUEST, 4, 1, b"hel"),
    ]
    assert connection.expected(REQUEST) == 2
    assert connection.feed(REQUEST, b"loM\0\0") == [
        Data(REQUEST, 7, 1, b"lo"), End(REQUEST, 9, 1), Message(REQUEST, 12, 2), End(REQUEST, 12, 2),
    ]  # fmt: skip
    assert (connection.position(REQUEST), connection.position(RESPONSE), connection.expected(REQUEST)) == (
        12,
        0,
        0,
    )
    assert connection.end(REQUEST) == []


@pytest.mark.parametrize("wrong", [-1, -2, 2])
def test_what_is_no_direction_is_refused_and_changes_nothing(parser: l7.Parser, wrong: int) -> None:
    connection = parser.connection()
    for use in (
        lambda: connection.feed(wrong, b"M\0\0"),
        lambda: connection.end(wrong),
        lambda: connection.lost(wrong, 1),
        lambda: connection.position(wrong),
        lambda: connection.expected(wrong),
        lambda: connection.decodable(wrong),
    ):
        with pytest.raises(ValueError, match=f"{wrong} is not a valid Direction"):
            use()
    for direction in (REQUEST, RESPONSE, 0, 1):
        assert len(connection.feed(direction, b"M\0\0")) == 2


def test_a_number_without_a_name_stays_a_number(parser: l7.Parser) -> None:
    [event, _] = parser.connection().feed(RESPONSE, b"M\3\0abc")
    assert event == Message(RESPONSE, 6, 1, "abc", None, 3)
    assert isinstance(event, Message) and type(event.tone) is int


def test_payload_to_the_end_ends_with_the_stream(parser: l7.Parser) -> None:
    connection = parser.connection()
    assert connection.feed(REQUEST, b"S\2\0\xff\0ab") == [
        Stream(REQUEST, 5, 1, b"\xff\0"),
        Data(REQUEST, 5, 1, b"ab"),
    ]
    assert connection.feed(REQUEST, b"M\0\0") == [Data(REQUEST, 7, 1, b"M\0\0")]
    assert connection.end(REQUEST) == [End(REQUEST, 10, 1)]
    assert connection.end(REQUEST) == []


def test_a_tunnel_has_no_end(parser: l7.Parser) -> None:
    connection = parser.connection()
    message, *rest = connection.feed(REQUEST, b"T\0\0!!")
    assert (message.position, rest) == (3, [Tunnel(REQUEST, 3, 1), Data(REQUEST, 3, 1, b"!!")])
    assert connection.end(REQUEST) == []


def test_what_must_not_go_on_is_told_and_comes_as_no_payload(parser: l7.Parser) -> None:
    connection = parser.connection()
    assert connection.feed(REQUEST, b"D\0\3a") == [Message(REQUEST, 6, 1, "", 3), Dropped(REQUEST, 6)]
    assert connection.feed(REQUEST, b"bcR\0\1.M\0\0") == [
        Replied(REQUEST, 10, b"no"), Message(REQUEST, 13, 3), End(REQUEST, 13, 3),
    ]  # fmt: skip


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_an_error_has_its_place_its_code_and_what_came_before_it(parser: l7.Parser) -> None:
    connection = parser.connection()
    with pytest.raises(ParseError) as caught:
        connection.feed(REQUEST, b"M\0\0M\1\0y!")
    error = caught.value
    assert (error.protocol, error.direction, error.position) == (parser.name, "request", 7)
    assert (error.code, error.reason) == (Code.LETTER, "letter")
    assert str(error) == f"{parser.name} request at byte 7: letter"
    assert [event.position for event in error.events] == [3, 3, 7, 7]
    assert not connection.decodable(REQUEST)
    for again in (lambda: connection.feed(REQUEST, b"M"), lambda: connection.end(REQUEST),
                  lambda: connection.lost(REQUEST, 1)):  # fmt: skip
        with pytest.raises(ParseError, match="at byte 7: letter") as caught:
            again()
        assert caught.value.events == ()
    assert len(connection.feed(RESPONSE, b"M\0\0")) == 2  # its own matter


@pytest.mark.parametrize("cut", [b"M", b"M\1", b"M\1\0", b"M\0\2x", b"M\0\2"])
def test_a_stream_that_ends_in_a_message_is_incomplete(parser: l7.Parser, cut: bytes) -> None:
    connection = parser.connection()
    connection.feed(REQUEST, cut)
    with pytest.raises(ParseError) as caught:
        connection.end(REQUEST)
    assert (caught.value.reason, caught.value.position) == ("incomplete", len(cut))


def test_what_cannot_be_followed_is_told_once_and_then_nothing(parser: l7.Parser) -> None:
    connection = parser.connection()
    *_, last = connection.feed(REQUEST, b"M\0\0E!")
    assert last == Undecodable(REQUEST, 3, Code.SECRET, "secret")
    assert connection.feed(REQUEST, b"M\0\0") == connection.end(REQUEST) == connection.lost(REQUEST, 3) == []
    assert not connection.decodable(REQUEST)
    assert connection.decodable(RESPONSE)


def test_lost_payload_is_no_loss(parser: l7.Parser) -> None:
    connection = parser.connection()
    connection.feed(REQUEST, b"M\0\x09ab")
    assert connection.lost(REQUEST, 3) == []
    assert connection.feed(REQUEST, b"cd") == [Data(REQUEST, 8, 1, b"cd")]
    assert connection.lost(REQUEST, 2) == [End(REQUEST, 12, 1)]
    assert len(connection.feed(REQUEST, b"M\0\0")) == 2
    assert connection.position(REQUEST) == 15


@pytest.mark.parametrize(("before", "lost"), [(b"", 1), (b"M", 2), (b"M\0\3x", 4), (b"M\0\0", 7)])
def test_lost_structure_makes_a_direction_undecodable(parser: l7.Parser, before: bytes, lost: int) -> None:
    connection = parser.connection()
    connection.feed(REQUEST, before)
    connection.lost(REQUEST, lost)
    [event] = connection.feed(REQUEST, b"M\0\0")
    assert event == Undecodable(REQUEST, len(before) + lost, 1, "gap")


def test_a_connection_that_failed_is_held_by_nobody(parser: l7.Parser) -> None:
    connection = parser.connection()
    gone = weakref.ref(connection)
    gc.disable()  # an error has a traceback, that has frames, and they have the connection
    try:
        with suppress(ParseError):
            connection.feed(REQUEST, b"?")
        assert not connection.decodable(REQUEST)
        del connection
        assert gone() is None
    finally:
        gc.enable()


def test_bytes_behind_the_end_are_an_error(parser: l7.Parser) -> None:
    connection = parser.connection()
    connection.end(REQUEST)
    assert connection.feed(REQUEST, b"") == []
    with pytest.raises(ParseError, match="bad call"):
        connection.feed(REQUEST, b"M")


@pytest.mark.parametrize("make", [bytearray, memoryview, lambda data: memoryview(array("B", data))])
def test_anything_like_bytes_can_be_fed_and_is_copied(parser: l7.Parser, make: Any) -> None:
    data = make(b"M\0\3abc")
    events = parser.connection().feed(REQUEST, data)
    assert events == [Message(REQUEST, 3, 1, "", 3), Data(REQUEST, 3, 1, b"abc"), End(REQUEST, 6, 1)]
    if isinstance(data, bytearray):
        data[3:] = b"xyz"  # and it is not held
        assert isinstance(events[1], Data) and events[1].data == b"abc"


def test_what_is_not_like_bytes_is_the_callers_fault(parser: l7.Parser) -> None:
    with pytest.raises(TypeError):
        parser.connection().feed(REQUEST, "M\0\0")  # type: ignore[arg-type]


def test_events_are_frozen(parser: l7.Parser) -> None:
    [event, _] = parser.connection().feed(REQUEST, b"M\0\0")
    with pytest.raises(AttributeError):
        event.position = 5  # type: ignore[misc]


def test_an_unknown_leniency_is_refused_with_those_there_are(parser: l7.Parser) -> None:
    with pytest.raises(ConfigError, match=r"no leniency 'sloppy' \(there are: none\)"):
        parser.connection(l7.Config(leniencies=frozenset({"sloppy"})))


def test_connections_of_one_parser_run_in_threads_at_the_same_time(parser: l7.Parser) -> None:
    stream = b"".join(b"M\2\3ab" + bytes(3) for _ in range(200))
    found: list[Any] = []

    def work() -> None:
        connection = parser.connection()
        found.append(
            [
                event
                for at in range(0, len(stream), 7)
                for event in connection.feed(REQUEST, stream[at : at + 7])
            ]
        )

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(one == found[0] for one in found)
    assert sum(isinstance(event, Message) for event in found[0]) == 200


def test_much_at_once_is_told_in_full(parser: l7.Parser) -> None:
    one = b"M\4\6name" + b"PAYLOA"
    events = parser.connection().feed(REQUEST, one * 20000)  # several of the native engine's pieces
    assert len(events) == 60000
    assert events[-1] == End(REQUEST, len(one) * 20000, 20000)
    assert {type(event).__name__ for event in events} == {"Message", "Data", "End"}
    assert all(event.data == b"PAYLOA" for event in joined(events) if isinstance(event, Data))
