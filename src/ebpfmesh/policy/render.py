"""Replies and static headers as the bytes that the kernel sends: HTTP/1, HPACK and gRPC (reply/reply.h).

The kernel copies these texts and writes into them only the seconds of Retry-After. So whatever would make a reply another
than was meant (a line end in a value, a name that is no token, a header that is the mesh's) is refused here.

Date is left out, which RFC 9110 section 6.6.1 asks of a server with a clock: a program has no calendar, and a date that the
agent wrote would be a wrong one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from struct import Struct
from typing import NamedTuple
from urllib.parse import quote

from ebpfmesh.errors import ConfigError
from ebpfmesh.policy import hpack
from ebpfmesh.policy.reply import Reply

REPLY = Struct("=HHHH1024s")
"""``struct l7_reply``: status, length, head, retry, text."""
INSERT = Struct("=HHI504s")
"""``struct l7_insert``: length of the lines, of the block behind them, spare, text."""
REPLY_TEXT, INSERT_TEXT = 1024, 504
RETRY_DIGITS = 10

STANDARD = (400, 403, 404, 429, 503)
"""Statuses whose `ebpfmesh.policy.reply.standard` replies are always there."""

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 section 5.6.2
_VALUE = re.compile(r"[\x21-\x7e]([\t\x20-\x7e]*[\x21-\x7e])?")  # … section 5.5, without obs-text
_OF_THE_CONNECTION = {
    "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
}  # fmt: skip
_NOT_IN_REPLIES = _OF_THE_CONNECTION | {"content-length", "retry-after"}
_NOT_IN_REQUESTS = _OF_THE_CONNECTION | {"content-length", "expect", "host", "traceparent"}
_WITHOUT_CONTENT = {204, 205, 304}
_WITHOUT_LENGTH = {204, 304}
_RETRY_PLACE = "1".rjust(RETRY_DIGITS)
_RETRY_PLACE_HTTP2 = "1".rjust(
    RETRY_DIGITS, "0"
)  # a value must not begin with a space: RFC 9113 section 8.2.1

_GRPC_STATUS = {400: 13, 401: 16, 403: 7, 404: 12, 429: 8, 502: 14, 503: 14, 504: 14}
_UNKNOWN = 2
_MESSAGE_UNESCAPED = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


class Variant(NamedTuple):
    """``text`` as it is sent; ``head`` bytes of it are not body; Retry-After's digits begin at ``retry``, 0: nowhere."""

    text: bytes
    head: int
    retry: int = 0


class Rendered(NamedTuple):
    """A reply in every form that it is sent in."""

    status: int
    open: Variant
    """HTTP/1, and the connection stays."""
    closes: Variant
    """HTTP/1 with ``Connection: close``."""
    http2: Variant
    """A header block. No body goes over HTTP/2: the server would not know how much of the connection's window it took."""
    grpc: Variant
    """The header block of a trailers-only response."""

    @property
    def rows(self) -> tuple[bytes, bytes, bytes, bytes]:
        """The four elements of ``l7_replies``, in the order of ``enum l7_reply_variant``."""
        a, b, c, d = (
            REPLY.pack(self.status, len(one.text), one.head, one.retry, one.text) for one in self[1:]
        )
        return a, b, c, d


def render(reply: Reply, *, retries: bool = False, where: str = "$") -> Rendered:
    """``reply`` in every form; with ``retries`` it says when to come again, as the reply of a limit does.

    Errors: ConfigError below ``where`` for a header or location that is none, and for what does not fit 1024 bytes.
    Source: RFC 9112 section 4, RFC 9113 section 8.3.2, RFC 7541 section 6, gRPC's PROTOCOL-HTTP2.md (trailers-only).
    """
    fields = list(_fields(reply, where))
    body = b"" if reply.status in _WITHOUT_CONTENT else reply.body.encode()
    sized = [] if reply.status in _WITHOUT_LENGTH else [("Content-Length", str(len(body)))]
    typed = [("Content-Type", _content_type(reply, where))] if body else []
    head = [*typed, *fields, *sized]
    empty = [("Content-Length", "0")] if sized else []
    rendered = Rendered(
        reply.status,
        _http1(reply.status, head, body, retries=retries),
        _http1(reply.status, [*head, ("Connection", "close")], body, retries=retries),
        _http2(reply.status, [*fields, *empty], retries=retries),
        _grpc(reply, fields),
    )
    for variant in rendered[1:]:
        if len(variant.text) > REPLY_TEXT:
            raise ConfigError(
                f"the reply takes {len(variant.text)} bytes with its head",
                where=where,
                remedy=f"the kernel holds {REPLY_TEXT}: shorten the body or the headers",
            )
    return rendered


def insert(headers: Mapping[str, str], *, where: str = "$") -> bytes:
    """The element of ``l7_inserts`` for headers that every request is given: lines, and behind them an HPACK block.

    Errors: ConfigError below ``where``, for headers that are none or the connection's own, and beyond 504 bytes.
    """
    fields = list(_checked(headers, _NOT_IN_REQUESTS, where))
    lines = _lines(fields)
    block = b"".join(hpack.literal(name.lower(), value) for name, value in fields)
    if len(lines) + len(block) > INSERT_TEXT:
        raise ConfigError(
            f"these headers take {len(lines) + len(block)} bytes, as lines and as an HPACK block",
            where=where,
            remedy=f"the kernel holds {INSERT_TEXT}: set fewer or shorter ones",
        )
    return INSERT.pack(len(lines), len(block), 0, lines + block)


def grpc_status(status: int) -> int:
    """The gRPC status of an HTTP status, as gRPC maps them (http-grpc-status-mapping.md); 429 is RESOURCE_EXHAUSTED."""
    return _GRPC_STATUS.get(status, _UNKNOWN)


# --- the forms --------------------------------------------------------------------------------------------------------


def _http1(status: int, fields: list[tuple[str, str]], body: bytes, *, retries: bool) -> Variant:
    start = f"HTTP/1.1 {status} {_phrase(status)}\r\n".encode()
    retry = b""
    if retries:
        retry = _lines([("Retry-After", _RETRY_PLACE)])
    head = start + retry + _lines(fields) + b"\r\n"
    return Variant(head + body, len(head), len(start) + len(retry) - 2 - RETRY_DIGITS if retries else 0)


def _http2(status: int, fields: list[tuple[str, str]], *, retries: bool) -> Variant:
    block, retry = hpack.status(status), 0
    if retries:
        block += hpack.literal("retry-after", _RETRY_PLACE_HTTP2)
        retry = len(block) - RETRY_DIGITS
    block += b"".join(hpack.literal(name.lower(), value) for name, value in fields)
    return Variant(block, len(block), retry)


def _grpc(reply: Reply, fields: list[tuple[str, str]]) -> Variant:
    message = reply.body.strip() or _phrase(reply.status)
    told = [
        ("content-type", "application/grpc"),
        ("grpc-status", str(grpc_status(reply.status))),
        # percent-encoded: all but the visible ASCII characters, and "%"
        *([("grpc-message", quote(message, safe=_MESSAGE_UNESCAPED))] if message else []),
        *(
            (name.lower(), value)
            for name, value in fields
            if name.lower() not in ("content-type", "location")
        ),
    ]
    block = hpack.status(200) + b"".join(hpack.literal(name, value) for name, value in told)
    return Variant(block, len(block))


def _lines(fields: list[tuple[str, str]]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in fields).encode("ascii")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:  # no registered one: the reason may be empty (RFC 9112 section 4)
        return ""


# --- what is taken ----------------------------------------------------------------------------------------------------


def _fields(reply: Reply, where: str) -> Iterator[tuple[str, str]]:
    """The reply's own headers, and Location."""
    names = set(_NOT_IN_REPLIES)
    if reply.body:
        names.add("content-type")
    if reply.location is not None:
        names.add("location")
        _check_value(reply.location, f"{where}.location", spaces=False)
        yield "Location", reply.location
    yield from _checked(reply.headers, names, f"{where}.headers")


def _content_type(reply: Reply, where: str) -> str:
    _check_value(reply.content_type, f"{where}.content_type")
    return reply.content_type


def _checked(headers: Mapping[str, str], refused: set[str], where: str) -> Iterator[tuple[str, str]]:
    for name, value in headers.items():
        place = f"{where}.{name}" if _TOKEN.fullmatch(name) else f"{where}[{name!r}]"
        if not _TOKEN.fullmatch(name):
            raise ConfigError("it is no name of a header", where=place, remedy='letters, digits and "-"')
        if name.lower() in refused:
            raise ConfigError("this header is the mesh's own to set, or the connection's", where=place)
        _check_value(value, place)
        yield name, value


def _check_value(value: str, where: str, *, spaces: bool = True) -> None:
    """Visible ASCII characters, and between them spaces and tabs: no line end that would begin another header."""
    if not _VALUE.fullmatch(value) or (not spaces and re.search(r"[\t ]", value)):
        allowed = "visible ASCII characters" + (", and spaces between them" if spaces else ", no space")
        raise ConfigError(f"{value!r} is no value of a header", where=where, remedy=allowed)
