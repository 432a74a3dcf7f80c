"""A server of HTTP/1 that keeps every byte that it receives, and answers as its test says, well or badly."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

_PATIENCE = 20.0


class Request(NamedTuple):
    """A request as it came."""

    method: str
    target: str
    head: bytes
    body: bytes

    def values(self, name: str) -> list[str]:
        """The values of a header, in order."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        pairs = (line.partition(":") for line in lines)
        return [value.strip() for key, _, value in pairs if key.strip().lower() == name.lower()]


class Accepted:
    """One connection: what it received, and how to answer on it."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.received = bytearray()
        self.requests: list[Request] = []
        # "end" by the client's FIN, "reset", "broken" by a reset behind that FIN, or "closed" by this side
        self.ended: str | None = None
        self._read = 0

    def send(self, data: bytes) -> None:
        """All of the data."""
        self.socket.sendall(data)

    def receive(self) -> bool:
        """More bytes; False at the end of the stream."""
        data = self.socket.recv(1 << 16)
        self.received += data
        return bool(data)

    def take(self, size: int) -> bytes | None:
        """The next bytes of the stream; None if it ends before."""
        while len(self.received) - self._read < size:
            if not self.receive():
                return None
        self._read += size
        return bytes(self.received[self._read - size : self._read])

    def take_line(self, end: bytes = b"\r\n") -> bytes | None:
        """The next bytes up to an end, and the end."""
        while (found := self.received.find(end, self._read)) < 0:
            if not self.receive():
                return None
        return self.take(found + len(end) - self._read)

    def head(self) -> Request | None:
        """The head of the next request."""
        head = self.take_line(b"\r\n\r\n")
        if head is None:
            return None
        words = [*head.split(b"\r\n", 1)[0].decode("latin-1").split(" "), "", ""]
        return Request(words[0], words[1], head, b"")

    def body(self, request: Request) -> Request | None:
        """The request with its payload."""
        if "chunked" in ",".join(request.values("transfer-encoding")).lower():
            body = b""
            while True:
                line = self.take_line()
                if line is None:
                    return None
                size = int(line.split(b";")[0], 16)
                if not size:
                    break
                data = self.take(size + 2)
                if data is None:
                    return None
                body += data[:-2]
            while (line := self.take_line()) not in (b"\r\n", None):  # trailers
                pass
            return request._replace(body=body)
        body_or_none = self.take(int((request.values("content-length") or ["0"])[0]))
        return None if body_or_none is None else request._replace(body=body_or_none)

    def reset(self) -> None:
        """Ends it by a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


Answer = Callable[[Accepted, Request], object]
"""Answers a request whose head was read; what it returns is False if the connection ends behind it."""


def plain(status: int, body: bytes, *headers: str) -> bytes:
    """A response with a length."""
    lines = "".join(f"{line}\r\n" for line in headers)
    return f"HTTP/1.1 {status} Some\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


def echo(connection: Accepted, head: Request) -> bool:
    """200 with the method, the target, and the body that came; 100 before it where that is expected."""
    if head.values("expect"):
        connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    request = connection.body(head)
    if request is None:
        return False
    connection.requests.append(request)
    options = ",".join(request.values("connection")).lower()
    old = request.head.split(b"\r\n", 1)[0].endswith(b"1.0")
    persists = "keep-alive" in options if old else "close" not in options
    body = f"{request.method} {request.target} ".encode("latin-1") + request.body
    answer = plain(200, body, f"Connection: {'keep-alive' if persists else 'close'}")
    connection.send(answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if request.method == "HEAD" else answer)
    return persists


class Server:
    """Listens on a port of the namespace that it was made in, for IPv4 and IPv6."""

    def __init__(self, answer: Answer = echo) -> None:
        self.answer = answer
        self.accepted: list[Accepted] = []
        self._listener = socket.create_server(
            ("::", 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=256
        )
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """Ends every connection, and waits for its threads."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self.accepted:
            with suppress(OSError):
                one.socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(_PATIENCE)

    def taken(self, least: int = 1) -> list[Accepted]:
        """The connections so far, each ended by now (waited for), as for ``least`` of them; forgotten from here on."""
        until = time.monotonic() + _PATIENCE
        while len(self.accepted) < least or not all(one.ended for one in self.accepted):
            assert time.monotonic() < until, (
                f"open: {[bytes(o.received[:200]) for o in self.accepted if not o.ended]}"
            )
            time.sleep(0.005)
        taken, self.accepted = self.accepted, []
        return taken

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            one = Accepted(connection)
            self.accepted.append(one)
            thread = threading.Thread(target=self._serve, args=(one,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, one: Accepted) -> None:
        one.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        one.socket.settimeout(_PATIENCE)
        ended = "end"
        try:
            while (request := one.head()) is not None:
                if self.answer(one, request) is False:
                    ended = "closed"
                    break
        except OSError as error:
            ends: dict[type[OSError], str] = {ConnectionResetError: "reset", BrokenPipeError: "broken"}
            ended = ends.get(type(error), f"{error}")
        except ValueError as error:  # no length, no chunk: what the test sent on purpose
            ended = f"{error}"
        one.socket.close()
        one.ended = ended


@contextmanager
def server(answer: Answer = echo) -> Iterator[Server]:
    """A Server as long as the block lasts."""
    running = Server(answer)
    try:
        yield running
    finally:
        running.close()
