"""The rules for frames, one by one, at every split point (RFC 9113)."""

from __future__ import annotations

import pytest
from http2_wire import (
    ACK,
    BEGIN,
    CONTINUATION,
    END_HEADERS,
    END_STREAM,
    GET,
    GOAWAY,
    HAS_PRIORITY,
    HEADERS,
    OK,
    PADDED,
    PING,
    POST,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    SETTINGS_ACK,
    WHOLE,
    WINDOW_UPDATE,
    block,
    brief,
    client,
    data,
    error,
    frame,
    headers,
    read,
    reset,
    server,
    settings,
)

from ebpfmesh import l7
from ebpfmesh.l7.contract import REQUEST, RESPONSE, Config
from ebpfmesh.l7.vectors import Piece

FOUR = (7).to_bytes(4, "big")

# --- the beginning ------------------------------------------------------------------------------------------------------


def test_a_connection_begins_with_the_preface_and_settings() -> None:
    told = read(client(PREFACE, settings(_3=100, _4=65535)), server(settings(), SETTINGS_ACK), begun=False)
    assert told == [
        {
            "event": "settings",
            "direction": "request",
            "position": 45,
            "max_streams": 100,
            "initial_window": 65535,
        },
        {"event": "settings", "direction": "response", "position": 9},
        {"event": "settings", "direction": "response", "position": 18, "ack": True},
    ]


@pytest.mark.parametrize(
    ("first", "at"),
    [(b"GET / HTTP/1.1\r\n\r\n", 0), (b"PRI * HTTP/2.0\r\n\r\nSX", 19), (settings(), 0)],
)
def test_what_is_no_preface_is_undecodable_where_it_differs(first: bytes, at: int) -> None:
    [told] = read(client(first), begun=False)
    assert (told["reason"], told["position"]) == ("not_from_start", at)


def test_a_client_that_does_not_begin_with_settings_is_wrong() -> None:
    assert error(client(PREFACE, headers(1, *GET)), begun=False) == "first_frame"
    assert error(client(PREFACE, SETTINGS_ACK), begun=False) == "first_frame"


def test_a_server_that_does_not_begin_with_settings_speaks_something_else() -> None:
    assert error(server(b"HTTP/1.1 400 Bad Request\r\n\r\n"), begun=False) == "undecodable: not_from_start"
    assert error(server(SETTINGS_ACK), begun=False) == "undecodable: not_from_start"


def test_a_connection_seen_from_its_midst_is_undecodable() -> None:
    assert error(client(PREFACE, settings()), begun=False, config=Config(midstream=True)) == (
        "undecodable: not_from_start"
    )


def test_lost_bytes_of_structure_make_it_undecodable_and_lost_payload_does_not() -> None:
    connection = l7.parser("http2").connection()
    for direction, octets in BEGIN:
        connection.feed(direction, octets)
    connection.feed(REQUEST, headers(1, *POST, flags=END_HEADERS) + data(1, b"0123456789")[:12])
    assert connection.lost(REQUEST, 7) == []
    assert [event.__class__.__name__ for event in connection.feed(REQUEST, headers(3, *GET))] == [
        "Request",
        "End",
    ]
    connection.lost(REQUEST, 1)
    [told] = connection.feed(REQUEST, headers(5, *GET))
    assert isinstance(told, l7.Undecodable)
    assert told.reason == "gap"


def test_what_one_direction_breaks_ends_the_other_too() -> None:
    connection = l7.parser("http2").connection()
    for direction, octets in BEGIN:
        connection.feed(direction, octets)
    with pytest.raises(l7.ParseError):
        connection.feed(REQUEST, data(0, b""))
    with pytest.raises(l7.ParseError, match="stream id"):
        connection.feed(RESPONSE, frame(PING, bytes(8)))


# --- lengths, streams, flags --------------------------------------------------------------------------------------------

OPEN = headers(1, *POST, flags=END_HEADERS)

WRONG: list[tuple[str, Piece, str]] = [
    ("DATA on stream 0", client(data(0, b"x")), "stream_id"),
    ("HEADERS on stream 0", client(headers(0, *GET)), "stream_id"),
    ("PRIORITY on stream 0", client(frame(PRIORITY, bytes(5))), "stream_id"),
    ("RST_STREAM on stream 0", client(reset(0)), "stream_id"),
    ("SETTINGS on a stream", client(frame(SETTINGS, stream=1)), "stream_id"),
    ("PUSH_PROMISE on stream 0", server(frame(PUSH_PROMISE, bytes(4), flags=4)), "stream_id"),
    ("PING on a stream", client(frame(PING, bytes(8), stream=1)), "stream_id"),
    ("GOAWAY on a stream", client(frame(GOAWAY, bytes(8), stream=1)), "stream_id"),
    ("a client opens an even stream", client(headers(2, *GET)), "stream_id"),
    ("PRIORITY of 4", client(frame(PRIORITY, bytes(4), stream=1)), "frame_size"),
    ("RST_STREAM of 5", client(OPEN, frame(RST_STREAM, bytes(5), stream=1)), "frame_size"),
    ("SETTINGS of 7", client(frame(SETTINGS, bytes(7))), "frame_size"),
    ("SETTINGS with ACK and a payload", client(frame(SETTINGS, bytes(6), flags=ACK)), "frame_size"),
    ("PING of 7", client(frame(PING, bytes(7))), "frame_size"),
    ("GOAWAY of 7", client(frame(GOAWAY, bytes(7))), "frame_size"),
    ("WINDOW_UPDATE of 3", client(frame(WINDOW_UPDATE, bytes(3))), "frame_size"),
    ("padded DATA of 0", client(OPEN, data(1, b"", flags=PADDED)), "frame_size"),
    ("padded HEADERS of 0", client(frame(HEADERS, b"", flags=PADDED | WHOLE, stream=1)), "frame_size"),
    (
        "HEADERS of 4 with priority",
        client(frame(HEADERS, bytes(4), flags=HAS_PRIORITY | 4, stream=1)),
        "frame_size",
    ),
    ("PUSH_PROMISE of 3", server(frame(PUSH_PROMISE, bytes(3), stream=1)), "frame_size"),
    ("DATA above the limit", client(OPEN, data(1, bytes(16385))[:9]), "frame_size"),
    ("an unknown frame above the limit", client(frame(99, bytes(16385))[:9]), "frame_size"),
    ("DATA that is padding only, and more", client(OPEN, data(1, b"\2x", flags=PADDED)), "padding"),
    ("HEADERS likewise", client(frame(HEADERS, b"\1", flags=PADDED | WHOLE, stream=1)), "padding"),
    (
        "PUSH_PROMISE likewise",
        server(frame(PUSH_PROMISE, b"\5" + FOUR, flags=PADDED | 4, stream=1)),
        "padding",
    ),
    ("CONTINUATION alone", client(frame(CONTINUATION, b"", flags=4, stream=1)), "continuation_unexpected"),
    ("WINDOW_UPDATE of 0", client(frame(WINDOW_UPDATE, bytes(4))), "window_increment"),
    (
        "WINDOW_UPDATE of 0 with the reserved bit",
        client(frame(WINDOW_UPDATE, b"\x80\0\0\0")),
        "window_increment",
    ),
    ("WINDOW_UPDATE of an idle stream", client(frame(WINDOW_UPDATE, FOUR, stream=1)), "stream_state"),
    ("RST_STREAM of an idle stream", client(reset(1)), "stream_state"),
    ("RST_STREAM of a stream that was not promised", server(reset(2)), "stream_state"),
    ("DATA of an idle stream", client(data(1, b"x")), "stream_state"),
    ("a response without a request", server(headers(1, *OK)), "stream_state"),
    ("DATA behind END_STREAM", client(headers(1, *GET), data(1, b"x")), "stream_state"),
    ("HEADERS behind END_STREAM", client(headers(1, *GET), headers(1, *GET)), "stream_state"),
    ("DATA behind RST_STREAM", client(OPEN, reset(1), data(1, b"x")), "stream_state"),
    ("HEADERS behind RST_STREAM", client(OPEN, reset(1), headers(1, ("a", "b"))), "stream_state"),
    ("a client promises", client(OPEN, frame(PUSH_PROMISE, FOUR, flags=4, stream=1)), "push"),
    ("a request on a lower stream", client(headers(5, *GET), headers(3, *GET)), "stream_state"),
    (
        "a trailer section that does not end",
        client(OPEN, headers(1, ("a", "b"), flags=END_HEADERS)),
        "trailers",
    ),
    ("ENABLE_PUSH of 2", client(settings(_2=2)), "setting"),
    ("a server enables push", server(settings(_2=1)), "setting"),
    ("INITIAL_WINDOW_SIZE of 2**31", client(settings(_4=1 << 31)), "setting"),
    ("MAX_FRAME_SIZE of 16383", client(settings(_5=16383)), "setting"),
    ("MAX_FRAME_SIZE of 2**24", client(settings(_5=1 << 24)), "setting"),
    ("ENABLE_CONNECT_PROTOCOL of 2", server(settings(_8=2)), "setting"),
    ("ENABLE_CONNECT_PROTOCOL taken back", server(settings(_8=1), settings(_8=0)), "setting"),
    ("NO_RFC7540_PRIORITIES of 2", client(settings(_9=2)), "setting"),
]


@pytest.mark.parametrize(("piece", "code"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_a_frame_that_breaks_a_rule_is_an_error(piece: Piece, code: str) -> None:
    assert error(piece) == code


RIGHT: list[tuple[str, list[Piece]]] = [
    ("PRIORITY of an idle stream", [client(frame(PRIORITY, bytes(5), stream=9))]),
    ("PRIORITY behind the end", [client(headers(1, *GET), frame(PRIORITY, bytes(5), stream=1))]),
    ("WINDOW_UPDATE behind the end", [client(headers(1, *GET), frame(WINDOW_UPDATE, FOUR, stream=1))]),
    ("WINDOW_UPDATE of the connection", [client(frame(WINDOW_UPDATE, b"\x80\0\0\1"))]),
    ("RST_STREAM behind the end", [client(headers(1, *GET), reset(1))]),
    ("frames that are not known", [client(frame(99, b"abc"), frame(16, b"", stream=7, flags=255))]),
    ("settings that are not known", [client(settings(_7=1, _77=5))]),
    ("PING and its answer", [client(frame(PING, bytes(8))), server(frame(PING, bytes(8), flags=ACK))]),
    ("GOAWAY with a reason", [server(frame(GOAWAY, bytes(8) + b"because"), frame(GOAWAY, bytes(8)))]),
    ("the reserved bit of a stream", [client(frame(HEADERS, block(*GET), flags=WHOLE, stream=1 | 1 << 31))]),
    ("a stream that is skipped", [client(headers(5, *GET), headers(9, *GET))]),
    ("flags that mean nothing here", [client(frame(PING, bytes(8), flags=254))]),
]


@pytest.mark.parametrize("pieces", [case[1] for case in RIGHT], ids=[case[0] for case in RIGHT])
def test_a_frame_that_breaks_no_rule_is_taken(pieces: list[Piece]) -> None:
    assert all("error" not in event and event["event"] != "undecodable" for event in read(*pieces))


def test_settings_are_told_with_the_last_value_of_each() -> None:
    told = read(
        server(settings(_1=4096, _5=20000, _6=1000) + SETTINGS_ACK), client(settings(_4=7, _2=0, _9=1))
    )
    twice = frame(SETTINGS, b"\0\4\0\0\0\1" + b"\0\4\0\0\0\2")
    assert [{k: v for k, v in event.items() if k not in ("direction", "position")} for event in told] == [
        {"event": "settings", "table_size": 4096, "max_frame": 20000, "max_list": 1000},
        {"event": "settings", "ack": True},
        {"event": "settings", "initial_window": 7, "enable_push": False, "no_priorities": True},
    ]
    assert read(client(twice))[0]["initial_window"] == 2


def test_settings_of_many_entries_are_read_through() -> None:
    many = frame(SETTINGS, b"".join((77).to_bytes(2, "big") + bytes(4) for _ in range(300)) + b"\0\4\0\0\0\2")
    assert read(client(many))[0]["initial_window"] == 2


def test_larger_frames_come_where_the_peer_allows_them() -> None:
    allowed = (server(settings(_5=20000)), client(SETTINGS_ACK))
    large = data(1, bytes(16385))
    assert "error" not in read(*allowed, client(OPEN, large[:30]))[-1]
    larger = data(1, bytes(20001))
    assert error(*allowed, client(OPEN, larger[:30])) == "frame_size"


def test_a_smaller_frame_limit_binds_from_its_acknowledgement_on() -> None:
    pieces = [server(settings(_5=20000)), client(SETTINGS_ACK), server(settings(_5=16384))]
    large = data(1, bytes(16385))[:30]
    assert "error" not in read(*pieces, client(OPEN, large))[-1]
    assert error(*pieces, client(SETTINGS_ACK, OPEN, large)) == "frame_size"


def test_goaway_never_takes_more_than_before() -> None:
    def goaway(last: int) -> bytes:
        return frame(GOAWAY, last.to_bytes(4, "big") + (11).to_bytes(4, "big") + b"reason")

    told = read(server(goaway(7), goaway(3)))
    assert [(event["last_stream"], event["code"]) for event in told] == [(7, 11), (3, 11)]
    assert error(server(goaway(3), goaway(7))) == "goaway"


# --- heads in pieces ----------------------------------------------------------------------------------------------------


def test_padding_and_priority_are_no_part_of_a_head() -> None:
    whole = block(*GET)
    padded = frame(
        HEADERS, b"\5" + bytes(5) + whole + bytes(5), flags=PADDED | HAS_PRIORITY | WHOLE, stream=1
    )
    [request, end] = read(client(padded))
    assert (request["method"], request["path"], request["host"]) == ("GET", "/", "a.example")
    assert request["position"] == end["position"] == len(PREFACE) + 18 + len(padded)


def test_a_head_in_continuation_frames_is_one() -> None:
    whole = block(*GET)
    parts = frame(HEADERS, b"\3" + whole[:7] + bytes(3), flags=PADDED | END_STREAM, stream=1)
    parts += frame(CONTINUATION, b"", stream=1) + frame(CONTINUATION, whole[7:20], stream=1)
    parts += frame(CONTINUATION, whole[20:], flags=END_HEADERS, stream=1)
    assert brief(read(client(parts)), "path") == [("request", 1, "/"), ("end", 1)]


@pytest.mark.parametrize(
    "between",
    [
        data(1, b""),
        frame(PING, bytes(8)),
        frame(99, b""),
        headers(3, *GET),
        frame(CONTINUATION, flags=4, stream=3),
    ],
)
def test_nothing_comes_between_the_frames_of_a_head(between: bytes) -> None:
    begun = frame(HEADERS, block(*GET), flags=END_STREAM, stream=1)
    assert error(client(begun, between)) == "continuation_expected"


def test_more_continuation_frames_than_eight_are_told_and_then_not_followed() -> None:
    begun = frame(HEADERS, b"", flags=END_STREAM, stream=1)
    eight = [frame(CONTINUATION, b"", stream=1)] * 7 + [frame(CONTINUATION, block(*GET), flags=4, stream=1)]
    assert brief(read(client(begun, *eight))) == [("request", 1), ("end", 1)]
    told = read(client(begun, frame(CONTINUATION, b"", stream=1), *eight))
    assert brief(told, "frame", "count", "reason") == [
        ("flood", 1, CONTINUATION, 9),
        ("undecodable", "too_many"),
    ]


def test_a_block_over_its_limit_is_not_followed() -> None:
    head = block(*GET, ("a", "x" * 100))
    at_limit = Config(block_limit=len(head))
    assert brief(read(client(headers(1, *GET, ("a", "x" * 100))), config=at_limit))[0] == ("request", 1)
    below = Config(block_limit=len(head) - 1)
    assert error(client(headers(1, *GET, ("a", "x" * 100))), config=below) == "undecodable: too_long"
    halves = (
        frame(HEADERS, head[:50], flags=END_STREAM, stream=1),
        frame(CONTINUATION, head[50:], flags=END_HEADERS, stream=1),
    )
    assert error(client(*halves), config=below) == "undecodable: too_long"


# --- the end ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "last",
    [
        frame(PING, bytes(8))[:5],
        frame(PING, bytes(8))[:12],
        frame(HEADERS, block(*GET), stream=1),
        OPEN,
        OPEN + data(1, b"abc"),
        OPEN + data(1, b"\3abc" + bytes(3), flags=PADDED | END_STREAM)[:-1],
        settings(_4=1)[:-2],
    ],
)
def test_a_direction_that_ends_inside_something_is_incomplete(last: bytes) -> None:
    assert error(client(last), (REQUEST, b"")) == "incomplete"


@pytest.mark.parametrize(
    "last", [b"", headers(1, *GET), OPEN + reset(1), OPEN + data(1, b"", flags=END_STREAM)]
)
def test_a_direction_may_end_between_messages(last: bytes) -> None:
    assert all("error" not in event for event in read(client(last or settings()), (REQUEST, b"")))


def test_a_request_that_the_server_reset_is_not_missed() -> None:
    assert brief(read(client(OPEN), server(reset(1)), (REQUEST, b""), (RESPONSE, b""))) == [
        ("request", 1),
        ("reset", 1),
    ]


def test_nothing_at_all_is_nothing_wrong() -> None:
    assert read((REQUEST, b""), (RESPONSE, b""), begun=False) == []
