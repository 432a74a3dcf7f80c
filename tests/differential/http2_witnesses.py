"""h2 (hyper) as a witness of HTTP/2, beside nghttp2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from differential.http2_frames import frames
from differential.messages import Headers, Message, Reading
from differential.nghttp2 import with_header

Settings = Sequence[dict[int, int]]


class H2:
    """h2: pure Python, strict about the life of streams.

    ``settings`` are those that the reading side sent, frame by frame: what the bytes acknowledge.
    """

    name = "h2"

    def requests(self, data: bytes, settings: Settings = ({},)) -> Reading:
        """Reads as a server."""
        return _read(_connection(settings, client=False), data)

    def responses(self, data: bytes, methods: list[bytes], settings: Settings = ({},)) -> Reading:
        """Reads as a client that sent these requests, on the streams 1, 3, 5 …"""
        connection = _connection(settings, client=True)
        for at, method in enumerate(methods):
            headers = [(b":method", method), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")]
            connection.send_headers(2 * at + 1, headers, end_stream=True)
        return _read(connection, data)


def _connection(settings: Settings, *, client: bool) -> h2.connection.H2Connection:
    connection = h2.connection.H2Connection(
        h2.config.H2Configuration(client_side=client, header_encoding=None, validate_outbound_headers=False)
    )
    connection.initiate_connection()
    for later in settings[1:]:
        connection.update_settings(later)
    return connection


def _read(connection: h2.connection.H2Connection, data: bytes) -> Reading:
    gathered = Gathered()
    error = None
    try:
        for frame in frames(data):  # by itself: h2 tells nothing of the bytes of a call that fails
            for event in connection.receive_data(frame):
                gathered.add(event)
                if isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                    connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
    except h2.exceptions.ProtocolError as refused:
        error = f"{type(refused).__name__}: {refused}"
    return Reading(tuple(gathered.messages.values()), error=error)


class Gathered:
    """Messages out of the events of h2."""

    def __init__(self) -> None:
        self.messages: dict[tuple[int, int], Message] = {}
        self.resets: dict[int, int] = {}
        self.goaway: int | None = None

    def add(self, event: h2.events.Event) -> None:
        """One more event."""
        match event:
            case h2.events.RequestReceived() | h2.events.ResponseReceived():
                self._begin(event, event.headers)
            case h2.events.InformationalResponseReceived():
                self._begin(event, event.headers)
                self._set(event, complete=True)
            case h2.events.TrailersReceived():
                self._set(event, trailers=headers_of(event.headers))
            case h2.events.DataReceived():
                key = self._key(event)
                self._set(event, body=self.messages[key].body + event.data)
            case h2.events.StreamEnded():
                self._set(event, complete=True)
            case h2.events.StreamReset():
                self.resets[event.stream_id] = int(event.error_code)
            case h2.events.ConnectionTerminated():
                self.goaway = int(event.error_code)

    def _begin(self, event: Any, headers: Any) -> None:
        key = self._key(event)
        message = Message(version=20, stream=event.stream_id)
        for name, value in headers_of(headers):
            message = with_header(message, name, value)
        self.messages[event.stream_id, key[1] + 1 if key in self.messages else 0] = message

    def _key(self, event: Any) -> tuple[int, int]:
        stream = event.stream_id
        return max((key for key in self.messages if key[0] == stream), default=(stream, 0))

    def _set(self, event: Any, **changes: Any) -> None:
        key = self._key(event)
        self.messages[key] = self.messages[key]._replace(**changes)


def headers_of(headers: Any) -> Headers:
    """Headers as plain pairs of bytes."""
    return tuple((bytes(name), bytes(value)) for name, value in headers)
