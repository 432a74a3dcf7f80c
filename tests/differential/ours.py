"""Our own parsers, in the form of the witnesses: on the native core, or on the core that is loaded into the kernel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from differential.messages import Headers, Message, Reading
from ebpfmesh import l7
from ebpfmesh.l7 import http

Pieces = Iterable[tuple[int, bytes | None]]
EVERYTHING = l7.Config(all_headers=True, text_limit=65536)


class Reader:
    """One connection of a protocol of HTTP, and what was read on it; ``engine`` is another than the native library."""

    def __init__(self, protocol: str, config: l7.Config = EVERYTHING, engine: Any = None) -> None:
        self.engine = engine
        self.connection = l7.parser(protocol).connection(config, engine=engine)
        self.events: list[l7.Event] = []
        self._messages: tuple[dict[Any, Message], dict[Any, Message]] = ({}, {})
        self._errors: list[str | None] = [None, None]
        self._switched = [False, False]
        self._closed = [False, False]

    def feed(self, direction: int, data: bytes | None) -> None:
        """The next bytes of a direction; None is its end."""
        if self._errors[direction]:
            return
        try:
            told = self.connection.end(direction) if data is None else self.connection.feed(direction, data)
        except l7.ParseError as error:
            for event in error.events:
                self._add(direction, event)
            if error.reason != "incomplete":  # the input may end inside a message: that refuses nothing of it
                self._errors[direction] = error.reason
            self._closed[direction] = error.reason == "data_after_close"
            return
        for event in told:
            self._add(direction, event)

    def reading(self, direction: int) -> Reading:
        """What was read in a direction so far."""
        return Reading(
            tuple(self._messages[direction].values()),
            error=self._errors[direction],
            switched=self._switched[direction],
            closed=self._closed[direction],
        )

    def _add(self, direction: int, event: l7.Event) -> None:
        self.events.append(event)
        messages = self._messages[direction]
        match event:
            case http.Request():
                messages[event.stream] = _head(event)._replace(
                    method=event.method.encode("latin-1"),
                    target=(event.target or "").encode("latin-1"),
                    version=event.version,
                )
            case http.Interim():
                head = _head(event)._replace(status=event.status, version=event.version, complete=True)
                messages[event.stream, len(messages)] = head
            case http.Response():
                messages[event.stream] = _head(event)._replace(status=event.status, version=event.version)
            case http.Trailers():
                messages[event.stream] = messages[event.stream]._replace(trailers=_headers(event.headers))
            case l7.Data() if event.stream in messages and not self._switched[direction]:
                message = messages[event.stream]
                messages[event.stream] = message._replace(body=message.body + event.data)
            case l7.End() if event.stream in messages:
                messages[event.stream] = messages[event.stream]._replace(complete=True)
            case l7.Tunnel():
                self._switched[direction] = True
            case l7.Undecodable():
                self._errors[direction] = event.reason


def _head(event: http.Message) -> Message:
    return Message(headers=_headers(event.headers), stream=event.stream)


def _headers(headers: Sequence[tuple[str, str]]) -> Headers:
    return tuple(
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in headers
        if not name.startswith(":")
    )


def decode(protocol: str, pieces: Pieces, config: l7.Config = EVERYTHING, engine: Any = None) -> Reader:
    """A connection that was given all of these pieces, in order."""
    reader = Reader(protocol, config, engine)
    for direction, data in pieces:
        reader.feed(direction, data)
    return reader


class Ours:
    """Our parser of HTTP/1 as a witness."""

    name = "ours"

    def __init__(self, engine: Any = None, config: l7.Config = EVERYTHING) -> None:
        self.engine, self.config = engine, config

    def requests(self, data: bytes) -> Reading:
        """Reads the bytes of a client; the stream ends after them."""
        return decode("http1", [(0, data), (0, None)], self.config, self.engine).reading(0)

    def responses(self, data: bytes, methods: list[bytes]) -> Reading:
        """Reads the bytes of a server that answers requests with these methods."""
        asked = b"".join(
            b"%s %s HTTP/1.1\r\nHost: x\r\n\r\n" % (m, b"a:1" if m == b"CONNECT" else b"/") for m in methods
        )
        return decode("http1", [(0, asked), (1, data), (1, None)], self.config, self.engine).reading(1)
