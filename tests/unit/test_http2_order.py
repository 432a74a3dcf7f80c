"""Two recordings of a connection of HTTP/2, replayed by what their frames say of their order."""

from __future__ import annotations

import io
from typing import Any

import pytest
from http2_wire import (
    ACK,
    END_HEADERS,
    END_STREAM,
    GET,
    HEADERS,
    OK,
    PING,
    POST,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    SETTINGS_ACK,
    block,
    data,
    frame,
    headers,
    reset,
    settings,
)

from ebpfmesh import l7
from ebpfmesh.l7 import REQUEST, RESPONSE, http2
from ebpfmesh.l7.recording import Recording, replay

BEGIN = PREFACE + settings()


def replayed(sent: bytes, answered: bytes, *, every: bool = False, **config: Any) -> list[l7.Event]:
    recordings = [
        Recording(direction, io.BytesIO(octets).read, every=every)
        for direction, octets in ((REQUEST, sent), (RESPONSE, answered))
    ]
    return list(replay(l7.parser("http2").connection(l7.Config(**config)), recordings))


def of(events: list[l7.Event], *kinds: type[l7.Event]) -> list[tuple[str, int]]:
    return [
        (type(event).__name__, getattr(event, "stream", 0)) for event in events if isinstance(event, kinds)
    ]


@pytest.mark.parametrize("every", [False, True])
def test_answers_in_another_order_find_their_requests(every: bool) -> None:
    streams = range(1, 2 * http2.STREAMS, 2)
    for order in (streams, streams[::-1]):
        told = replayed(
            BEGIN + SETTINGS_ACK + b"".join(headers(stream, *GET) for stream in streams),
            settings() + SETTINGS_ACK + b"".join(headers(stream, *OK) for stream in order),
            every=every,
        )
        assert of(told, http2.Response) == [("Response", stream) for stream in order]


def test_calls_that_are_given_up_hold_nobody_up() -> None:
    """Each is answered with a head and reset by the client: more of them than are followed at a time."""
    streams = range(1, 2001, 2)
    told = replayed(
        BEGIN + b"".join(headers(stream, *GET) + reset(stream) for stream in streams),
        settings() + b"".join(headers(stream, *OK, flags=END_HEADERS) for stream in streams),
    )
    assert of(told, http2.Request, http2.Response, http2.Reset) == [
        (kind, stream) for stream in streams for kind in ("Request", "Response", "Reset")
    ]


def test_a_stream_that_stays_open_lets_others_come_and_go() -> None:
    calls = range(3, 1003, 2)
    told = replayed(
        BEGIN
        + headers(1, *POST, flags=END_HEADERS)
        + b"".join(headers(stream, *GET) + data(1, b"ask") for stream in calls)
        + data(1, b"", flags=END_STREAM),
        settings()
        + headers(1, *OK, flags=END_HEADERS)
        + b"".join(data(1, b"told") + headers(stream, *OK) for stream in calls)
        + data(1, b"", flags=END_STREAM),
    )
    assert of(told, http2.Request, http2.Response) == [
        (kind, stream) for stream in (1, *calls) for kind in ("Request", "Response")
    ]
    assert not of(told, l7.Undecodable)


def test_a_message_is_not_interrupted_by_its_answer() -> None:
    told = replayed(
        BEGIN + headers(1, *POST, flags=END_HEADERS) + data(1, b"a") + data(1, b"b", flags=END_STREAM),
        settings() + headers(1, *OK),
    )
    assert of(told, http2.Request, http2.Response, l7.Data, l7.End) == [
        ("Request", 1), ("Data", 1), ("Data", 1), ("End", 1), ("Response", 1), ("End", 1),
    ]  # fmt: skip


def test_what_a_side_allows_is_known_before_it_is_used() -> None:
    """The client's frames grow, and so does the server's table, once the other side has allowed it."""
    long = b"x" * 20_000
    told = replayed(
        BEGIN
        + SETTINGS_ACK
        + headers(1, *POST, flags=END_HEADERS)
        + data(1, long, flags=END_STREAM)
        + settings(_5=30_000, _1=8192)
        + headers(3, *GET),
        settings(_5=20_000)
        + SETTINGS_ACK
        + headers(1, *OK)
        + SETTINGS_ACK
        + frame(HEADERS, b"\x3f\xe1\x3f" + block(*OK), flags=END_HEADERS | END_STREAM, stream=3),
    )
    assert of(told, http2.Response) == [("Response", 1), ("Response", 3)]
    assert [event.data for event in told if isinstance(event, l7.Data)] == [long]


def test_promises_come_before_what_the_client_says_of_them_and_pings_before_their_answers() -> None:
    told = replayed(
        BEGIN + headers(1, *GET) + reset(2) + frame(PING, bytes(8)) * 70,
        settings()
        + frame(PUSH_PROMISE, b"\0\0\0\2" + block(*GET), flags=END_HEADERS, stream=1)
        + frame(PING, bytes(8), flags=ACK) * 70
        + frame(PRIORITY, b"\0\0\0\0\0", stream=99)
        + headers(1, *OK),
    )
    assert of(told, http2.Request, http2.Push, http2.Reset, http2.Response, http2.Flood) == [
        ("Request", 1), ("Push", 1), ("Reset", 2), ("Response", 1),
    ]  # fmt: skip


def test_an_answer_without_a_request_is_an_error_behind_all_requests() -> None:
    with pytest.raises(l7.ParseError, match="stream state"):
        replayed(BEGIN + headers(1, *GET), settings() + headers(3, *OK))


def test_recordings_may_be_cut_or_empty() -> None:
    assert of(replayed(BEGIN, b""), http2.Settings) == [("Settings", 0)]
    assert of(replayed(b"", settings()), http2.Settings) == [("Settings", 0)]
    assert replayed(b"", b"") == []
    for cut in (5, 12):  # inside the header of a frame, and inside its payload
        with pytest.raises(l7.ParseError, match="incomplete"):
            replayed(BEGIN + headers(1, *GET), settings() + headers(1, *OK)[:cut])
        with pytest.raises(l7.ParseError, match="incomplete"):
            replayed(BEGIN + headers(1, *GET)[:cut], settings())


def test_a_connection_that_was_upgraded_has_its_first_stream_already() -> None:
    told = replayed(
        BEGIN + headers(3, *GET), settings() + headers(1, *OK), leniencies=frozenset({"upgraded"})
    )
    assert of(told, http2.Request, http2.Response) == [("Response", 1), ("Request", 3)]
