"""gRPC over HTTP/2: the Python face of ``include/ebpfmesh/l7/grpc.h``.

A call is a stream: `Call`, the client's messages, the server's head (`Response`), its messages, `Status`. What else comes
on the same connection is told as in HTTP/2. Source: gRPC's PROTOCOL-HTTP2.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING
from urllib.parse import unquote

from ebpfmesh.l7 import http2
from ebpfmesh.l7.contract import Config, RawEvent
from ebpfmesh.l7.events import Event
from ebpfmesh.l7.http import HTTP2_ATTRIBUTES, Header, Request, Response, Trailers, refuse_told
from ebpfmesh.l7.http2_order import FrameOrder
from ebpfmesh.l7.parser import CoreParser
from ebpfmesh.l7.plan import Kind, Number, Plans

if TYPE_CHECKING:
    from ebpfmesh.l7.vectors import Vector

FOREVER = (1 << 64) - 1
"""A timeout that is longer than 64 bits of nanoseconds: some 584 years."""

_REQUEST, _RESPONSE, _TRAILERS, _MESSAGE = 1, 2, 4, 16


class StatusCode(IntEnum):
    """How a call ended (grpc-status)."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class Call(Event, frozen=True):
    """A call begins: the head of a request with a content-type of gRPC."""

    stream: int
    path: str = ""
    service: str = ""
    """What stands before the last "/" of the path, as ``package.Service``."""
    method: str = ""
    """What stands behind it."""
    host: str | None = None
    timeout: int | None = None
    """Nanoseconds until the client gives up; None: it waits; `FOREVER` is the longest."""
    content_type: str = ""
    encoding: str | None = None
    """Of messages whose flag says that they are compressed."""
    user_agent: str | None = None
    traceparent: str | None = None
    authorization: int | None = None
    """The digest of it under ``Config.key``."""
    registered: Mapping[str, str] = {}
    headers: tuple[Header, ...] = ()


class Message(Event, frozen=True):
    """A message begins; its ``length`` bytes come as `Data` of the stream."""

    stream: int
    number: int
    """In its direction of the stream, from 1 on."""
    length: int
    compressed: bool = False


class Status(Event, frozen=True):
    """How the server ended a call. A call may end without: by `Reset`, or because the response is no gRPC."""

    stream: int
    code: int
    """A `StatusCode`, where it is known."""
    message: str = ""
    """Decoded from its percent-encoding; what is no UTF-8 is replaced."""
    trailers_only: bool = False
    """There was no head before: the server answered with nothing but this."""
    registered: Mapping[str, str] = {}
    headers: tuple[Header, ...] = ()


def is_grpc(content_type: str | None) -> bool:
    """Whether a content-type is that of gRPC: ``application/grpc``, with ``+proto``, ``;…`` or nothing behind it."""
    text = (content_type or "").lower()
    return text.startswith("application/grpc") and text[16:17] in ("", "+", ";")


def call(request: Request) -> Call:
    """The call that a request begins."""
    service, _, method = (request.path or "").removeprefix("/").rpartition("/")
    return Call(
        request.direction,
        request.position,
        stream=request.stream,
        path=request.path or "",
        service=service,
        method=method,
        host=request.host,
        timeout=request.grpc_timeout,
        content_type=request.content_type or "",
        encoding=request.grpc_encoding,
        user_agent=request.user_agent,
        traceparent=request.traceparent,
        authorization=request.authorization,
        registered=request.registered,
        headers=request.headers,
    )


def status(head: Response | Trailers) -> Status:
    """How trailers, or a response that has nothing else, end a call."""
    code = head.grpc_status or 0
    return Status(
        head.direction,
        head.position,
        stream=head.stream,
        code=StatusCode(code) if code in StatusCode._value2member_map_ else code,
        message=unquote(head.grpc_message or "", encoding="utf-8", errors="replace"),
        trailers_only=isinstance(head, Response),
        registered=head.registered,
        headers=head.headers,
    )


class Grpc(CoreParser):
    """gRPC, and whatever else comes on its connection."""

    name = core_name = "grpc"
    ports = (50051,)
    prefix = http2.Http2.prefix
    codes = http2.Code
    leniencies = http2.Http2.leniencies
    kinds = {  # noqa: RUF012
        **{kind: made for kind, made in http2.KINDS.items() if kind not in (_REQUEST, _RESPONSE, _TRAILERS)},
        _MESSAGE: Kind(Message, (Number(0, "length"), Number(1, "compressed", bool), Number(2, "number"))),
    }

    def resolved(self, config: Config | None) -> Config:
        """As every parser's; ConfigError also for a registered name that has an attribute of its own, or none at all."""
        refuse_told(self.name, config, HTTP2_ATTRIBUTES)
        return super().resolved(config)

    def __init__(self) -> None:
        self._http = http2.Http2()

    def order(self, config: Config) -> FrameOrder:
        """As in HTTP/2."""
        return self._http.order(config)

    @property
    def vectors(self) -> Sequence[Vector]:  # type: ignore[override]
        """Inputs and what they tell; read from ``grpc_vectors.json`` where they are run."""
        return http2.read_vectors("grpc")

    def event(self, raw: RawEvent, config: Config) -> Event | None:
        """A head or trailers: of a call, or of something else."""
        if raw.kind not in http2.KINDS:
            return super().event(raw, config)
        head = self._plans_of(config).make(raw)
        if isinstance(head, Request) and is_grpc(head.content_type):
            return call(head)
        if isinstance(head, Response | Trailers) and head.grpc_status is not None:
            return status(head)
        return head

    def _plans_of(self, config: Config) -> Plans:
        return self._http.plans(config)
