"""HTTP/2 peers for tests of the L7 tier: a server that keeps what it was asked, a client whose every frame is the test's.

with Http2Site(cgroup, netns, bpffs, tmp_path) as site:
    site.start(site.http2(rules=(Rule("no", action="deny", paths=("/no/**",)),)))
    client = site.client()
    assert client.get("/no/x").status == 403
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from l7_site import ADDRESS, L7Site, LoopbackServer

from ebpfmesh.policy import Rule
from ebpfmesh.policy.model import Backend, Service
from ebpfmesh.testing import NetNs, PrivateCgroup
from slower import SLOWER

Headers = list[tuple[str, str]]
DENY = (Rule("no", action="deny", paths=("/no/**",)),)


class Asked(NamedTuple):
    """What the server was asked on one stream."""

    stream: int
    headers: dict[str, str]
    body: bytes


class Http2Server(LoopbackServer):
    """Answers 200 with the path as the body, or with as many bytes as ``/bytes/N`` says; an error of HPACK or of the
    protocol is kept in ``errors``, and ends the connection."""

    def __init__(self, netns: NetNs, settings: dict[int, int] | None = None) -> None:
        self.asked: list[Asked] = []
        self.errors: list[Exception] = []
        self.resets: list[int] = []
        self.connections = 0
        self.raw = bytearray()  # of all connections, one after the other as it came
        self.segment: int | None = None  # bytes of a write, None: as they come
        self._settings = settings
        super().__init__(netns)

    @property
    def paths(self) -> list[str]:
        return [one.headers[":path"] for one in self.asked]

    def _accepted(self, connection: socket.socket) -> Callable[[], None]:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connections += 1
        return partial(self._serve, connection)

    def _serve(self, accepted: socket.socket) -> None:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        streams: dict[int, tuple[Headers, bytearray]] = {}
        waiting: dict[int, bytes] = {}
        with accepted, suppress(OSError):
            connection.initiate_connection()
            if self._settings is not None:  # others than it believes to have
                connection.data_to_send()
                entries = b"".join(struct.pack(">HI", *each) for each in self._settings.items())
                accepted.sendall(struct.pack(">IBxxxx", len(entries) << 8 | 4, 0) + entries)
            self._flush(accepted, connection)
            while not self._stopped(accepted):
                data = accepted.recv(65536)
                if not data:
                    return
                self.raw += data
                try:
                    for event in connection.receive_data(data):
                        self._on(connection, event, streams, waiting)
                    self._go_on(connection, waiting)
                except h2.exceptions.H2Error as error:
                    self.errors.append(error)
                    self._flush(accepted, connection)
                    return
                self._flush(accepted, connection)

    def _on(self, connection: Any, event: Any, streams: Any, waiting: dict[int, bytes]) -> None:
        if isinstance(event, h2.events.RequestReceived):
            streams[event.stream_id] = event.headers, bytearray()
        elif isinstance(event, h2.events.DataReceived):
            streams[event.stream_id][1].extend(event.data)
            if event.flow_controlled_length:
                connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamReset):
            self.resets.append(event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            headers, body = streams.pop(event.stream_id)
            asked = Asked(event.stream_id, {_text(n): _text(v) for n, v in headers}, bytes(body))
            self.asked.append(asked)
            path = asked.headers[":path"]
            answer = path.encode()
            if path.startswith("/bytes/"):
                answer = bytes(int(path.split("/")[2]))
            connection.send_headers(event.stream_id, [(":status", "200"), ("x-stream", str(event.stream_id))])
            waiting[event.stream_id] = answer

    def _go_on(self, connection: Any, waiting: dict[int, bytes]) -> None:
        for stream, whole in list(waiting.items()):
            answer = whole
            while answer:
                room = min(connection.local_flow_control_window(stream), connection.max_outbound_frame_size)
                if room <= 0:
                    break
                connection.send_data(stream, answer[:room])
                answer = answer[room:]
            waiting[stream] = answer
            if not answer:
                connection.end_stream(stream)
                del waiting[stream]

    def _flush(self, accepted: socket.socket, connection: Any) -> None:
        data = connection.data_to_send()
        step = self.segment or len(data) or 1
        for at in range(0, len(data), step):
            accepted.sendall(data[at : at + step])
            if self.segment:
                time.sleep(0.0002)


def frames(stream: bytes) -> list[tuple[int, int, int, bytes]]:
    """Type, flags, stream and payload of each frame, without a preface."""
    found = []
    at = 24 if stream.startswith(b"PRI") else 0
    while at + 9 <= len(stream):
        length = int.from_bytes(stream[at : at + 3], "big")
        number = int.from_bytes(stream[at + 5 : at + 9], "big")
        found.append((stream[at + 3], stream[at + 4], number, stream[at + 9 : at + 9 + length]))
        at += 9 + length
    return found


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


class Got(NamedTuple):
    """How a stream ended for the client."""

    status: int
    headers: dict[str, str]
    body: bytes
    reset: int | None = None


class Http2Client:
    """A client whose bytes go out as the test says: ``send`` of what h2 has to say, whole or in pieces."""

    def __init__(self, connected: socket.socket, **settings: Any) -> None:
        self.socket = connected
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, **settings))
        self.h2.initiate_connection()
        self.piece: int | None = None
        self.goaway: Any = None
        self.settings: list[dict[int, int]] = []
        self.received = b""
        self._heads: dict[int, Headers] = {}
        self._bodies: dict[int, bytearray] = {}
        self.got: dict[int, Got] = {}

    def request(
        self,
        path: str,
        *,
        method: str = "GET",
        body: bytes | None = None,
        headers: Iterable[tuple[str, str]] = (),
        end: bool = True,
    ) -> int:
        """Make the frames of a request; ``flush`` sends them. Returns its stream."""
        stream: int = self.h2.get_next_available_stream_id()
        head = [(":method", method), (":scheme", "http"), (":authority", "web"), (":path", path), *headers]
        self.h2.send_headers(stream, head, end_stream=body is None and end)
        if body is not None:
            self.h2.send_data(stream, body, end_stream=end)
        return stream

    def flush(self) -> None:
        data = self.h2.data_to_send()
        step = self.piece or len(data) or 1
        for at in range(0, len(data), step):
            self.socket.sendall(data[at : at + step])

    def pump(self, seconds: float = 5.0 * SLOWER) -> bool:
        """Take what has come, and answer it; False if the other side has closed."""
        self.socket.settimeout(seconds)
        data = self.socket.recv(65536)
        self.received += data
        for event in self.h2.receive_data(data):
            self._on(event)
        self.flush()
        return bool(data)

    def _on(self, event: Any) -> None:
        if isinstance(event, h2.events.ResponseReceived):
            self._heads[event.stream_id] = event.headers
            self._bodies[event.stream_id] = bytearray()
        elif isinstance(event, h2.events.DataReceived):
            self._bodies[event.stream_id] += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
            reset = event.error_code if isinstance(event, h2.events.StreamReset) else None
            headers = {_text(n): _text(v) for n, v in self._heads.get(event.stream_id, [])}
            body = bytes(self._bodies.get(event.stream_id, b""))
            self.got[event.stream_id] = Got(int(headers.get(":status", 0)), headers, body, reset)
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = event
        elif isinstance(event, h2.events.RemoteSettingsChanged):
            self.settings.append({int(k): v.new_value for k, v in event.changed_settings.items()})

    def wait(self, *streams: int, seconds: float = 5.0 * SLOWER) -> list[Got]:
        """How these streams ended."""
        until = time.monotonic() + seconds
        while any(stream not in self.got for stream in streams):
            assert time.monotonic() < until, f"no answer on {[s for s in streams if s not in self.got]}"
            if not self.pump(max(0.01, until - time.monotonic())):
                raise EOFError
        return [self.got[stream] for stream in streams]

    def get(self, path: str, **options: Any) -> Got:
        stream = self.request(path, **options)
        self.flush()
        [got] = self.wait(stream)
        return got


class Http2Site(L7Site):
    """L7Site with an HTTP/2 server of its own beside."""

    def __init__(
        self,
        cgroup: PrivateCgroup,
        netns: NetNs,
        bpffs: Path,
        directory: Path,
        settings: dict[int, int] | None = None,
    ) -> None:
        super().__init__(cgroup, netns, bpffs, directory)
        self.h2 = Http2Server(netns, settings)

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        self.h2.close()
        print(
            "the server's errors:", self.h2.errors, frames(bytes(self.h2.raw[:4096]))
        )  # shown with a failure

    def http2(self, name: str = "web", *, port: int | None = None, **fields: Any) -> Service:
        """A service of HTTP/2 in front of the server, or of another one at a port."""
        backend = Backend(f"127.0.0.1:{port or self.h2.port}")
        return Service(name, addresses=("10.96.0.10:80",), backends=(backend,), **{"l7": "http2", **fields})

    def client(self, address: tuple[str, int] = ADDRESS, **settings: Any) -> Http2Client:
        return Http2Client(self.connect(address), **settings)
