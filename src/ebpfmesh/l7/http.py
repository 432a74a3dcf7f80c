"""What HTTP/1 and HTTP/2 share: the events of heads and trailers, and which field of a record each attribute is."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, IntFlag

from ebpfmesh.errors import ConfigError
from ebpfmesh.l7.contract import Config
from ebpfmesh.l7.events import Event
from ebpfmesh.l7.plan import Number, Text

Header = tuple[str, str]


class Framing(IntEnum):
    """How the end of an HTTP/1 body is found (RFC 9112 section 6.3)."""

    NO_BODY = 0
    BY_LENGTH = 1
    CHUNKED = 2
    TO_CLOSE = 3


class Options(IntFlag):
    """What an HTTP/1 head says about its connection."""

    CLOSE = 1
    """Connection: close"""
    KEEP_ALIVE = 2
    """Connection: keep-alive"""
    UPGRADE = 4
    """Connection: upgrade, with an Upgrade header"""
    EXPECT = 8
    """Expect: 100-continue"""
    PERSISTS = 16
    """The connection stays open after this message (RFC 9112 section 9.3)."""


class Message(Event, frozen=True):
    """What every head has. Texts are decoded as Latin-1: each byte is the character of its number."""

    stream: int
    """The same for a request and its response: the HTTP/2 stream, the ordinal of an HTTP/1 request."""
    registered: Mapping[str, str] = {}
    """The values of ``Config.names``, as far as they came."""
    headers: tuple[Header, ...] = ()
    """With ``Config.all_headers``: every header, in order; in HTTP/2 with the pseudo-headers."""
    repeated: tuple[str, ...] = ()
    """Attributes whose header came more than once: the first is kept."""
    truncated: tuple[str, ...] = ()
    """Attributes that were cut; if nothing of it had room, the attribute is None."""


class Request(Message, frozen=True):
    """The head of a request."""

    method: str = ""
    target: str | None = None
    """As it was sent."""
    path: str | None = None
    """Of the target, without query; "*" as it is; None for CONNECT."""
    host: str | None = None
    """The authority of the target, else Host."""
    scheme: str | None = None
    version: int = 0
    """10, 11 or 20"""
    content_length: int | None = None
    framing: Framing | None = None
    """HTTP/1 only, as `connection` and `upgrade`."""
    connection: Options | None = None
    upgrade: str | None = None
    content_type: str | None = None
    user_agent: str | None = None
    traceparent: str | None = None
    authorization: int | None = None
    """SipHash-2-4 of the value under ``Config.key``; the value itself is not kept."""
    protocol: str | None = None
    """Of an extended CONNECT (RFC 8441)."""
    grpc_timeout: int | None = None
    grpc_encoding: str | None = None


class Response(Message, frozen=True):
    """The head of a final response."""

    status: int = 0
    version: int = 0
    content_length: int | None = None
    framing: Framing | None = None
    connection: Options | None = None
    upgrade: str | None = None
    content_type: str | None = None
    traceparent: str | None = None
    grpc_status: int | None = None
    grpc_message: str | None = None
    grpc_encoding: str | None = None


class Interim(Message, frozen=True):
    """The head of a 1xx response: the final one is still to come."""

    status: int = 0
    version: int = 0


class Trailers(Message, frozen=True):
    """Headers behind the content; the message ends with them."""

    grpc_status: int | None = None
    grpc_message: str | None = None


REQUEST_FIELDS = (
    Text(0, "method"),
    Text(1, "target"),
    Text(2, "path"),
    Text(3, "host"),
    Text(4, "scheme"),
    Number(5, "version"),
    Number(7, "content_length"),
    Number(8, "framing", Framing),
    Number(9, "connection", Options),
    Text(10, "upgrade"),
    Text(11, "content_type"),
    Text(12, "user_agent"),
    Text(13, "traceparent"),
    Number(14, "authorization"),
    Text(15, "protocol"),
    Number(16, "grpc_timeout"),
    Text(19, "grpc_encoding"),
)
RESPONSE_FIELDS = (
    Number(5, "version"),
    Number(6, "status"),
    Number(7, "content_length"),
    Number(8, "framing", Framing),
    Number(9, "connection", Options),
    Text(10, "upgrade"),
    Text(11, "content_type"),
    Text(13, "traceparent"),
    Number(17, "grpc_status"),
    Text(18, "grpc_message"),
    Text(19, "grpc_encoding"),
)
INTERIM_FIELDS = (Number(5, "version"), Number(6, "status"))
TRAILER_FIELDS = (Number(17, "grpc_status"), Text(18, "grpc_message"))
HEADER_ATTRIBUTES = {
    "authorization": "authorization",
    "connection": "connection",
    "content-length": "content_length",
    "content-type": "content_type",
    "expect": "connection",
    "host": "host",
    "traceparent": "traceparent",
    "transfer-encoding": "framing",
    "upgrade": "upgrade",
    "user-agent": "user_agent",
}
"""Headers whose value is told as an attribute of HTTP/1's events: they cannot be registered too."""


HTTP2_ATTRIBUTES = {
    **{name: HEADER_ATTRIBUTES[name] for name in (
        "authorization", "content-length", "content-type", "host", "traceparent", "user-agent",
    )},
    "grpc-encoding": "grpc_encoding",
    "grpc-message": "grpc_message",
    "grpc-status": "grpc_status",
    "grpc-timeout": "grpc_timeout",
    "expect": "",
    "te": "",
}  # fmt: skip
"""The same of HTTP/2 and gRPC; what is told as no attribute either has an empty one."""


def refuse_told(parser: str, config: Config | None, attributes: Mapping[str, str]) -> None:
    """ConfigError if ``config`` registers a header that is told as one of ``attributes``, by name, or not at all."""
    for name in config.names if config else ():
        if attribute := attributes.get(name):
            raise ConfigError(
                f"the header {name!r} is the attribute {attribute!r} already",
                where=f"parser {parser}",
                remedy="read the attribute, and take the name out of Config.names",
            )
        if attribute is not None:
            raise ConfigError(
                f"the header {name!r} cannot be registered: a rule of the protocol is all that it is read for",
                where=f"parser {parser}",
                remedy="take the name out of Config.names",
            )
