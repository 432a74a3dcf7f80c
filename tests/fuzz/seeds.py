"""Seeds for the fuzzer, made anew for each run: they need not be kept, and cover what the tests know already.

A seed is in the form that ``target.h`` reads: 8 bytes of configuration, then pieces with a direction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import conformance
from differential import smuggling

PIECE = 0x1FFF
STRICT = bytes(8)
LENIENT = bytes([0, 1, 0xFF, 0xFF, 0, 0, 0, 2])
EVERYTHING = bytes([1, 3, 0xFF, 0xFF, 0, 0, 7, 1])  # all headers, registered names, every leniency
SMALL = bytes([1, 2, 0, 0, 0x2C, 0x2C, 3, 1])  # small limits
CONFIGURATIONS = (STRICT, LENIENT, EVERYTHING, SMALL)

Pieces = list[tuple[int, bytes]]


def seed(pieces: Pieces, configuration: bytes = STRICT, *, ends: bool = True) -> bytes:
    """Pieces, of a direction each, as an input of the fuzzer; both directions end behind them."""
    found = bytearray(configuration)
    for direction, data in pieces:
        for at in range(0, len(data), PIECE):
            part = data[at : at + PIECE]
            found += (len(part) | direction << 13).to_bytes(2, "little") + part
    if ends:
        found += (0x8000).to_bytes(2, "little") + (0xA000).to_bytes(2, "little")
    return bytes(found)


def write(target: str, directory: Path) -> int:
    """Writes the seeds of a target; the number of them."""
    directory.mkdir(parents=True, exist_ok=True)
    count = 0
    for found in of(target):
        (directory / hashlib.sha256(found).hexdigest()[:16]).write_bytes(found)
        count += 1
    return count


def of(target: str) -> Iterator[bytes]:
    """The seeds of a target."""
    if target == "hpack":
        yield from hpack()
        return
    for pieces in CONVERSATIONS[target]():
        for configuration in CONFIGURATIONS:
            yield seed(pieces, configuration)


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
    "dns": dns,
    "dns_tcp": dns_tcp,
}


def flat(pieces: Iterable[tuple[int, bytes]], direction: int) -> bytes:
    """The bytes of one direction."""
    return b"".join(data for of, data in pieces if of == direction)


def hpack() -> Iterator[bytes]:
    """Stories of HPACK, as ``hpack.c`` reads them: those of the conformance data, and some of nghttp2's encoder."""
    for story in conformance.hpack_stories():
        found = bytearray(b"\x3d")  # a table of 4096, all the text that there is
        for block in story.blocks[:12]:
            if block.table_size is not None:
                found += (0x8000 | block.table_size // 16).to_bytes(2, "little")
            found += len(block.wire).to_bytes(2, "little") + block.wire
        yield bytes(found)
    yield from _encoded()


def _encoded() -> Iterator[bytes]:
    from differential.nghttp2 import Deflater

    head = ((b":method", b"GET"), (b":path", b"/a"), (b"x-id", b"7"), (b"authorization", b"secret"))
    for limits in range(128):
        encoder = Deflater()
        found = bytearray([limits])
        for size in (4096, 0, 4096, 64, 65520):
            encoder.resize(size)
            found += (0x8000 | size // 16).to_bytes(2, "little")
            for n in range(3):
                block = encoder.encode((*head, (b"x-%d" % n, b"v" * (n * 40))))
                found += len(block).to_bytes(2, "little") + block
        yield bytes(found)
