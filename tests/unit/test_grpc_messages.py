"""gRPC on HTTP/2: calls, messages wherever frames cut them, and how calls end, at every split point."""

from __future__ import annotations

from typing import Any

import pytest
from http2_wire import (
    END_HEADERS,
    END_STREAM,
    PADDED,
    WHOLE,
    Piece,
    block,
    brief,
    client,
    data,
    frame,
    headers,
    read,
    reset,
    server,
)

from ebpfmesh import l7
from ebpfmesh.l7.grpc import FOREVER, StatusCode

PATH = "/helloworld.Greeter/SayHello"
HEAD = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", PATH),
    (":authority", "a.example"),
    ("te", "trailers"),
    ("content-type", "application/grpc+proto"),
)
OK = ((":status", "200"), ("content-type", "application/grpc"))
CALL = headers(1, *HEAD, flags=END_HEADERS)
ANSWER = headers(1, *OK, flags=END_HEADERS)


def message(payload: bytes, compressed: int = 0) -> bytes:
    return bytes((compressed,)) + len(payload).to_bytes(4, "big") + payload


def grpc(*pieces: Piece) -> list[Any]:
    return read(*pieces, protocol="grpc")


def test_a_unary_call() -> None:
    told = grpc(
        client(headers(1, *HEAD, ("grpc-timeout", "500m"), ("user-agent", "grpc-c"), flags=END_HEADERS)),
        client(data(1, message(b"hello"), flags=END_STREAM)),
        server(
            ANSWER, data(1, message(b"hello, you")), headers(1, ("grpc-status", "0"), ("grpc-message", ""))
        ),
    )
    assert brief(told, "service", "method", "timeout", "number", "length", "data", "code") == [
        ("call", 1, "helloworld.Greeter", "SayHello", 500_000_000),
        ("message", 1, 1, 5), ("data", 1, b"hello"), ("end", 1),
        ("response", 1), ("message", 1, 1, 10), ("data", 1, b"hello, you"), ("status", 1, 0), ("end", 1),
    ]  # fmt: skip
    assert told[0]["path"] == PATH
    assert told[0]["user_agent"] == "grpc-c"
    assert "compressed" not in told[1]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7, 11, 100])
def test_messages_do_not_care_where_frames_end(size: int) -> None:
    stream = message(b"one") + message(b"") + message(b"three" * 4, compressed=1) + message(b"")
    frames = [data(1, stream[at : at + size]) for at in range(0, len(stream), size)]
    told = grpc(client(CALL, *frames, data(1, b"", flags=END_STREAM)))
    assert brief([event for event in told if event["event"] == "message"], "number", "length", "compressed") == [
        ("message", 1, 1, 3), ("message", 1, 2, 0), ("message", 1, 3, 20, True), ("message", 1, 4, 0),
    ]  # fmt: skip
    assert b"".join(event["data"] for event in told if event["event"] == "data") == b"one" + b"three" * 4
    assert told[-1]["event"] == "end"


def test_padding_and_empty_frames_are_no_part_of_a_message() -> None:
    padded = [
        data(1, b"\3" + part + bytes(3), flags=PADDED) for part in (b"\0\0", b"\0", b"", b"\0\4ab", b"cd")
    ]
    told = grpc(client(CALL, *padded, data(1, b""), data(1, b"\0" + bytes(0), flags=PADDED | END_STREAM)))
    assert brief(told, "length", "data") == [
        ("call", 1),
        ("message", 1, 4),
        ("data", 1, b"ab"),
        ("data", 1, b"cd"),
        ("end", 1),
    ]


def test_streams_have_messages_of_their_own() -> None:
    one, two = message(b"a" * 20), message(b"b" * 20)
    other = headers(3, *HEAD, flags=END_HEADERS)
    told = grpc(
        client(CALL, other, data(1, one[:3]), data(3, two[:7]), data(1, one[3:]), data(3, two[7:] + two))
    )
    found = {1: b"", 3: b""}
    for event in told:
        if event["event"] == "data":
            found[event["stream"]] += event["data"]
    assert found == {1: b"a" * 20, 3: b"b" * 40}
    assert brief([event for event in told if event["event"] == "message"], "number") == [
        ("message", 3, 1), ("message", 1, 1), ("message", 3, 2),
    ]  # fmt: skip


def test_how_a_call_ends() -> None:
    ended = headers(1, ("grpc-status", "5"), ("grpc-message", "no%20such%3A %C3%A9%FF"))
    told = grpc(client(CALL, data(1, b"", flags=END_STREAM)), server(ANSWER, ended))
    assert (told[-2]["code"], told[-2]["message"]) == (StatusCode.NOT_FOUND, "no such: é�")
    only = headers(1, *OK, ("grpc-status", "7"), ("grpc-message", "denied"))
    told = grpc(client(CALL, data(1, b"", flags=END_STREAM)), server(only))
    assert brief(told, "code", "message", "trailers_only")[2:] == [
        ("status", 1, 7, "denied", True),
        ("end", 1),
    ]
    told = grpc(
        client(CALL, data(1, b"", flags=END_STREAM)), server(ANSWER, headers(1, ("grpc-status", "99")))
    )
    assert told[-2]["code"] == 99
    told = grpc(client(CALL, data(1, b"", flags=END_STREAM)), server(ANSWER, headers(1, ("x", "y"))))
    assert told[-2]["event"] == "trailers"


def test_a_call_that_is_cancelled_may_stop_inside_a_message() -> None:
    told = grpc(client(CALL, data(1, message(b"hello")[:7]), reset(1, 8)), (l7.REQUEST, b""))
    assert brief(told, "code") == [("call", 1), ("message", 1), ("data", 1), ("reset", 1, 8)]


TIMEOUTS = {
    "1H": 3_600_000_000_000,
    "2M": 120_000_000_000,
    "3S": 3_000_000_000,
    "99999999m": 99_999_999_000_000,
    "5u": 5000,
    "00000006n": 6,
    "99999999H": FOREVER,
    "5124095H": 5_124_095 * 3_600_000_000_000,
    "5124096H": FOREVER,
    "123456789n": None,
    "5": None,
    "H": None,
    "": None,
    "5x": None,
    "-1S": None,
    "1.5S": None,
}


@pytest.mark.parametrize("text", TIMEOUTS)
def test_a_timeout_is_told_in_nanoseconds(text: str) -> None:
    [told] = grpc(client(headers(1, *HEAD, ("grpc-timeout", text), flags=END_HEADERS)))
    assert told.get("timeout") == TIMEOUTS[text]


@pytest.mark.parametrize(
    "content_type", ["application/grpc", "Application/GRPC+json", "application/grpc;charset=x"]
)
def test_what_is_grpc_and_what_is_not(content_type: str) -> None:
    [told] = grpc(client(headers(1, *HEAD[:-1], ("content-type", content_type), flags=END_HEADERS)))
    assert told["event"] == "call"


@pytest.mark.parametrize(
    "content_type", ["application/grpc-web", "application/grp", "text/html", "application/grpcx"]
)
def test_what_is_no_grpc_is_http(content_type: str) -> None:
    head = headers(1, *HEAD[:-1], ("content-type", content_type), flags=END_HEADERS)
    assert brief(grpc(client(head, data(1, b"\7anything", flags=END_STREAM))), "data") == [
        ("request", 1), ("data", 1, b"\7anything"), ("end", 1),
    ]  # fmt: skip


def test_a_response_that_is_no_grpc_has_no_messages() -> None:
    html = headers(1, (":status", "503"), ("content-type", "text/html"), flags=END_HEADERS)
    told = grpc(
        client(CALL, data(1, b"", flags=END_STREAM)), server(html, data(1, b"<html>", flags=END_STREAM))
    )
    assert brief(told, "data")[2:] == [("response", 1), ("data", 1, b"<html>"), ("end", 1)]


WRONG: list[tuple[str, Piece, str]] = [
    ("a flag of 2", client(CALL, data(1, message(b"x", compressed=2))), "grpc_flag"),
    ("an end inside a prefix", client(CALL, data(1, b"\0\0", flags=END_STREAM)), "grpc_cut"),
    ("an end inside a message", client(CALL, data(1, message(b"hello")[:-1], flags=END_STREAM)), "grpc_cut"),
    (
        "an end behind it",
        client(CALL, data(1, message(b"hello")[:-1]), data(1, b"", flags=END_STREAM)),
        "grpc_cut",
    ),
    ("trailers inside a message", client(CALL, data(1, b"\0"), headers(1, ("a", "b"))), "grpc_cut"),
]


@pytest.mark.parametrize(("piece", "code"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_a_message_that_breaks_a_rule_is_an_error(piece: Piece, code: str) -> None:
    assert grpc(piece)[-1]["error"] == code


def test_the_core_of_http2_sees_no_messages() -> None:
    told = read(client(CALL, data(1, b"\7anything", flags=END_STREAM)))
    assert brief(told) == [("request", 1), ("data", 1), ("end", 1)]
    assert told[0]["content_type"] == "application/grpc+proto"


def test_a_long_message_is_passed_unseen() -> None:
    connection = l7.parser("grpc").connection()
    assert frame(1, block(*HEAD), flags=WHOLE, stream=1)
    for piece in (client(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4)), server(frame(4)), client(CALL)):
        connection.feed(*piece)
    whole = message(bytes(range(256)) * 400)
    sent = b"".join(data(1, whole[at : at + 16384]) for at in range(0, len(whole), 16384))
    told = connection.feed(l7.REQUEST, sent)
    assert b"".join(event.data for event in told if isinstance(event, l7.Data)) == whole[5:]
