"""The ground of an L7 test: an HTTP/1 server in a namespace, clients in a cgroup, and meshes with policies.

with L7Site(cgroup, netns, bpffs, tmp_path) as site:
    mesh = site.start(site.http(rules=(Rule("no-admin", action="deny", paths=("/admin/**",)),)))
    connection = site.connect()
    status, headers, body = site.get(connection, "/admin/x")
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec

import ebpfmesh.errors
from ebpfmesh.mesh import Mesh
from ebpfmesh.policy import Rule
from ebpfmesh.policy.model import Backend, Config, Service
from ebpfmesh.testing import NetNs, PrivateCgroup
from slower import SLOWER

HERE = Path(__file__).parent
SOURCES = Path(ebpfmesh.errors.__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SOURCES)}
ADDRESS = ("10.96.0.10", 80)  # no route leads there: who connects to it reaches a backend or nothing
NO_ADMIN = Rule("no-admin", action="deny", paths=("/admin/**",))
NO_SHOP = Rule("no-shop", action="deny", paths=("/shop/**",))


class Answer(NamedTuple):
    """One response."""

    status: int
    headers: dict[str, str]
    body: bytes


class LoopbackServer(ABC):
    """Listens on a port of a namespace's loopback, and serves each connection in a thread, until close()."""

    def __init__(self, netns: NetNs) -> None:
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

    @abstractmethod
    def _accepted(self, connection: socket.socket) -> Callable[[], None]:
        """Note a connection, in the order in which they come; what its thread does with it."""

    def _accept(self) -> None:
        while not self._stopped(self._listener):
            connection, _ = self._listener.accept()
            thread = threading.Thread(target=self._accepted(connection), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _stopped(self, waiting: socket.socket) -> bool:
        ready, _, _ = select.select([waiting, self._stop_read], [], [])
        return self._stop_read in ready


class Http1Server(LoopbackServer):
    """Answers every request with 200 and its target; remembers what came, byte for byte, by connection.

    A head ends at an empty line, and a body is as long as content-length says: enough for requests that are ours.
    """

    def __init__(self, netns: NetNs) -> None:
        self.received: list[bytearray] = []
        super().__init__(netns)

    def _accepted(self, connection: socket.socket) -> Callable[[], None]:
        self.received.append(bytearray())
        return partial(self._serve, connection, self.received[-1])

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


class Agent:
    """A process that holds a mesh with policies."""

    def __init__(self, words: list[str]) -> None:
        self.process = subprocess.Popen(
            words,
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self, timeout: float = 30 * SLOWER) -> str:
        """The next line; AssertionError if it ends instead."""
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], timeout)[0], "the agent says nothing"
        if not (line := self.process.stdout.readline()):
            assert self.process.stderr is not None
            raise AssertionError(f"the agent ended with {self.process.wait()}: {self.process.stderr.read()}")
        return line.strip()

    def tell(self, command: str) -> str:
        """Have it do something, and return what it says."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        return self.line()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(20)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()


class L7Site:
    """Everything that an L7 test needs; ended and removed at its end, also when it failed."""

    def __init__(self, cgroup: PrivateCgroup, netns: NetNs, bpffs: Path, directory: Path) -> None:
        self.cgroup, self.netns, self.bpffs, self.root = cgroup, netns, bpffs, directory / "run"
        self.server = Http1Server(netns)
        self._meshes: list[Mesh] = []
        self._sockets: list[socket.socket] = []
        self._agents: list[Agent] = []
        self._directory = directory

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._sockets:
            one.close()
        for agent in self._agents:
            agent.close()
        for mesh in self._meshes:
            mesh.close()
        self.server.close()

    def http(self, name: str = "web", address: str = "10.96.0.10:80", **fields: Any) -> Service:
        """A service of HTTP/1 in front of the server."""
        fields = {"l7": "http1", **fields}
        backend = Backend(f"127.0.0.1:{self.server.port}")
        return Service(name, addresses=(address,), backends=(backend,), **fields)

    def config(self, *services: Service, name: str = "l7", **fields: Any) -> Config:
        fields = {"cgroup": str(self.cgroup.path), **fields}
        return Config(name, services=services or (self.http(),), **fields)

    def mesh(self, *services: Service, drain_for: float = 2.0, **fields: Any) -> Mesh:
        """A mesh of this process, not started; closed at the end of the test."""
        config = self.config(*services, **fields)
        mesh = Mesh(config, run_root=self.root, bpffs=self.bpffs, drain_for=drain_for)
        self._meshes.append(mesh)
        return mesh

    def start(self, *services: Service, **fields: Any) -> Mesh:
        """A running mesh."""
        return self.mesh(*services, **fields).start()

    def write(self, config: Config) -> Path:
        """``config`` as a file that an agent reads."""
        file = self._directory / f"config-{len(list(self._directory.glob('config-*')))}.json"
        file.write_bytes(msgspec.json.encode(config))
        return file

    def agent(self, *services: Service, write: int = -1, **fields: Any) -> Agent:
        """A mesh in a process of its own, ready; see l7_agent.py."""
        file = self.write(self.config(*services, **fields))
        words = [HERE / "l7_agent.py", file, self.root, self.bpffs, write]
        agent = Agent([sys.executable, *map(str, words)])
        self._agents.append(agent)
        assert agent.line() == "ready"
        return agent

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """One `ebpfmesh` command, to its end."""
        options = ["--run-root", str(self.root), "--bpffs", str(self.bpffs)]
        return subprocess.run(
            [sys.executable, "-m", "ebpfmesh", *words, *options],
            env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=60 * SLOWER,
        )  # fmt: skip

    def left(self) -> list[str]:
        """What is in the run root and, apart from the kernel's own files, in the bpffs."""
        pins = [path for path in self.bpffs.rglob("*") if "." not in path.name]
        return sorted(str(path) for path in (*self.root.rglob("*"), *pins))

    def connect(
        self, address: tuple[str, int] = ADDRESS, *, cgroup: PrivateCgroup | None = None
    ) -> socket.socket:
        """A TCP connection of this process, as a client in the cgroup and in the namespace makes it; 5 s time-out."""
        with (cgroup or self.cgroup).enter():
            made = self.netns.call(lambda: socket.create_connection(address, timeout=5 * SLOWER))
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
