"""Conversations of each protocol, as pieces with a direction: seeds of the fuzzer, and what mutations are made of."""

from __future__ import annotations

from collections.abc import Iterator

import conformance
from differential import smuggling

Pieces = list[tuple[int, bytes]]

RESPONSES = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nto the end",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    b'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: "x"\r\n\r\n',
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05hello",
)


def http1() -> Iterator[Pieces]:
    """Conversations of HTTP/1."""
    request = b"GET /a?b=c HTTP/1.1\r\nHost: example.org\r\nUser-Agent: x\r\nX-Id: 7\r\nAuthorization: Basic eA==\r\n\r\n"
    for response in RESPONSES:
        yield [(0, request), (1, response)]
        yield [(0, request.replace(b"GET", b"HEAD")), (1, response)]
    yield [(0, request * 3), (1, b"".join(RESPONSES[:2]) + RESPONSES[4])]
    yield [
        (0, b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n\x16\x03"),
        (1, b"HTTP/1.1 200 OK\r\n\r\n\x16\x03"),
    ]
    for case in conformance.http1_cases():
        yield [(0, case.input), (1, RESPONSES[0])]
    for payload in smuggling.REQUESTS:
        yield [(0, payload.data)]
    for payload in smuggling.RESPONSES:
        yield [(0, request), (1, payload.data)]


def redis() -> Iterator[Pieces]:
    """Conversations of Redis."""
    yield [
        (0, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nhello\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"),
        (1, b"+OK\r\n$5\r\nhello\r\n"),
    ]
    yield [(0, b"PING\r\nGET k\r\n"), (1, b"+PONG\r\n$-1\r\n")]
    yield [(0, b"*1\r\n$4\r\nEXEC\r\n"), (1, b"*2\r\n:1\r\n*2\r\n$1\r\na\r\n-ERR no\r\n")]
    yield [
        (0, b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n"),
        (1, b"%2\r\n+a\r\n#t\r\n+b\r\n,1.5\r\n~1\r\n_\r\n>2\r\n+m\r\n=5\r\ntxt:a\r\n"),
        (1, b"|1\r\n+k\r\n+v\r\n(123\r\n!3\r\nERR\r\n"),
    ]


def many_commands() -> Iterator[Pieces]:
    """Conversations of Redis, and one that tells more events than the native library gives at a time."""
    yield from redis()
    yield [(0, b"A\r\n" * 2500), (1, b":1\r\n" * 2500)]


def _name(name: str) -> bytes:
    labels = name.encode().split(b".")
    return b"".join(bytes([len(label)]) + label for label in labels if label) + b"\0"


def _dns() -> Iterator[tuple[bytes, bytes]]:
    for kind in (1, 28, 5, 15, 16, 33, 255):
        question = _name("www.example.org") + kind.to_bytes(2) + b"\0\1"
        query = b"\x12\x34\x01\0\0\1\0\0\0\0\0\0" + question
        answer = (
            b"\x12\x34\x81\x80\0\1\0\1\0\0\0\0"
            + question
            + b"\xc0\x0c"
            + kind.to_bytes(2)
            + b"\0\1\0\0\0\x3c\0\4\1\2\3\4"
        )
        yield query, answer
    yield (
        b"\0\1\1\0\0\1\0\0\0\0\0\1" + _name("a.b") + b"\0\1\0\1" + b"\0\0\x29\x10\0\0\0\0\0\0\0",
        b"\0\1\x81\x83\0\0\0\0\0\0\0\0",
    )


def dns() -> Iterator[Pieces]:
    """Conversations of DNS in datagrams: one is one piece."""
    for query, answer in _dns():
        yield [(0, query), (1, answer)]
    yield [part for query, answer in _dns() for part in ((0, query), (1, answer))]


def dns_tcp() -> Iterator[Pieces]:
    """Conversations of DNS over TCP."""
    for conversation in dns():
        yield [(direction, len(data).to_bytes(2) + data) for direction, data in conversation]


def http2() -> Iterator[Pieces]:
    """Conversations of HTTP/2."""
    from differential.http2_conversations import conversations

    yield from conversations()


CONVERSATIONS = {
    "http1": http1,
    "http2": http2,
    "grpc": http2,
    "redis": redis,
    "feed": many_commands,
    "dns": dns,
    "dns_tcp": dns_tcp,
}
