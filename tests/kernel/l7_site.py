"""The ground of an L7 test: an HTTP/1 server in a namespace, clients in a cgroup, and meshes with policies.

with L7Site(cgroup, netns, bpffs, tmp_path) as site:
    mesh = site.start(site.http(rules=(Rule("no-admin", action="deny", paths=("/admin/**",)),)))
    connection = site.connect()
    status, headers, body = site.get(connection, "/admin/x")
"""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

from ebpfmesh.mesh import Mesh
from ebpfmesh.policy.model import Backend, Config, Service
from ebpfmesh.testing import NetNs, PrivateCgroup

ADDRESS = ("10.96.0.10", 80)  # no route leads there: who connects to it reaches a backend or nothing


class Answer(NamedTuple):
    """One response."""

    status: int
    headers: dict[str, str]
    body: bytes


class Http1Server:
    """Answers every request with 200 and its target; remembers what came, byte for byte, by connection.

    A head ends at an empty line, and a body is as long as content-length says: enough for requests that are ours.
    """

    def __init__(self, netns: NetNs) -> None:
        self.received: list[bytearray] = []
        self._listener = netns.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(256)
        self.port: int = self._listener.getsockname()[1]
        self._stop_read, self._stop_write = socket.socketpair()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        self._stop_write.close()
        for thread in self._threads:
            thread.join(5)
        self._listener.close()
        self._stop_read.close()

    def _accept(self) -> None:
        while not self._stopped(self._listener):
            connection, _ = self._listener.accept()
            self.received.append(bytearray())
            thread = threading.Thread(target=self._serve, args=(connection, self.received[-1]), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _stopped(self, waiting: socket.socket) -> bool:
        ready, _, _ = select.select([waiting, self._stop_read], [], [])
        return self._stop_read in ready

    def _serve(self, connection: socket.socket, received: bytearray) -> None:
        rest = b""
        with connection, suppress(OSError):
            while not self._stopped(connection):
                data = connection.recv(65536)
                if not data:
                    return
                received += data
                rest += data
                while (end := rest.find(b"\r\n\r\n")) >= 0:
                    head = rest[:end].decode("latin-1")
                    length = next(
                        (
                            int(line[15:])
                            for line in head.lower().split("\r\n")
                            if line.startswith("content-length:")
                        ),
                        0,
                    )
                    if len(rest) < end + 4 + length:
                        break
                    rest = rest[end + 4 + length :]
                    body = head.split(" ")[1].encode("latin-1")
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


class L7Site:
    """Everything that an L7 test needs; ended and removed at its end, also when it failed."""

    def __init__(self, cgroup: PrivateCgroup, netns: NetNs, bpffs: Path, directory: Path) -> None:
        self.cgroup, self.netns, self.bpffs, self.root = cgroup, netns, bpffs, directory / "run"
        self.server = Http1Server(netns)
        self._meshes: list[Mesh] = []
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._sockets:
            one.close()
        for mesh in self._meshes:
            mesh.close()
        self.server.close()

    def http(self, name: str = "web", address: str = "10.96.0.10:80", **fields: Any) -> Service:
        """A service of HTTP/1 in front of the server."""
        fields = {"l7": "http1", **fields}
        backend = Backend(f"127.0.0.1:{self.server.port}")
        return Service(name, addresses=(address,), backends=(backend,), **fields)

    def config(self, *services: Service, name: str = "l7", **fields: Any) -> Config:
        return Config(name, cgroup=str(self.cgroup.path), services=services or (self.http(),), **fields)

    def mesh(self, *services: Service, drain_for: float = 2.0, **fields: Any) -> Mesh:
        """A mesh of this process, not started; closed at the end of the test."""
        config = self.config(*services, **fields)
        mesh = Mesh(config, run_root=self.root, bpffs=self.bpffs, drain_for=drain_for)
        self._meshes.append(mesh)
        return mesh

    def start(self, *services: Service, **fields: Any) -> Mesh:
        """A running mesh."""
        return self.mesh(*services, **fields).start()

    def connect(
        self, address: tuple[str, int] = ADDRESS, *, cgroup: PrivateCgroup | None = None
    ) -> socket.socket:
        """A TCP connection of this process, as a client in the cgroup and in the namespace makes it; 5 s time-out."""
        with (cgroup or self.cgroup).enter():
            made = self.netns.call(lambda: socket.create_connection(address, timeout=5))
        self._sockets.append(made)
        return made

    def get(
        self,
        connection: socket.socket,
        target: str = "/",
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """One request on the connection, and its response. Errors: OSError as the sockets have it; EOFError."""
        lines = {"Host": "web", **(headers or {})}
        if body:
            lines["Content-Length"] = str(len(body))
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        connection.sendall(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body)
        return self.read(connection)

    @staticmethod
    def read(connection: socket.socket) -> Answer:
        """The next response, by its content-length."""
        data = b""
        while b"\r\n\r\n" not in data:
            more = connection.recv(65536)
            if not more:
                raise EOFError(data)
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        while len(body) < int(headers.get("content-length", "0")):
            body += connection.recv(65536)
        return Answer(int(first.split()[1]), headers, body)
