"""DNS over UDP and TCP: the Python face of ``include/ebpfmesh/l7/dns.h``.

    connection = l7.parser("dns").connection()
    for event in connection.feed(l7.REQUEST, datagram):    # one datagram each time
        ...

``stream`` is the id of the message. ``dns`` takes one datagram in each `feed`; one that is wrong ends the connection, so
make one for each question where that matters. ``dns-tcp`` takes a stream.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import ClassVar

from ebpfmesh.l7.contract import REQUEST, RESPONSE
from ebpfmesh.l7.events import End, Event
from ebpfmesh.l7.parser import CoreParser
from ebpfmesh.l7.plan import Kind, Number, Text
from ebpfmesh.l7.vectors import Vector

__all__ = ["Code", "Dns", "DnsTcp", "Query", "Response"]


class Code(IntEnum):
    """What breaks the protocol."""

    SHORT = 16
    """The message ends inside of its header, a question or a record."""
    TRAILING = 17
    """Bytes behind the last record; leniency ``trailing``."""
    BAD_LABEL = 18
    """A label of a type that there is not (RFC 6891 section 5)."""
    BAD_POINTER = 19
    """A compression pointer that does not point to an earlier name (RFC 1035 section 4.1.4)."""
    NAME_TOO_LONG = 20
    """More than 255 bytes (RFC 1035 section 2.3.4)."""


class _Message(Event, frozen=True):
    stream: int
    """The id."""
    length: int
    flags: int
    """The second 16 bits of the header, opcode and rcode among them."""
    rcode: int = 0
    """With the upper bits of the OPT record."""
    name: str | None = None
    """Of the first question: lower case, "." for the root; ``\\.`` and ``\\DDD`` as in RFC 1035 section 5.1."""
    type: int | None = None
    """Of the first question, as is `class_`."""
    class_: int | None = None
    questions: int = 0
    answers: int = 0
    authorities: int = 0
    additionals: int = 0
    edns_size: int | None = None
    """What the sender takes by UDP; None without an OPT record (RFC 6891)."""
    edns_flags: int | None = None
    """Version << 16 | flags of the OPT record."""
    truncated: tuple[str, ...] = ()

    @property
    def opcode(self) -> int:
        """0 is a query, 4 NOTIFY, 5 UPDATE."""
        return self.flags >> 11 & 15


class Query(_Message, frozen=True):
    """A message with QR = 0."""


class Response(_Message, frozen=True):
    """A message with QR = 1."""


_FIELDS = (
    Text(0, "name"),
    Number(1, "type"),
    Number(2, "class_"),
    Number(3, "rcode"),
    Number(4, "flags"),
    Number(5, "questions"),
    Number(6, "answers"),
    Number(7, "authorities"),
    Number(8, "additionals"),
    Number(9, "length"),
    Number(10, "edns_size"),
    Number(11, "edns_flags"),
)

_QUERY = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03WwW\x07example\x03org\x00\x00\x01\x00\x01"
_EDNS = b"\x12\x35\x01\x20\x00\x01\x00\x00\x00\x00\x00\x01\x00\x00\x02\x00\x01\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x00"
_ANSWER = (
    b"\x12\x34\x81\x83\x00\x01\x00\x02\x00\x00\x00\x00\x03www\x07example\x03org\x00\x00\x01\x00\x01"
    b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x0e\x10\x00\x04\x01a\xc0\x10\xc0\x2d\x00\x01\x00\x01\x00\x00\x0e\x10\x00\x04\x7f\x00\x00\x01"
)
_ODD = b"\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x05a.B\\\x07\x00\x00\x10\x00\x03"
_HEAD = b"\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00"


def _told(event: Query | Response) -> list[Event]:
    return [event, End(event.direction, event.position, event.stream)]


def _framed(prefix: int, message: bytes) -> bytes:
    return (struct.pack(">H", len(message)) if prefix else b"") + message


def _vectors(prefix: int) -> tuple[Vector, ...]:
    """The same messages for both transports: with ``prefix`` bytes of length, 2 or 0, in front of each."""

    def end(*messages: bytes) -> int:
        return sum(prefix + len(message) for message in messages)

    www = {"name": "www.example.org", "type": 1, "class_": 1, "questions": 1}
    query = Query(REQUEST, end(_QUERY), 0x1234, 33, 0x0100, **www)  # type: ignore[arg-type]
    edns = Query(
        REQUEST, end(_QUERY, _EDNS), 0x1235, 28, 0x0120, 0, ".", 2, 1,
        questions=1, additionals=1, edns_size=1232, edns_flags=0x8000,
    )  # fmt: skip
    answer = Response(
        RESPONSE,
        end(_ANSWER),
        0x1234,
        65,
        0x8183,
        3,
        answers=2,
        **www,  # type: ignore[arg-type]
    )
    odd = Query(REQUEST, end(_ODD), 1, 23, 0, 0, "a\\.b\\\\\\007", 16, 3, questions=1)
    return (
        Vector(
            "a query, one with EDNS, and an answer",
            [
                (REQUEST, _framed(prefix, _QUERY)),
                (REQUEST, _framed(prefix, _EDNS)),
                (RESPONSE, _framed(prefix, _ANSWER)),
            ],
            [*_told(query), *_told(edns), *_told(answer)],
        ),
        Vector("characters that need an escape", [(REQUEST, _framed(prefix, _ODD))], _told(odd)),
    )


def _wrong(prefix: int) -> tuple[Vector, ...]:
    """Messages that break the protocol, and where."""
    long = _HEAD + b"\x3f" * 64 * 4
    return (
        Vector(
            "a message of 11 bytes", [(REQUEST, _framed(prefix, _QUERY[:11]))], error=(Code.SHORT, prefix + 8)
        ),
        Vector(
            "a question without class",
            [(REQUEST, _framed(prefix, _QUERY[:-2]))],
            error=(Code.SHORT, prefix + 29),
        ),
        Vector(
            "bytes behind the last record",
            [(REQUEST, _framed(prefix, _QUERY + b"\0"))],
            error=(Code.TRAILING, prefix + 33),
        ),
        Vector(
            "a label of type 01",
            [(REQUEST, _framed(prefix, _HEAD + b"\x41a\0\0\1\0\1"))],
            error=(Code.BAD_LABEL, prefix + 13),
        ),
        Vector(
            "a name that points to itself",
            [(REQUEST, _framed(prefix, _HEAD + b"\xc0\x0c\0\1\0\1"))],
            error=(Code.BAD_POINTER, prefix + 14),
        ),
        Vector(
            "a name of 257 bytes",
            [(REQUEST, _framed(prefix, long + b"\0\0\1\0\1"))],
            error=(Code.NAME_TOO_LONG, prefix + 205),
        ),
    )


class _Messages(CoreParser):
    ports = (53,)
    ahead = 65536
    codes = Code
    leniencies: ClassVar = {"trailing": 1}
    kinds: ClassVar = {1: Kind(Query, _FIELDS), 2: Kind(Response, _FIELDS)}


class Dns(_Messages):
    """DNS over UDP: each `feed` is a datagram."""

    name = "dns"
    transports = ("udp",)
    vectors = (*_vectors(0), *_wrong(0))


class DnsTcp(_Messages):
    """DNS over TCP: messages with their length in front (RFC 7766)."""

    name = "dns-tcp"
    core_name = "dns_tcp"
    vectors = (*_vectors(2), *_wrong(2))
