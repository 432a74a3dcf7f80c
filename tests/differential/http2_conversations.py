"""Conversations of HTTP/2 that independent implementations produce: h2 as client and server, its encoder or nghttp2's.

A conversation is what passes on the wire, in order, and what the two sides say that they sent.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import h2.config
import h2.connection
import h2.events
import h2.settings

from differential.http2_frames import mutated
from differential.messages import Headers, Message
from differential.nghttp2 import Deflater

Pieces = list[tuple[int, bytes]]
SettingCodes = h2.settings.SettingCodes


class Exchange(NamedTuple):
    """One request and its response."""

    method: bytes = b"GET"
    path: bytes = b"/"
    headers: Headers = ()
    body: tuple[bytes, ...] = ()  # a DATA frame each
    trailers: Headers = ()
    interim: Headers | None = None  # of a response 103
    status: int = 200
    answer_headers: Headers = ()
    answer: tuple[bytes, ...] = ()
    answer_trailers: Headers = ()
    padding: int = 0
    reset: int | None = (
        None  # the client resets the stream, with this code, instead of waiting for the answer
    )


class Conversation(NamedTuple):
    """Bytes on the wire, in order, with the direction of each piece; and what was sent."""

    pieces: Pieces
    requests: tuple[Message, ...]
    responses: tuple[Message, ...]


class NghttpEncoder:
    """nghttp2's HPACK encoder in the place of hpack's in a connection of h2."""

    def __init__(self) -> None:
        self._deflater = Deflater(65536)
        self._size = 4096
        self._deflater.resize(4096)

    @property
    def header_table_size(self) -> int:
        """The size of the dynamic table."""
        return self._size

    @header_table_size.setter
    def header_table_size(self, size: int) -> None:
        if size != self._size:
            self._size = size
            self._deflater.resize(size)

    def encode(self, headers: Any, huffman: bool = True) -> bytes:
        """A header block."""
        return self._deflater.encode(tuple((_bytes(h[0]), _bytes(h[1])) for h in headers))


def _bytes(text: Any) -> bytes:
    return text.encode() if isinstance(text, str) else bytes(text)


class Talk:
    """A client and a server of h2, whose bytes are recorded."""

    def __init__(
        self, *, nghttp2: bool = False, settings: tuple[dict[int, int], dict[int, int]] = ({}, {})
    ) -> None:
        self.sides = tuple(
            h2.connection.H2Connection(
                h2.config.H2Configuration(
                    client_side=client, header_encoding=None, normalize_inbound_headers=False
                )
            )
            for client in (True, False)
        )
        self.pieces: Pieces = []
        for side, initial in zip(self.sides, settings, strict=True):
            if nghttp2:
                side.encoder = NghttpEncoder()
            side.initiate_connection()
            if initial:
                side.update_settings(initial)
        self.pass_on()

    def pass_on(self) -> None:
        """What each side has to send reaches the other, until nothing is left."""
        moved = True
        while moved:
            moved = False
            for direction, side in enumerate(self.sides):
                if data := side.data_to_send():
                    moved = True
                    self.pieces.append((direction, data))
                    for event in self.sides[1 - direction].receive_data(data):
                        self._read(self.sides[1 - direction], event)

    @staticmethod
    def _read(side: h2.connection.H2Connection, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
            side.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    def send(
        self, direction: int, stream: int, blocks: list[Headers], body: tuple[bytes, ...], padding: int
    ) -> None:
        """Heads (all but the last are interim), DATA frames, and trailers if there are two parts behind the heads."""
        side = self.sides[direction]
        *heads, trailers = blocks
        for head in heads[:-1]:
            side.send_headers(stream, head)
        side.send_headers(stream, heads[-1], end_stream=not body and not trailers)
        for at, data in enumerate(body):
            side.send_data(
                stream, data, end_stream=at == len(body) - 1 and not trailers, pad_length=padding or None
            )
        if trailers:
            side.send_headers(stream, trailers, end_stream=True)


def talk(
    exchanges: list[Exchange],
    *,
    nghttp2: bool = False,
    settings: tuple[dict[int, int], dict[int, int]] = ({}, {}),
    together: int = 1,
) -> Conversation:
    """The exchanges, ``together`` of them at a time on one connection."""
    both = Talk(nghttp2=nghttp2, settings=settings)
    requests, responses = [], []
    for first in range(0, len(exchanges), together):
        group = [(2 * (first + at) + 1, x) for at, x in enumerate(exchanges[first : first + together])]
        for stream, exchange in group:
            head = (
                (b":method", exchange.method),
                (b":scheme", b"http"),
                (b":authority", b"example.org"),
                (b":path", exchange.path),
                *exchange.headers,
            )
            both.send(0, stream, [head, exchange.trailers], exchange.body, exchange.padding)
            sent = Message(
                exchange.method, exchange.path, None, 20, head[2:3] + exchange.headers, complete=True
            )
            body = b"".join(exchange.body)
            requests.append(sent._replace(body=body, trailers=exchange.trailers, stream=stream))
        both.pass_on()
        for stream, exchange in reversed(group):
            if exchange.reset is not None:
                both.sides[0].reset_stream(stream, exchange.reset)
                both.pass_on()
                continue
            responses += _answer(both, stream, exchange)
        both.pass_on()
    return Conversation(both.pieces, tuple(requests), tuple(responses))


def _answer(both: Talk, stream: int, exchange: Exchange) -> list[Message]:
    head = ((b":status", str(exchange.status).encode()), *exchange.answer_headers)
    blocks = [head, exchange.answer_trailers]
    told = []
    if exchange.interim is not None:
        blocks.insert(0, ((b":status", b"103"), *exchange.interim))
        told.append(Message(None, None, 103, 20, exchange.interim, complete=True, stream=stream))
    body = () if exchange.method == b"HEAD" else exchange.answer
    both.send(1, stream, blocks, body, exchange.padding)
    sent = Message(None, None, exchange.status, 20, exchange.answer_headers, b"".join(body), complete=True)
    return [*told, sent._replace(trailers=exchange.answer_trailers, stream=stream)]


def samples() -> list[Conversation]:
    """Conversations that show each part of the protocol once."""
    plain = Exchange(headers=((b"user-agent", b"x"), (b"x-id", b"7")), answer=(b"hello",))
    post = Exchange(
        b"POST", b"/a?b=c", ((b"content-type", b"text/plain"),), (b"abc", b"", b"d" * 300), ((b"x-sum", b"1"),),
        interim=((b"link", b"</x>"),), answer=(b"a", b"b"), answer_trailers=((b"x-sum", b"2"),),
    )  # fmt: skip
    grpc = Exchange(
        b"POST", b"/pkg.Greeter/Hello",
        ((b"te", b"trailers"), (b"content-type", b"application/grpc"), (b"grpc-timeout", b"5S")),
        (b"\0\0\0\0\5hello", b"\0\0\0\0\3a", b"bc"), answer_headers=((b"content-type", b"application/grpc"),),
        answer=(b"\0\0\0\0\2hi",), answer_trailers=((b"grpc-status", b"0"), (b"grpc-message", b"")),
    )  # fmt: skip
    failed = Exchange(
        b"POST", b"/pkg.Greeter/No", ((b"content-type", b"application/grpc"),), (b"\0\0\0\0\0",),
        answer_headers=((b"content-type", b"application/grpc"), (b"grpc-status", b"12"), (b"grpc-message", b"no%20such")),
    )  # fmt: skip
    large = Exchange(
        headers=tuple((b"x-%d" % n, b"%d" % n * 40) for n in range(30)), answer=(b"x" * 16384,) * 2
    )
    small_table = ({SettingCodes.HEADER_TABLE_SIZE: 0}, {SettingCodes.HEADER_TABLE_SIZE: 0})
    return [
        talk([plain] * 3),
        talk([plain, post, Exchange(b"HEAD")], together=3),
        talk([post._replace(padding=9), plain], nghttp2=True),
        talk([grpc, failed, grpc], together=2),
        talk([grpc, grpc, plain], settings=small_table),
        talk([grpc, grpc, plain], nghttp2=True, settings=small_table),
        talk([large, large]),
        talk([plain._replace(reset=8)] * 5),
    ]


def conversations() -> Iterator[Pieces]:
    """The pieces of the samples, and of mutations of them that keep frames whole."""
    for conversation in samples():
        yield conversation.pieces
        yield [
            (direction, mutated(data, random.Random(len(data)))) for direction, data in conversation.pieces
        ]
