"""A relay on loopback that records both directions of every connection, in the order in which it saw their bytes."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import NamedTuple, Self

_PIECE = 1 << 16
_PATIENCE = 20.0  # seconds: a peer that hangs is a failure of the test, not of the whole run


class Piece(NamedTuple):
    """Bytes of a direction (0 from the client, 1 from the server); None is its end."""

    direction: int
    data: bytes | None


class Recording:
    """What passed on one connection."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self._lock = threading.Lock()

    def add(self, piece: Piece) -> None:
        """One more piece; it is recorded before it is passed on, so a cause stands before its effect."""
        with self._lock:
            self.pieces.append(piece)

    def data(self, direction: int) -> bytes:
        """All bytes of a direction."""
        return b"".join(piece.data or b"" for piece in self.pieces if piece.direction == direction)


class Relay:
    """Listens on a port of its own and passes every connection on to ``upstream``; a context manager."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        self.upstream = upstream
        self.recordings: list[Recording] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._sockets: list[socket.socket] = []
        self._closing = False

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ends what is still open, and waits for every thread: afterwards the recordings are whole."""
        self._closing = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()
        for thread in self._threads[1:]:
            thread.join(_PATIENCE)
        for end in self._sockets:
            end.close()
        assert not any(thread.is_alive() for thread in self._threads), "a peer did not close its connection"

    def close_open(self) -> None:
        """Ends the connections that a peer keeps open, as a network that fails would."""
        for end in self._sockets:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._closing:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            recording = Recording()
            self.recordings.append(recording)
            server = socket.create_connection(self.upstream)
            self._sockets += [client, server]
            for direction, (source, sink) in enumerate([(client, server), (server, client)]):
                thread = threading.Thread(target=self._pump, args=(recording, direction, source, sink))
                self._threads.append(thread)
                thread.start()

    @staticmethod
    def _pump(recording: Recording, direction: int, source: socket.socket, sink: socket.socket) -> None:
        while True:
            try:
                data = source.recv(_PIECE)
            except OSError:
                data = b""
            recording.add(Piece(direction, data or None))
            with suppress(OSError):
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                else:
                    sink.sendall(data)
            if not data:
                return
