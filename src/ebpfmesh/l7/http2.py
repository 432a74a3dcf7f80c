"""HTTP/2 (RFC 9113) with HPACK (RFC 7541): the Python face of ``include/ebpfmesh/l7/http2.h``.

    connection = l7.parser("http2").connection()
    for event in connection.feed(l7.REQUEST, received):
        ...

A request and its response have the same ``stream``. A connection must be seen from its first byte, in both directions and
in the order in which the bytes were sent: by prior knowledge, behind an end of TLS, or (leniency ``upgraded``) behind
``Upgrade: h2c`` of HTTP/1, where the first request was HTTP/1's and stream 1 carries its response.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ebpfmesh.l7.contract import REQUEST, RESPONSE, Config, Direction
from ebpfmesh.l7.contract import Code as Shared
from ebpfmesh.l7.events import Event, builtins
from ebpfmesh.l7.http import (
    HTTP2_ATTRIBUTES,
    INTERIM_FIELDS,
    REQUEST_FIELDS,
    RESPONSE_FIELDS,
    TRAILER_FIELDS,
    Interim,
    Request,
    Response,
    Trailers,
    refuse_told,
)
from ebpfmesh.l7.http2_order import FrameOrder
from ebpfmesh.l7.parser import CoreParser
from ebpfmesh.l7.plan import Kind, Number

if TYPE_CHECKING:
    from ebpfmesh.l7.vectors import Vector

__all__ = [
    "Code",
    "ErrorCode",
    "Flood",
    "FrameType",
    "GoAway",
    "Http2",
    "Interim",
    "Push",
    "Request",
    "Reset",
    "Response",
    "Settings",
    "Trailers",
]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
STREAMS = 128
"""How many a connection may have open at a time before it is undecodable; ``Config.stream_limit`` can make it fewer."""


class Code(IntEnum):
    """What breaks the protocol; section numbers are RFC 9113's.

    What the RFC calls an error of one stream is one of the connection here, since bytes that two peers read differently
    are what smuggling is made of. What HPACK finds (its codes are those of ``l7/hpack/table.h``) ends the connection, too.
    """

    FIRST_FRAME = 16
    """The client's first frame after the preface is not SETTINGS (3.4)."""
    FRAME_SIZE = 17
    """A length that the type does not allow, or above SETTINGS_MAX_FRAME_SIZE (4.2)."""
    STREAM_ID = 18
    """A frame on stream 0 that needs a stream or the reverse; an id of the wrong side (5.1.1)."""
    STREAM_STATE = 19
    """A frame that the state of its stream does not allow (5.1)."""
    PADDING = 20
    """As long as the payload, or longer (6.1, 6.2, 6.6)."""
    CONTINUATION_EXPECTED = 21
    """Another frame inside a header block (4.3)."""
    CONTINUATION_UNEXPECTED = 22
    """CONTINUATION outside of a header block (6.10)."""
    SETTING = 23
    """A value out of its range (6.5.2)."""
    WINDOW_INCREMENT = 24
    """Of 0 (6.9)."""
    PUSH = 25
    """PUSH_PROMISE by a client, against SETTINGS_ENABLE_PUSH = 0, or of neither GET nor HEAD (6.6, 8.4)."""
    GOAWAY = 26
    """Its last stream is higher than in the one before (6.8)."""
    FIELD_NAME = 27
    """Upper case, or no token (8.2.1)."""
    FIELD_VALUE = 28
    """A control character, or white space at an end (8.2.1); likewise in a pseudo-header."""
    CONNECTION_HEADER = 29
    """Connection and what belongs to it; TE with anything but "trailers" (8.2.2)."""
    PSEUDO_UNKNOWN = 30
    """Or one of the other direction, or in trailers (8.3)."""
    PSEUDO_ORDER = 31
    """Behind a regular header (8.3)."""
    PSEUDO_REPEATED = 32
    PSEUDO_MISSING = 33
    """Or one that CONNECT must not have; neither :authority nor host (8.3.1, 8.3.2, 8.5)."""
    PATH = 34
    """Empty, or begins with neither "/" nor is "*" of OPTIONS (8.3.1)."""
    AUTHORITY = 35
    """Differs from host, has user information, or host comes twice (8.3.1)."""
    STATUS_CODE = 36
    """Not three digits; 101; an interim response that ends its stream (8.1, 8.6)."""
    CONTENT_LENGTH_FORM = 37
    """No number, or more than one (RFC 9110 section 8.6)."""
    CONTENT_LENGTH = 38
    """Is not the sum of the DATA frames; DATA where there can be none (8.1.1)."""
    TRAILERS = 39
    """A second head that does not end its stream (8.1)."""
    GRPC_FLAG = 40
    """A gRPC message whose compressed flag is neither 0 nor 1."""
    GRPC_CUT = 41
    """A stream that ends inside a gRPC message."""
    HPACK_CUT = 80
    """The block ends inside a representation."""
    HPACK_INTEGER = 81
    """An integer exceeds 32 bits, or is coded in too many octets."""
    HPACK_INDEX = 82
    """Index 0, or behind the end of the dynamic table."""
    HPACK_PADDING = 83
    """A Huffman string ends wrongly."""
    HPACK_EOS = 84
    """A Huffman string contains EOS."""
    HPACK_SIZE = 85
    """A table size update exceeds what SETTINGS allow."""
    HPACK_LATE_SIZE = 86
    """A table size update behind the first field."""
    HPACK_NO_SIZE = 87
    """SETTINGS made the table smaller, and the block does not begin with the update that must follow."""
    HPACK_FORGOTTEN = 88
    """Undecodable: an entry that ``Config.table_limit`` had no room for."""
    HPACK_LONG_FIELD = 89
    """Undecodable: a header exceeds the room in ``Config.text_limit``."""
    HPACK_LONG_LIST = 90
    """Undecodable: the headers exceed ``Config.head_limit``, counted with 32 bytes more for each."""


class ErrorCode(IntEnum):
    """Why a peer resets a stream, or goes away (RFC 9113 section 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class FrameType(IntEnum):
    """RFC 9113 section 6."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Settings(Event, frozen=True):
    """SETTINGS: of the values that it has, the last of each (RFC 9113 section 6.5); or that the peer's are taken."""

    ack: bool = False
    table_size: int | None = None
    enable_push: bool | None = None
    max_streams: int | None = None
    initial_window: int | None = None
    max_frame: int | None = None
    max_list: int | None = None
    extended_connect: bool | None = None
    """The server takes CONNECT with :protocol (RFC 8441)."""
    no_priorities: bool | None = None
    """RFC 9218 section 2.1."""


class Reset(Event, frozen=True):
    """RST_STREAM: a stream is given up. Both of its messages end here, if they have not ended before."""

    stream: int
    code: int
    """An `ErrorCode`, where it is known."""


class GoAway(Event, frozen=True):
    """GOAWAY: its sender takes no streams of the peer beyond ``last_stream``."""

    last_stream: int
    code: int
    """An `ErrorCode`, where it is known."""


class Push(Request, frozen=True):
    """PUSH_PROMISE: the server says to what request, which was not made, it will send a response on stream ``promised``."""

    promised: int = 0


class Flood(Event, frozen=True):
    """Frames of one kind, more than a peer needs. They are counted among its other frames, since bytes have no time.

    DATA, HEADERS and CONTINUATION without payload, RST_STREAM ("rapid reset"), SETTINGS, PRIORITY, CONTINUATION in one
    block, PING that are not answered.
    """

    stream: int
    frame: int
    """A `FrameType`."""
    count: int


SETTINGS_FIELDS = (
    Number(0, "ack", bool),
    Number(1, "table_size"),
    Number(2, "enable_push", bool),
    Number(3, "max_streams"),
    Number(4, "initial_window"),
    Number(5, "max_frame"),
    Number(6, "max_list"),
    Number(8, "extended_connect", bool),
    Number(9, "no_priorities", bool),
)

KINDS = {
    1: Kind(Request, REQUEST_FIELDS, registered=20, headers_behind=()),
    2: Kind(Response, RESPONSE_FIELDS, registered=20, headers_behind=()),
    3: Kind(Interim, INTERIM_FIELDS, registered=20, headers_behind=()),
    4: Kind(Trailers, TRAILER_FIELDS, registered=20, headers_behind=()),
    6: Kind(Reset, (Number(0, "code", ErrorCode),)),
    7: Kind(GoAway, (Number(0, "code", ErrorCode), Number(1, "last_stream"))),
    8: Kind(Settings, SETTINGS_FIELDS),
    9: Kind(Push, (*REQUEST_FIELDS, Number(28, "promised")), registered=20, headers_behind=()),
    10: Kind(Flood, (Number(3, "frame", FrameType), Number(4, "count"))),
}
"""What records of the cores ``http2`` and ``grpc`` become."""


class Http2(CoreParser):
    """HTTP/2 from the client's preface on."""

    name = core_name = "http2"
    ports = (80, 8080)
    prefix = len(PREFACE)
    codes = Code
    leniencies = {"upgraded": 1}  # noqa: RUF012
    kinds = KINDS

    def resolved(self, config: Config | None) -> Config:
        """As every parser's; ConfigError also for a registered name that has an attribute of its own, or none at all."""
        refuse_told(self.name, config, HTTP2_ATTRIBUTES)
        return super().resolved(config)

    def order(self, config: Config) -> FrameOrder:
        """By streams and acknowledgements: many requests at a time may be unanswered, in any order."""
        return FrameOrder(upgraded="upgraded" in config.leniencies)

    @property
    def vectors(self) -> Sequence[Vector]:  # type: ignore[override]
        """Inputs and what they tell; read from ``http2_vectors.json`` where they are run."""
        return read_vectors("http2")


_SETTINGS, _ACK = b"\0\0\0\4\0\0\0\0\0", b"\0\0\0\4\1\0\0\0\0"
_BEGIN = ((REQUEST, PREFACE + _SETTINGS), (RESPONSE, _SETTINGS + _ACK), (REQUEST, _ACK))
_BEGUN = (
    Settings(REQUEST, 33),
    Settings(RESPONSE, 9),
    Settings(RESPONSE, 18, ack=True),
    Settings(REQUEST, 42, ack=True),
)


@cache
def read_vectors(protocol: str) -> tuple[Vector, ...]:
    """Those of ``PROTOCOL_vectors.json``.

    Bytes are in hexadecimal; ``begun`` says that a connection's beginning comes before, which tells four `Settings`.
    """
    from ebpfmesh.l7.vectors import Vector

    text = Path(__file__).with_name(f"{protocol}_vectors.json").read_bytes()
    reasons = {code.name.lower(): int(code) for code in (*Shared, *Code)}
    found = []
    for entry in msgspec.json.decode(text):
        config = entry.get("config", {})
        if "key" in config:
            config["key"] = bytes.fromhex(config["key"])
        reason, position = entry.get("error", (None, 0))
        inputs = [(Direction[name.upper()], bytes.fromhex(data)) for name, data in entry["inputs"]]
        expect = [_expected(event) for event in entry.get("expect", ())]
        begun = entry.get("begun", False)
        found.append(
            Vector(
                entry["name"],
                [*(_BEGIN if begun else ()), *inputs],
                [*(builtins(event) for event in _BEGUN if begun), *expect],
                None if reason is None else (reasons[reason], position),
                msgspec.convert(config, Config),
            )
        )
    return tuple(found)


def _expected(event: dict[str, Any]) -> dict[str, Any]:
    """An event of the file as `events.builtins` has it: JSON has neither bytes nor tuples."""
    if "data" in event:
        event["data"] = bytes.fromhex(event["data"])
    for name in ("headers", "repeated", "truncated"):
        if name in event:
            event[name] = tuple(tuple(one) if isinstance(one, list) else one for one in event[name])
    return event
