"""Conversations of h2, with its own encoder and nghttp2's: what was sent is what is read, as h2 and nghttp2 read it.
Broken frames are read as they read them, or refused."""

from __future__ import annotations

import random
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from differential.http2_conversations import Conversation, samples
from differential.http2_frames import frames, mutated
from differential.http2_strategies import conversations
from differential.http2_witnesses import H2
from differential.messages import Message, Reading
from differential.nghttp2 import Nghttp2
from differential.ours import Reader, decode

BOUNDED = settings(max_examples=120, derandomize=True, deadline=None, database=None)
WITNESSES = (H2(), Nghttp2())
Settings = tuple[dict[int, int], dict[int, int]]


def plain(message: Message) -> Message:
    """Without what differs on purpose: ours keeps no secret, and has pseudo-headers as attributes."""
    return message._replace(
        headers=tuple(
            (name, b"" if name == b"authorization" else value)
            for name, value in message.headers
            if not name.startswith(b":")
        ),
        trailers=tuple(
            (name, b"" if name == b"authorization" else value) for name, value in message.trailers
        ),
    )


def by_stream(messages: tuple[Message, ...]) -> list[Message]:
    """Finished messages, each plain, in an order that does not depend on how streams took turns."""
    return sorted((plain(m) for m in messages if m.complete), key=lambda m: (m.stream, m.status or 0))


def flat(conversation: Conversation, direction: int) -> bytes:
    return b"".join(data for of, data in conversation.pieces if of == direction)


@BOUNDED
@given(conversations())
def test_what_was_sent_is_what_is_read(found: tuple[Conversation, Settings]) -> None:
    conversation, (client, server) = found
    reader = decode("http2", [*conversation.pieces, (0, None), (1, None)])
    sent = conversation.requests, conversation.responses
    methods = [request.method or b"" for request in conversation.requests]
    for direction, expected in enumerate(sent):
        ours = reader.reading(direction)
        assert ours.error is None
        if direction == 1 or not _resets(conversation):
            assert by_stream(ours.messages) == by_stream(expected)
    for witness in WITNESSES:
        asked = [{}, server] if server else [{}]
        assert_same(witness.requests(flat(conversation, 0), asked), reader.reading(0))
        asked = [{}, client] if client else [{}]
        assert_same(witness.responses(flat(conversation, 1), methods, asked), reader.reading(1))


def _resets(conversation: Conversation) -> bool:
    return any(frame[3:4] == b"\3" for frame in frames(flat(conversation, 0)))


def assert_same(theirs: Reading, ours: Reading) -> None:
    """What both read to the end, each reads the same."""
    assert theirs.error is None
    assert by_stream(theirs.messages) == by_stream(ours.messages)


@BOUNDED
@given(conversations(), st.lists(st.integers(0, 1 << 16), max_size=12))
def test_where_it_was_split_makes_no_difference(
    found: tuple[Conversation, Settings], cuts: list[int]
) -> None:
    pieces = found[0].pieces
    whole = decode("http2", pieces)
    split = Reader("http2")
    for direction, data in pieces:
        edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
        for start, end in pairwise(edges):
            split.feed(direction, data[start:end])
    for direction in (0, 1):
        assert split.reading(direction) == whole.reading(direction)


def test_broken_frames_of_a_client_are_read_as_by_everybody_or_refused() -> None:
    found = []
    for number, conversation in enumerate(samples()):
        acknowledged = sum(frame[3:5] == b"\4\1" for frame in frames(flat(conversation, 0)))
        asked = [{}, {1: 0}][:acknowledged]
        for seed in range(150):
            data = mutated(flat(conversation, 0), random.Random(f"{number} {seed}"))
            ours = read_alone(conversation, data)
            for witness in WITNESSES:
                theirs = witness.requests(data, asked)
                found += differences(data, ours, theirs, witness.name)
    assert found == []


def read_alone(conversation: Conversation, data: bytes) -> Reading:
    """The bytes of a client, once the server's settings came that they may acknowledge."""
    reader = Reader("http2")
    first = frames(data)[:2]
    opening = b"".join(first)
    reader.feed(0, opening)
    for of, piece in conversation.pieces:
        if of == 1:
            reader.feed(1, b"".join(frame for frame in frames(piece) if frame[3:5] == b"\4\0"))
    reader.feed(0, data[len(opening) :])
    return reader.reading(0)


def differences(data: bytes, ours: Reading, theirs: Reading, name: str) -> list[str]:
    """Finished requests that both read, and not the same; all must be the same where neither refuses."""
    mine = {message.stream: plain(message) for message in ours.messages if message.complete}
    other = {message.stream: plain(message) for message in theirs.messages if message.complete}
    if not (ours.error or theirs.error) and set(mine) != set(other):
        return [f"{name} reads the streams {sorted(other)}, ours {sorted(mine)}: {data!r}"]
    return [
        f"stream {stream}: {name} {other[stream]}, ours {mine[stream]}: {data!r}"
        for stream in sorted(mine.keys() & other.keys())
        if mine[stream] != other[stream]
    ]
