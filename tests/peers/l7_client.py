"""A client of bytes: it sends what it is told, piece by piece, and reads responses one by one."""

from __future__ import annotations

import socket
from typing import NamedTuple


class Response(NamedTuple):
    """A response as it came; ``head`` without the empty line."""

    status: int
    head: bytes
    body: bytes

    def values(self, name: str) -> list[str]:
        """The values of a header, in order."""
        pairs = (line.partition(":") for line in self.head.decode("latin-1").split("\r\n")[1:])
        return [value.strip() for key, _, value in pairs if key.lower() == name.lower()]


class Client:
    """Sends on a connected socket, and reads what comes on it."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.received = b""
        self._rest = b""

    def send(self, *pieces: bytes) -> None:
        """Each piece by a send() of its own. Errors: OSError as the socket has it."""
        for piece in pieces:
            self.socket.sendall(piece)

    def ask(self, target: str = "/", *headers: str, method: str = "GET", body: bytes = b"") -> Response:
        """One request, and its response."""
        self.send(request(target, *headers, method=method, body=body))
        return self.read(head_only=method == "HEAD")

    def read(self, *, head_only: bool = False) -> Response:
        """The next response, by its length or its chunks. Errors: EOFError if the stream ends before; OSError."""
        while (end := self._rest.find(b"\r\n\r\n")) < 0:
            self._more()
        head, self._rest = self._rest[:end], self._rest[end + 4 :]
        response = Response(int(head.split(b" ")[1]), head, b"")
        if head_only or response.status < 200 or response.status in (204, 304):
            return response
        if response.values("transfer-encoding"):
            return response._replace(body=self._chunks())
        length = int((response.values("content-length") or ["0"])[0])
        while len(self._rest) < length:
            self._more()
        body, self._rest = self._rest[:length], self._rest[length:]
        return response._replace(body=body)

    def end(self) -> bytes:
        """Everything up to the end of the stream."""
        while True:
            try:
                self._more()
            except EOFError:
                rest, self._rest = self._rest, b""
                return rest

    def _chunks(self) -> bytes:
        body = b""
        while True:
            while (end := self._rest.find(b"\r\n")) < 0:
                self._more()
            size = int(self._rest[:end].split(b";")[0], 16)
            if not size:
                break
            while len(self._rest) < end + size + 4:
                self._more()
            body += self._rest[end + 2 : end + 2 + size]
            self._rest = self._rest[end + size + 4 :]
        while (end := self._rest.find(b"\r\n\r\n")) < 0:  # trailers, or none
            self._more()
        self._rest = self._rest[end + 4 :]
        return body

    def _more(self) -> None:
        data = self.socket.recv(1 << 16)
        if not data:
            raise EOFError(self._rest)
        self.received += data
        self._rest += data


def request(target: str = "/", *headers: str, method: str = "GET", body: bytes = b"") -> bytes:
    """A request with a Host, and with a length if it has a body."""
    lines = ["Host: web", *headers, *([f"Content-Length: {len(body)}"] if body else [])]
    head = "".join(f"{line}\r\n" for line in lines)
    return f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body
