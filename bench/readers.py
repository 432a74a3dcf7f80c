"""Who reads HTTP/1 requests in Python: ebpfmesh, and users of httptools and h11 as they would write it who want the same.

Each gives what a program asks of a request: a `Head` or, of ebpfmesh, its `Request`, whose attributes of the same names are
equal. All texts are str. ``all_headers`` also gives every header, names in lower case.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

FIELDS = (
    "stream", "method", "target", "path", "host", "version", "content_length", "upgrade", "content_type", "user_agent",
    "traceparent", "headers",
)  # fmt: skip
"""The attributes that are compared; what the head says of its connection has another form with each."""

_ATTRIBUTES = {
    b"host": "host",
    b"content-length": "content_length",
    b"transfer-encoding": "transfer_encoding",
    b"upgrade": "upgrade",
    b"content-type": "content_type",
    b"user-agent": "user_agent",
    b"traceparent": "traceparent",
    b"authorization": "authorization",
}
_WITH_CONNECTION = _ATTRIBUTES | {b"connection": "connection"}  # the others' parsers read it themselves


class Head(msgspec.Struct):
    """What is wanted of a request: the attributes of `ebpfmesh.l7.http.Request` that are HTTP/1's."""

    stream: int
    method: str
    target: str
    path: str
    version: int
    persists: bool
    host: str | None = None
    content_length: int | None = None
    chunked: bool = False
    upgrade: str | None = None
    content_type: str | None = None
    user_agent: str | None = None
    traceparent: str | None = None
    authorization: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


class Ended(msgspec.Struct):
    """The request is complete."""

    stream: int


def ebpfmesh(*, all_headers: bool = False) -> Callable[[bytes], list[Any]]:
    """A connection of ours; only its requests are given to it, as to the others."""
    from ebpfmesh import l7

    config = l7.Config(one_direction=True, all_headers=all_headers)
    feed, direction = l7.parser("http1").connection(config).feed, l7.REQUEST

    def read(data: bytes) -> list[Any]:
        return feed(direction, data)

    return read


def httptools(*, all_headers: bool = False) -> Callable[[bytes], list[Any]]:
    """A connection read by httptools.HttpRequestParser."""
    return (_EveryHeader() if all_headers else _Fields()).read


class _Fields:
    """Callbacks that collect the wanted fields."""

    def __init__(self) -> None:
        from httptools import HttpRequestParser

        self._parser = HttpRequestParser(self)
        self._events: list[Any] = []
        self._stream = 0
        self._target = b""
        self._found: dict[str, str] = {}

    def read(self, data: bytes) -> list[Any]:
        self._parser.feed_data(data)
        events, self._events = self._events, []
        return events

    def on_message_begin(self) -> None:
        self._stream += 1
        self._target = b""
        self._found = {}

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        attribute = _ATTRIBUTES.get(name.lower())
        if attribute is not None:
            self._found[attribute] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._events.append(self._head(()))

    def on_message_complete(self) -> None:
        self._events.append(Ended(self._stream))

    def _head(self, headers: tuple[tuple[str, str], ...]) -> Head:
        parser, get = self._parser, self._found.get
        target = self._target.decode("latin-1")
        length = get("content_length")
        return Head(
            self._stream,
            parser.get_method().decode("latin-1"),
            target,
            target.partition("?")[0],
            10 if parser.get_http_version() == "1.0" else 11,
            parser.should_keep_alive(),
            get("host"),
            None if length is None else int(length),
            "transfer_encoding" in self._found,
            get("upgrade"),
            get("content_type"),
            get("user_agent"),
            get("traceparent"),
            get("authorization"),
            headers,
        )


class _EveryHeader(_Fields):
    """… and every header beside them."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._headers: list[tuple[str, str]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        lower, text = name.lower(), value.decode("latin-1")
        self._headers.append((lower.decode("latin-1"), text))
        attribute = _ATTRIBUTES.get(lower)
        if attribute is not None:
            self._found[attribute] = text

    def on_headers_complete(self) -> None:
        self._events.append(self._head(tuple(self._headers)))


def h11(connection: Any, data: bytes, *, all_headers: bool = False) -> list[Any]:
    """The first request of a new ``h11.Connection``: the next can only be read when it was answered."""
    connection.receive_data(data)
    request = connection.next_event()
    found: dict[str, str] = {}
    headers = []
    for name, value in request.headers:  # names are in lower case
        text = value.decode("latin-1")
        if all_headers:
            headers.append((name.decode("latin-1"), text))
        attribute = _WITH_CONNECTION.get(name)
        if attribute is not None:
            found[attribute] = text
    get, target = found.get, request.target.decode("latin-1")
    length = get("content_length")
    head = Head(
        1,
        request.method.decode("latin-1"),
        target,
        target.partition("?")[0],
        10 if request.http_version == b"1.0" else 11,
        request.http_version == b"1.1" and "close" not in get("connection", "").lower(),
        get("host"),
        None if length is None else int(length),
        "transfer_encoding" in found,
        get("upgrade"),
        get("content_type"),
        get("user_agent"),
        get("traceparent"),
        get("authorization"),
        tuple(headers),
    )
    connection.next_event()  # EndOfMessage
    return [head, Ended(1)]
