"""Real traffic for a test: servers that say who they are, and a client that connects without a pause and counts.

The file is also the program of both: ``traffic.py serve PORT…``, ``traffic.py call|ask FILE HOST PORT PAUSE``. It imports
nothing of ebpfmesh, so that a client starts at once and knows nothing of the mesh.
"""

from __future__ import annotations

import mmap
import selectors
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

PORTS = tuple(range(8001, 8007))

# attempts, answers, failures, the last errno (9999: another answer than a server gives), the slowest in ns, nothing,
# then one count a port. One process writes; words of 8 bytes are read whole.
_FIELDS = 6
_SIZE = 8 * (_FIELDS + len(PORTS))
_WRONG = 9999


class Counts(NamedTuple):
    """What a client saw so far; `by_port` counts the answers of each server."""

    attempts: int
    answers: int
    failures: int
    error: int
    slowest: float
    by_port: dict[int, int]

    def __sub__(self, before: Counts) -> Counts:
        """What it saw since ``before``; `error` and `slowest` stay those of the whole time."""
        by_port = {port: count - before.by_port[port] for port, count in self.by_port.items()}
        return self._replace(
            attempts=self.attempts - before.attempts,
            answers=self.answers - before.answers,
            failures=self.failures - before.failures,
            by_port={port: count for port, count in by_port.items() if count},
        )


class Client:
    """The counts of a client process, read where it writes them."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(_SIZE))
        self.path = path

    @property
    def counts(self) -> Counts:
        words = struct.unpack(f"{_FIELDS + len(PORTS)}Q", self.path.read_bytes())
        attempts, answers, failures, error, slowest, _ = words[:_FIELDS]
        return Counts(
            attempts, answers, failures, error, slowest / 1e9, dict(zip(PORTS, words[_FIELDS:], strict=True))
        )

    def more(self, answers: int = 60, timeout: float = 20.0) -> Counts:
        """Wait for that many further attempts, and return what the client saw in that time."""
        before, deadline = self.counts, time.monotonic() + timeout
        while (seen := self.counts - before).attempts < answers:
            if time.monotonic() > deadline:
                raise AssertionError(f"the client stands still: {seen}")
            time.sleep(0.005)
        return seen

    def settled(self) -> Counts:
        """What it sees from now on, without the attempt that may be under way."""
        self.more(2)
        return self.more()

    @contextmanager
    def unharmed(self) -> Iterator[None]:
        """No connection fails during the block, and there are some before its end and after it."""
        self.more(10)
        before = self.counts
        yield
        self.more()
        seen = self.counts - before
        assert not seen.failures, (
            f"{seen.failures} of {seen.attempts} failed, the last with errno {seen.error}"
        )
        assert seen.slowest < 1, f"a connection took {seen.slowest:.2f} s"


def serve(*ports: str) -> None:
    """Answer every connection, and every datagram, to 127.0.0.1 at ``ports`` with the port, and echo what comes."""
    selector = selectors.DefaultSelector()
    for port in map(int, ports):
        listener = socket.create_server(("127.0.0.1", port), backlog=512)
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagrams.bind(("127.0.0.1", port))
        for one in (listener, datagrams):
            one.setblocking(False)
            selector.register(one, selectors.EVENT_READ)
    print("serving", flush=True)
    while True:
        for key, _ in selector.select():
            try:
                _answer(key.fileobj, selector)  # type: ignore[arg-type]
            except OSError:  # a client that is gone already
                continue


def _answer(one: socket.socket, selector: selectors.BaseSelector) -> None:
    name = b"%d" % one.getsockname()[1]
    if one.type == socket.SOCK_DGRAM:
        _, client = one.recvfrom(64)
        one.sendto(name, client)
    elif one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        connection, _ = one.accept()
        connection.setblocking(False)
        connection.sendall(name)
        selector.register(connection, selectors.EVENT_READ)
    elif data := one.recv(64):
        one.sendall(data)
    else:
        selector.unregister(one)
        one.close()


def call(address: tuple[str, int]) -> bytes:
    """One TCP connection, closed at once; what the server said."""
    with socket.socket() as client:
        client.settimeout(5)
        client.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )  # no TIME_WAIT by the thousand
        client.connect(address)
        return client.recv(64)


def ask(address: tuple[str, int]) -> bytes:
    """One datagram of an unconnected socket; what the server said, if the answer came from ``address``."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.sendto(b"?", address)
        answer, source = client.recvfrom(64)
        return answer if source == address else b""


def count(one: Callable[[tuple[str, int]], bytes], file: str, host: str, port: str, pause: str) -> None:
    """Do ``one`` for ever, with ``pause`` seconds in between, and count in ``file``."""
    with (
        Path(file).open("r+b") as opened,
        mmap.mmap(opened.fileno(), _SIZE) as mapping,
        memoryview(mapping) as view,
    ):
        words, address = view.cast("Q"), (host, int(port))
        while True:
            start = time.monotonic_ns()
            try:
                answer = one(address)
                server = PORTS.index(int(answer or b"0"))
            except OSError as error:
                words[2] += 1
                words[3] = error.errno or 110
            except ValueError:
                words[2] += 1
                words[3] = _WRONG
            else:
                words[1] += 1
                words[_FIELDS + server] += 1
            words[4] = max(words[4], time.monotonic_ns() - start)
            words[0] += 1
            time.sleep(float(pause))


if __name__ == "__main__":
    verb, *words = sys.argv[1:]
    if verb == "serve":
        serve(*words)
    else:
        count({"call": call, "ask": ask}[verb], *words)
