"""Ground for those who try to get around the policy: a witness that keeps every byte that reaches the server.

with BypassSite(cgroup, netns, bpffs, tmp_path) as site:
    mesh = site.start()
    ...
    assert site.witness.evil() == []
"""

from __future__ import annotations

import select
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from ebpfmesh.mesh import Mesh
from ebpfmesh.policy.http import Http
from ebpfmesh.policy.model import Backend, Config, Service
from ebpfmesh.policy.rule import Rule
from ebpfmesh.testing import NetNs, PrivateCgroup

ADDRESS = ("10.96.0.10", 80)
GOOD = b"GET /public/x HTTP/1.1\r\nHost: a\r\n\r\n"
EVIL = b"GET /admin/xx HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
assert len(GOOD) == len(EVIL)
SMALL = 4608
"""Bytes of a buffer that a send soon waits for."""
RULES = (Rule("no-admin", action="deny", paths=("/admin/**",)),)


class Witness:
    """A server that keeps what comes, by connection, and answers each request, as far as it is let to read.

    ``reading`` can be cleared to let it stand still, ``pace`` is how many bytes it reads at a time and how long it waits
    then, in seconds.
    """

    def __init__(self, netns: NetNs, *, receive_buffer: int = 0, backlog: int = 64) -> None:
        self.received: list[bytearray] = []
        self.connections: list[socket.socket] = []
        self.reading = threading.Event()
        self.reading.set()
        self.accepting = threading.Event()
        self.accepting.set()
        self.pace = (1 << 16, 0.0)
        self._stopped = threading.Event()
        self.listener = netns.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
        self.listener.listen(backlog)
        self.port: int = self.listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """End it."""
        self._stopped.set()
        self.reading.set()
        self.accepting.set()
        for thread in list(self._threads):
            thread.join(5)
        self.listener.close()

    def leave_to_the_test(self) -> None:
        """Accept nothing any more: the test does."""
        self._stopped.set()
        self._threads[0].join(5)
        self.listener.settimeout(3)

    def _accept(self) -> None:
        while not self._stopped.is_set():
            self.accepting.wait()
            if not select.select([self.listener], [], [], 0.02)[0] or not self.accepting.is_set():
                continue
            connection, _ = self.listener.accept()
            self.received.append(bytearray())
            self.connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection, self.received[-1]), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, received: bytearray) -> None:
        answered = 0
        with connection, suppress(OSError):
            while not self._stopped.is_set():
                self.reading.wait()
                if not select.select([connection], [], [], 0.02)[0]:
                    continue
                size, pause = self.pace
                data = connection.recv(size)
                if not data:
                    return
                received += data
                time.sleep(pause)
                _, whole = requests(bytes(received))
                for _ in range(whole - answered):
                    connection.sendall(OK)
                answered = max(answered, whole)

    def everything(self) -> bytes:
        """All that came, of all connections."""
        return b"|".join(bytes(each) for each in self.received)

    def evil(self) -> list[bytes]:
        """The targets of requests, as a server reads them, that the policy denies."""
        found = [target for each in self.received for target in requests(bytes(each))[0]]
        return [target for target in found if target.startswith(b"/admin")]


def requests(stream: bytes) -> tuple[list[bytes], int]:
    """The targets of the requests whose head is there, as a strict server reads them, and how many are there as a whole."""
    targets: list[bytes] = []
    at = whole = 0
    while (end := stream.find(b"\r\n\r\n", at)) >= 0:
        lines = stream[at:end].split(b"\r\n")
        words = lines[0].split(b" ")
        if len(words) != 3:
            break  # no request: a server would answer 400 and close
        targets.append(words[1])
        length = 0
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        at = end + 4 + length
        if at > len(stream):
            break
        whole += 1
    return targets, whole


class BypassSite:
    """A witness behind a service that denies /admin, and clients in the cgroup."""

    def __init__(self, cgroup: PrivateCgroup, netns: NetNs, bpffs: Path, directory: Path) -> None:
        self.cgroup, self.netns, self.bpffs, self.root = cgroup, netns, bpffs, directory / "run"
        self.witness = Witness(netns)
        self._sockets: list[socket.socket] = []
        self._meshes: list[Mesh] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for one in self._sockets:
            one.close()
        for mesh in self._meshes:
            mesh.close()
        self.witness.close()

    def bring(self, **options: Any) -> Witness:
        """Another witness in the place of the first."""
        self.witness.close()
        self.witness = Witness(self.netns, **options)
        return self.witness

    def start(
        self, *, unjudged: str = "fail_closed", http: dict[str, Any] | None = None, **fields: Any
    ) -> Mesh:
        """A running mesh; ``fields`` are the configuration's."""
        service = Service(
            "web",
            addresses=(f"{ADDRESS[0]}:{ADDRESS[1]}",),
            backends=(Backend(f"127.0.0.1:{self.witness.port}"),),
            l7="http1",
            rules=RULES,
            http=Http(unjudged=unjudged, **(http or {})),  # type: ignore[arg-type]
        )
        config = Config("bypass", cgroup=str(self.cgroup.path), services=(service,), **fields)
        mesh = Mesh(config, run_root=self.root, bpffs=self.bpffs, drain_for=2.0)
        self._meshes.append(mesh)
        return mesh.start()

    def socket(self, *, cgroup: PrivateCgroup | None = None) -> socket.socket:
        """A client's socket, which it stays wherever it is used; with a time-out."""
        with (cgroup or self.cgroup).enter():
            one = self.netns.socket(socket.AF_INET, socket.SOCK_STREAM)
        one.settimeout(3)
        self._sockets.append(one)
        return one

    def connect(self, *, send_buffer: int = 0) -> socket.socket:
        """A connection to the service."""
        one = self.socket()
        if send_buffer:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        one.connect(ADDRESS)
        return one

    def counters(self) -> dict[str, int]:
        """What the tier has counted of the service."""
        found = self._meshes[-1].status().l7
        assert found is not None
        return found.services[0].counters


class CrampedSite(BypassSite):
    """One whose witness has so little room that a client's send is taken in parts."""

    def __init__(self, cgroup: PrivateCgroup, netns: NetNs, bpffs: Path, directory: Path) -> None:
        super().__init__(cgroup, netns, bpffs, directory)
        self.bring(receive_buffer=SMALL)
