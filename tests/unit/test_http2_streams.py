"""The life of streams, pushed ones too, and what is reported of floods, at every split point."""

from __future__ import annotations

import io

import pytest
from http2_wire import (
    ACK,
    END_HEADERS,
    END_STREAM,
    GET,
    HEADERS,
    OK,
    PADDED,
    PING,
    POST,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    SETTINGS_ACK,
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
from ebpfmesh.l7.recording import Recording, replay

OPEN = headers(1, *POST, flags=END_HEADERS)
ANSWER = headers(1, *OK, flags=END_HEADERS)
END = data(1, b"", flags=END_STREAM)


def test_each_response_has_the_stream_of_its_request() -> None:
    told = read(
        client(headers(1, *GET), headers(3, *GET), headers(5, *POST, flags=END_HEADERS)),
        server(headers(3, (":status", "404")), headers(5, (":status", "103"), flags=END_HEADERS)),
        client(data(5, b"question", flags=END_STREAM)),
        server(
            headers(5, *OK, flags=END_HEADERS),
            headers(1, *OK, flags=END_HEADERS),
            data(5, b"an"),
            data(1, b"one"),
        ),
        server(data(5, b"swer", flags=END_STREAM), data(1, b"", flags=END_STREAM)),
        (REQUEST, b""),
        (RESPONSE, b""),
    )
    assert brief(told, "status", "data") == [
        ("request", 1), ("end", 1), ("request", 3), ("end", 3), ("request", 5),
        ("response", 3, 404), ("end", 3), ("interim", 5, 103),
        ("data", 5, b"question"), ("end", 5),
        ("response", 5, 200), ("response", 1, 200), ("data", 5, b"an"), ("data", 1, b"one"),
        ("data", 5, b"swer"), ("end", 5), ("end", 1),
    ]  # fmt: skip


def test_padding_is_no_data() -> None:
    padded = data(1, b"\x09payload" + bytes(9), flags=PADDED)
    only_padding = data(1, b"\3" + bytes(3), flags=PADDED)
    last = data(1, b"\4!" + bytes(4), flags=PADDED | END_STREAM)
    told = read(client(OPEN, padded, only_padding, last))
    assert brief(told, "data") == [("request", 1), ("data", 1, b"payload"), ("data", 1, b"!"), ("end", 1)]
    assert told[-1]["position"] == len(PREFACE) + 18 + len(OPEN + padded + only_padding + last)


def test_padding_at_the_end_of_a_tunnel_is_not_needed_for_its_bytes() -> None:
    connection = l7.parser("http2").connection()
    for piece in (client(PREFACE, settings()), server(settings()), client(OPEN)):
        connection.feed(*piece)
    [told] = connection.feed(REQUEST, data(1, b"\x09payload" + bytes(9), flags=PADDED)[:17])
    assert told.data == b"payload"


# --- what may still come of a stream ------------------------------------------------------------------------------------


def test_frames_that_crossed_a_reset_are_no_error() -> None:
    told = read(client(OPEN), server(reset(1)), client(data(1, b"late"), END))
    assert brief(told) == [("request", 1), ("reset", 1), ("data", 1), ("end", 1)]
    told = read(client(OPEN, reset(1)), server(ANSWER, data(1, b"late"), reset(1)))
    assert brief(told) == [("request", 1), ("reset", 1), ("response", 1), ("data", 1), ("reset", 1)]


def test_the_code_of_a_reset_is_told() -> None:
    [_, told] = read(client(OPEN, reset(1, 8)))
    assert (told["code"], told["stream"]) == (8, 1)
    [_, told] = read(client(OPEN, reset(1, 1 << 31)))
    assert told["code"] == 1 << 31


def test_a_stream_that_the_other_side_ended_is_half_open() -> None:
    early = server(ANSWER, END)
    assert brief(read(client(OPEN), early, client(data(1, b"x"), END))) == [
        ("request", 1), ("response", 1), ("end", 1), ("data", 1), ("end", 1),
    ]  # fmt: skip
    assert error(client(OPEN), early, server(END)) == "stream_state"
    assert error(client(OPEN), server(data(1, b"x"))) == "stream_state"
    assert (
        error(client(OPEN), server(headers(1, (":status", "100"), flags=END_HEADERS), data(1, b"x")))
        == "stream_state"
    )


def long_ago(count: int) -> bytes:
    """So many requests, each reset at once, that stream 1 is forgotten."""
    return b"".join(headers(2 * n + 3, *GET, flags=END_HEADERS) + reset(2 * n + 3) for n in range(count))


def fed(*pieces: tuple[l7.Direction, bytes], config: Config | None = None) -> list[tuple[object, ...]]:
    """As `read`, without every split."""
    connection = l7.parser("http2").connection(config)
    told = []
    try:
        for direction, octets in [client(PREFACE, settings()), server(settings()), *pieces]:
            told += connection.feed(direction, octets)
    except l7.ParseError as failure:
        return [("error", failure.reason)]
    return [
        (type(event).__name__.lower(), *((event.stream,) if hasattr(event, "stream") else ()))
        for event in told[2:]
    ]


def test_a_stream_that_is_forgotten_is_told_no_more() -> None:
    before = [client(OPEN, reset(1)), client(long_ago(200))]
    assert len(fed(*before)) > 400
    late = server(ANSWER + data(1, b"late") + END)
    assert fed(*before, late) == fed(*before)
    assert fed(*before, client(reset(1)))[-1] == ("reset", 1)
    assert fed(*before, client(data(1, b"x"))) == fed(*before)
    assert fed(*before, client(headers(1, *GET))) == [("error", "stream_state")]


def test_a_stream_whose_number_was_skipped_is_no_stream() -> None:
    """As long as it is known that none with its number is forgotten."""
    skipping = client(headers(5, *GET, flags=END_HEADERS))
    for frames in (headers(3, *GET), headers(3, ("x-sum", "1")), data(3, b"x")):
        assert error(skipping, client(frames)) == "stream_state"
    for frames in (headers(3, *OK), data(3, b"x")):
        assert error(skipping, server(frames)) == "stream_state"
    before = [skipping, client(reset(5)), client(long_ago(400)[4 * len(long_ago(1)) :])]
    assert fed(*before, client(data(3, b"x"))) == fed(*before)


def test_a_promise_is_of_a_request_that_may_be_cached() -> None:
    def promise(method: str) -> tuple[l7.Direction, bytes]:
        payload = b"\0\0\0\2" + block((":method", method), *GET[1:])
        return server(frame(PUSH_PROMISE, payload, flags=END_HEADERS, stream=1))

    for method in ("GET", "HEAD"):
        assert brief(read(client(OPEN), promise(method)))[-1] == ("push", 1)
    for method in ("POST", "OPTIONS", "get"):
        assert error(client(OPEN), promise(method)) == "push"


def test_more_streams_at_a_time_than_are_followed_are_undecodable() -> None:
    many = [headers(2 * n + 1, *GET) for n in range(129)]
    assert fed(client(*many[:128]))[-1] == ("end", 255)
    assert fed(client(*many))[-1] == ("undecodable",)
    answered = server(*(headers(2 * n + 1, *OK) for n in range(128)))
    assert fed(client(*many[:128]), answered, client(many[128]))[-1] == ("end", 257)
    few = Config(stream_limit=2)
    assert error(client(*many[:3]), config=few) == "undecodable: too_many"
    assert brief(read(client(*many[:2]), server(headers(1, *OK)), client(many[2]), config=few))[-1] == (
        "end",
        5,
    )


def test_a_stream_that_lives_long_is_found_again() -> None:
    """Its place is the first choice of every 128th stream."""
    others = b"".join(headers(2 * n + 3, *GET) for n in range(127))
    answers = b"".join(headers(2 * n + 3, *OK) for n in range(127))
    more = b"".join(headers(2 * n + 257, *GET) + reset(2 * n + 257) for n in range(300))
    told = fed(
        client(OPEN), client(others), server(answers), client(more), server(ANSWER), client(data(1, b"x"))
    )
    assert told[-2:] == [("response", 1), ("data", 1)]


# --- push ---------------------------------------------------------------------------------------------------------------


def promise(promised: int, *pairs: tuple[str, str], stream: int = 1) -> bytes:
    octets = promised.to_bytes(4, "big") + block(*pairs)
    return frame(PUSH_PROMISE, octets, flags=END_HEADERS, stream=stream)


PUSHED = (*GET[:2], (":path", "/style.css"), GET[3])


def test_a_promised_stream_is_a_request_and_its_response() -> None:
    padded = frame(
        PUSH_PROMISE,
        b"\3" + (4).to_bytes(4, "big") + block(*PUSHED) + bytes(3),
        flags=END_HEADERS | PADDED,
        stream=1,
    )
    told = read(
        client(headers(1, *GET)),
        server(promise(2, *PUSHED), ANSWER, padded, END),
        server(
            headers(2, *OK, flags=END_HEADERS),
            data(2, b"css", flags=END_STREAM),
            headers(4, (":status", "304")),
        ),
        (RESPONSE, b""),
    )
    assert brief(told, "promised", "path", "status") == [
        ("request", 1, "/"), ("end", 1),
        ("push", 1, 2, "/style.css"), ("response", 1, 200), ("push", 1, 4, "/style.css"), ("end", 1),
        ("response", 2, 200), ("data", 2), ("end", 2), ("response", 4, 304), ("end", 4),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (promise(3, *PUSHED), "stream_id"),
        (promise(0, *PUSHED), "stream_id"),
        (promise(4, *PUSHED) + promise(2, *PUSHED), "stream_id"),
        (promise(2, *PUSHED, stream=2), "stream_id"),
        (promise(2, *PUSHED, stream=3), "stream_state"),
        (ANSWER + END + promise(2, *PUSHED), "stream_state"),
        (promise(2, (":status", "200")), "pseudo_unknown"),
        (headers(2, *OK), "stream_state"),
    ],
)
def test_a_promise_that_breaks_a_rule_is_an_error(sent: bytes, code: str) -> None:
    assert error(client(headers(1, *GET)), server(sent)) == code


def test_a_client_that_wants_no_push_gets_none_once_the_server_knows() -> None:
    no_push = [client(settings(_2=0), headers(1, *GET))]
    assert brief(read(*no_push, server(promise(2, *PUSHED))))[-1] == ("push", 1)
    assert error(*no_push, server(SETTINGS_ACK, promise(2, *PUSHED))) == "push"
    again = [*no_push, server(SETTINGS_ACK), client(settings(_2=1))]
    assert brief(read(*again, server(SETTINGS_ACK, promise(2, *PUSHED))))[-1] == ("push", 1)


def test_a_client_refuses_a_push() -> None:
    told = read(
        client(headers(1, *GET)), server(promise(2, *PUSHED)), client(reset(2)), server(headers(2, *OK))
    )
    assert brief(told)[2:] == [("push", 1), ("reset", 2), ("response", 2), ("end", 2)]


# --- one direction, and upgrades ----------------------------------------------------------------------------------------

ALONE = Config(one_direction=True)


def test_requests_alone_are_followed() -> None:
    many = client(PREFACE, settings(), *(headers(2 * n + 1, *GET) + SETTINGS_ACK for n in range(5)))
    assert brief(read(many, config=ALONE, begun=False))[1::3] == [("request", 2 * n + 1) for n in range(5)]
    connection = l7.parser("http2").connection(ALONE)
    told = connection.feed(
        REQUEST, PREFACE + settings() + b"".join(headers(2 * n + 1, *GET) for n in range(500))
    )
    assert sum(isinstance(event, l7.http2.Request) for event in told) == 500


def test_responses_alone_are_followed() -> None:
    sent = server(
        settings(),
        SETTINGS_ACK,
        headers(3, *OK),
        headers(1, (":status", "100"), flags=END_HEADERS),
        ANSWER,
        END,
    )
    assert brief(read(sent, config=ALONE, begun=False))[2:] == [
        ("response", 3), ("end", 3), ("interim", 1), ("response", 1), ("end", 1),
    ]  # fmt: skip


def test_behind_an_upgrade_the_server_answers_stream_1() -> None:
    upgraded = Config(leniencies=frozenset({"upgraded"}))
    told = read(server(ANSWER, END), client(headers(3, *GET)), config=upgraded)
    assert brief(told) == [("response", 1), ("end", 1), ("request", 3), ("end", 3)]
    assert error(client(headers(1, *GET)), config=upgraded) == "stream_state"


# --- floods -------------------------------------------------------------------------------------------------------------


def floods(*pieces: tuple[l7.Direction, bytes]) -> list[tuple[int, int]]:
    """(type of the frames, count) of each report; and the same byte by byte."""
    told = []
    for every in (False, True):
        connection = l7.parser("http2").connection()
        events = []
        for direction, octets in [client(PREFACE, settings()), server(settings()), *pieces]:
            for part in [octets[at : at + 1] for at in range(len(octets))] if every else [octets]:
                events += connection.feed(direction, part)
        told.append([(event.frame, event.count) for event in events if isinstance(event, l7.http2.Flood)])
    assert told[0] == told[1]
    return told[0]


def test_rapid_resets_are_reported() -> None:
    assert floods(client(long_ago(300))) == [(3, 128)]
    assert floods(client(long_ago(400))) == [(3, 128), (3, 128)]


def test_resets_among_other_frames_are_not() -> None:
    some = b"".join(
        headers(2 * n + 1, *GET) + frame(PING, bytes(8), flags=ACK) * 5 + reset(2 * n + 1) for n in range(400)
    )
    assert floods(client(some)) == []


def test_settings_priorities_and_empty_frames_are_reported() -> None:
    assert floods(client((settings(_4=1)) * 10)) == []
    settled = [client(settings() * 10), server(SETTINGS_ACK * 10)] * 7
    assert floods(*settled) == [(4, 64)]
    assert floods(client(frame(PRIORITY, bytes(5), stream=9) * 300)) == [(2, 256)]
    assert floods(client(OPEN, data(1, b"") * 200)) == [(0, 128)]
    assert floods(client(OPEN, data(1, b"x") * 200)) == []


def test_pings_that_nobody_answers_are_reported() -> None:
    assert floods(client(frame(PING, bytes(8)) * 130)) == [(6, 64), (6, 128)]
    answered = [client(frame(PING, bytes(8)) * 60), server(frame(PING, bytes(8), flags=ACK) * 60)] * 5
    assert floods(*answered) == []


def test_settings_that_nobody_acknowledges_are_not_followed_for_ever() -> None:
    assert fed(client(settings(_4=1) * 15))[-1] == ("settings",)
    assert fed(client(settings(_4=1) * 20))[-1] == ("undecodable",)


def test_a_flood_of_empty_heads_is_reported_though_it_is_no_head() -> None:
    sent = frame(HEADERS, b"", flags=END_STREAM, stream=1) + frame(9, b"", stream=1) * 20
    assert floods(client(sent)) == [(9, 9)]


# --- recordings ---------------------------------------------------------------------------------------------------------


def test_two_recordings_of_one_connection_are_replayed_by_turns() -> None:
    """More requests than are followed at a time, of which nobody knows when they came; acknowledgements out of order."""
    streams = range(1, 601, 2)
    sent = PREFACE + settings(_4=0) + SETTINGS_ACK + b"".join(headers(stream, *GET) for stream in streams)
    answered = settings() + SETTINGS_ACK + b"".join(headers(stream, *OK) for stream in streams)
    recordings = []
    for direction, octets in ((REQUEST, sent), (RESPONSE, answered)):
        recordings.append(Recording(direction, io.BytesIO(octets).read))
    told = list(replay(l7.parser("http2").connection(), recordings))
    assert not any(isinstance(event, l7.Undecodable) for event in told)
    assert [event.stream for event in told if isinstance(event, l7.http2.Response)] == list(streams)
