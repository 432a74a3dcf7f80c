"""Recordings: read in bounded pieces, split where asked, and two of them replayed by turns."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import pytest

from ebpfmesh import l7
from ebpfmesh.errors import ParseError
from ebpfmesh.l7 import REQUEST, RESPONSE, Data, Direction, End, Tunnel
from ebpfmesh.l7.events import joined
from ebpfmesh.l7.recording import BLOCK, Recording, replay


def recording(data: bytes, direction: Direction = REQUEST, step: int = BLOCK, **given: object) -> Recording:
    """Of bytes that come ``step`` at a time."""
    source = BytesIO(data)
    return Recording(direction, lambda length: source.read(min(length, step)), **given)  # type: ignore[arg-type]


def pieces(one: Recording, *, by_lines: bool = False) -> list[bytes]:
    found = []
    while piece := one.piece(0, by_lines=by_lines):
        found.append(piece)
    assert one.done
    return found


def test_bytes_are_replayed_as_they_come() -> None:
    assert pieces(recording(b"abcdefg", step=3)) == [b"abc", b"def", b"g"]
    assert [len(piece) for piece in pieces(recording(bytes(BLOCK + 5)))] == [BLOCK, 5]
    assert pieces(recording(b"")) == []


def test_splits_are_offsets_of_the_whole_recording() -> None:
    assert pieces(recording(b"abcdefg", splits=(2, 5, 5, 0, 99))) == [b"ab", b"cde", b"fg"]
    assert pieces(recording(b"abcdefg", step=3, splits=(4,))) == [b"abc", b"d", b"ef", b"g"]
    assert pieces(recording(b"abc", every=True)) == [b"a", b"b", b"c"]


def test_looking_takes_nothing() -> None:
    one = recording(b"abcdefg", step=2)
    assert one.look(1) == b"ab"
    assert one.look(3) == b"abcd"
    assert one.look(99) == b"abcdefg"
    assert pieces(one) == [b"abcdefg"]


def test_by_turns_a_piece_is_a_line_or_payload() -> None:
    one = recording(b"ab\ncd\n" + b"x" * 2000 + b"\ny")
    assert [one.piece(0, by_lines=True) for _ in range(2)] == [b"ab\n", b"cd\n"]
    assert one.piece(1000, by_lines=True) == b"x" * 1000
    assert [len(piece) for piece in pieces(one, by_lines=True)] == [512, 488 + 1, 1]


GETS = b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(300))
ANSWERS = b"".join(b"HTTP/1.1 200 OK\r\nContent-Length: 600\r\n\r\n" + b"\n" * 600 for _ in range(300))


@pytest.mark.parametrize("step", [1, 1000, BLOCK])
def test_two_recordings_take_turns_message_by_message(step: int) -> None:
    connection = l7.parser("http1").connection()
    events = list(replay(connection, [recording(ANSWERS, RESPONSE, step), recording(GETS, step=step)]))
    kinds = [(type(event).__name__, event.direction) for event in joined(events)]
    assert kinds == [
        ("Request", REQUEST), ("End", REQUEST), ("Response", RESPONSE), ("Data", RESPONSE), ("End", RESPONSE),
    ] * 300  # fmt: skip


def test_a_response_to_head_finds_its_request_and_a_tunnel_its_answer() -> None:
    requests = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\nCONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n\x16\x03\x01"
    responses = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nHTTP/1.1 200 OK\r\n\r\n\x16\x03"
    connection = l7.parser("http1").connection()
    events = list(replay(connection, [recording(requests), recording(responses, RESPONSE)]))
    assert [event.data for event in joined(events) if isinstance(event, Data)] == [
        b"\x16\x03\x01",  # the tunnel's bytes, when the response has said that it is one
        b"\x16\x03",
    ]
    assert [type(event).__name__ for event in events if isinstance(event, End | Tunnel)] == [
        "End", "End", "End", "Tunnel", "Tunnel",
    ]  # fmt: skip


def test_what_comes_before_an_error_is_not_lost() -> None:
    requests, found = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\0", []
    with pytest.raises(ParseError) as caught:
        found += list(replay(l7.parser("http1").connection(), [recording(requests)]))
    assert len(caught.value.events) == 2
    assert found == []


def test_a_long_recording_is_not_held() -> None:
    held: list[int] = []
    payload = b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n"
    left = [payload] + [bytes(BLOCK)] * 100

    def read(length: int) -> bytes:
        held.append(length)
        return left.pop(0) if left else b""

    one = Recording(REQUEST, read)
    with pytest.raises(ParseError, match="incomplete"):
        for _ in replay(l7.parser("http1").connection(), [one]):
            assert len(one._block) <= BLOCK
    assert set(held) == {BLOCK}
    assert len(held) == 102


def test_reading_may_fail() -> None:
    def read(length: int) -> bytes:
        raise OSError("the disk")

    reader: Callable[[int], bytes] = read
    with pytest.raises(OSError, match="the disk"):
        list(replay(l7.parser("http1").connection(), [Recording(REQUEST, reader)]))
