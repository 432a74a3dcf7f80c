"""A relay between a client and a server that records what each sent, in the order in which it passed."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

from ebpfmesh.l7 import REQUEST, RESPONSE

Pieces = list[tuple[int, bytes]]


class Relay:
    """Listens at the Unix socket ``path``, and passes each connection on to the one at ``server``."""

    def __init__(self, path: Path, server: Path) -> None:
        self.path, self._server = path, server
        self.recordings: list[Pieces] = []
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._begin(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Take no more connections, and wait until those there are have ended: their clients must have closed them."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive(), "a client left its connection open"

    def _begin(self, run: object, *arguments: object) -> None:
        thread = threading.Thread(target=run, args=arguments)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(self._server))
                pieces: Pieces = []
                self.recordings.append(pieces)
                both = threading.Barrier(
                    2, action=lambda one=client, other=server: (one.close(), other.close())
                )
                self._begin(self._pass, REQUEST, client, server, pieces, both)
                self._begin(self._pass, RESPONSE, server, client, pieces, both)

    def _pass(
        self,
        direction: int,
        source: socket.socket,
        target: socket.socket,
        pieces: Pieces,
        both: threading.Barrier,
    ) -> None:
        data = b"x"
        while data:
            data = b""
            with suppress(OSError):
                data = source.recv(65536)
            with self._lock:
                pieces.append((direction, data))  # before it is passed on: its answer comes later
            with suppress(OSError):
                target.sendall(data) if data else target.shutdown(socket.SHUT_WR)
        both.wait(20)
