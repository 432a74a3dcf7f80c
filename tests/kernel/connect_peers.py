"""Both ends of connections through the connect tier: servers that say who they are, and unmodified clients in a cgroup."""

from __future__ import annotations

import ctypes
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import pytest

from ebpfmesh.mesh import Mesh
from ebpfmesh.policy.address import parse
from ebpfmesh.policy.model import Config, Service
from ebpfmesh.testing import NetNs, PrivateCgroup
from ebpfmesh.tiers.connect.status import BackendStatus, ServiceStatus

T = TypeVar("T")

LOOPBACK = {4: (socket.AF_INET, "127.0.0.1"), 6: (socket.AF_INET6, "::1")}
PATIENCE = 10.0  # seconds for what happens in its own time; a busy machine takes long

RESET = b"RESET"  # a server that reads this aborts the connection


def eventually(condition: Callable[[], object], what: str = "") -> None:
    """Fail unless the condition comes true: for what TCP does in its own time."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"it never came true: {what or condition}")
        time.sleep(0.005)


def split(address: str) -> tuple[str, int]:
    """("host", port) of "host:port", without the brackets of IPv6."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def aborting(one: socket.socket) -> None:
    """Its close() is to send a reset."""
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def greeting(one: socket.socket) -> str:
    """The backend's address, the line that a TCP server begins with."""
    text = b""
    while not text.endswith(b"\n"):
        more = one.recv(1)
        if not more:
            raise ConnectionError(f"the server ended after {text!r}")
        text += more
    return text[:-1].decode()


class Servers:
    """Servers on the loopback of a namespace, served by one thread.

    A TCP server says its own address and a newline, then echoes. A UDP server answers each datagram with its address, a
    newline, and the datagram.
    """

    def __init__(self, netns: NetNs) -> None:
        self.netns = netns
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        self._open: set[socket.socket] = {self._wake, self._woken}
        self._thread = threading.Thread(target=self._serve, name="servers")
        self._thread.start()

    def tcp(self, family: int = 4, port: int = 0) -> str:
        """A new TCP server; its address as the model writes it."""
        return self._start(family, socket.SOCK_STREAM, port)

    def udp(self, family: int = 4, port: int = 0) -> str:
        """A new UDP server; its address as the model writes it."""
        return self._start(family, socket.SOCK_DGRAM, port)

    def many(self, count: int, *, kind: str = "tcp", family: int = 4) -> list[str]:
        """Several of one kind."""
        return [getattr(self, kind)(family) for _ in range(count)]

    def close(self) -> None:
        """End the thread and every socket."""
        self._wake.send(b"x")
        self._thread.join()
        for one in self._open:
            one.close()
        self._selector.close()

    def _start(self, family: int, kind: int, port: int) -> str:
        number, host = LOOPBACK[family]
        one = self.netns.socket(number, kind)
        one.bind((host, port))
        one.setblocking(False)
        if kind == socket.SOCK_STREAM:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
            one.listen(1024)
        port = one.getsockname()[1]
        address = f"[{host}]:{port}" if family == 6 else f"{host}:{port}"
        self._open.add(one)
        self._selector.register(
            one, selectors.EVENT_READ, (self._accept if kind == socket.SOCK_STREAM else self._answer, address)
        )
        return address

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                serve, address = key.data
                with suppress(BlockingIOError, ConnectionError):
                    serve(key.fileobj, address)

    def _accept(self, listener: socket.socket, address: str) -> None:
        one, _ = listener.accept()
        self._open.add(one)
        one.setblocking(False)
        self._selector.register(one, selectors.EVENT_READ, (self._echo, address))
        one.send(address.encode() + b"\n")

    def _echo(self, one: socket.socket, address: str) -> None:
        del address
        try:
            data = one.recv(1 << 16)
        except ConnectionError:
            data = b""
        if data and data != RESET:
            one.send(data)
            return
        if data:
            aborting(one)
        self._selector.unregister(one)
        self._open.discard(one)
        one.close()

    def _answer(self, one: socket.socket, address: str) -> None:
        data, source = one.recvfrom(1 << 16)
        one.sendto(address.encode() + b"\n" + data, source)


class Site:
    """A cgroup whose processes are clients, a namespace that they are in, servers there, and meshes over them."""

    def __init__(self, cgroup: PrivateCgroup, netns: NetNs, bpffs: Path, directory: Path) -> None:
        self.cgroup, self.netns, self.bpffs, self.run_root = cgroup, netns, bpffs, directory / "run"
        self._ends = ExitStack()
        self.servers = Servers(netns)
        self._ends.callback(self.servers.close)

    def config(self, *services: Service, **options: Any) -> Config:
        """A configuration of these services for the cgroup."""
        return Config("test", str(self.cgroup.path), services, **options)

    def mesh(self, *services: Service, **options: Any) -> Mesh:
        """A running mesh, closed at the end of the test."""
        return self._ends.enter_context(
            Mesh(self.config(*services, **options), run_root=self.run_root, bpffs=self.bpffs)
        )

    def call(self, function: Callable[[], T], netns: NetNs | None = None) -> T:
        """``function()`` as a client: in the cgroup and in the namespace."""
        with self.cgroup.enter():
            return (netns or self.netns).call(function)

    def client(
        self, family: int, kind: int = socket.SOCK_STREAM, protocol: int = 0, netns: NetNs | None = None
    ) -> socket.socket:
        """A client's socket, which it stays wherever it is used; with a time-out, closed at the end of the test."""
        one = self.call(lambda: socket.socket(family, kind, protocol), netns)
        one.settimeout(PATIENCE)
        self._ends.callback(one.close)
        return one

    def connect(
        self, address: str, kind: int = socket.SOCK_STREAM, netns: NetNs | None = None
    ) -> socket.socket:
        """A socket connected to the service at ``address``."""
        family = socket.AF_INET6 if address.startswith("[") else socket.AF_INET
        one = self.client(family, kind, netns=netns)
        one.connect(split(address))
        return one

    def backend_of(self, address: str, netns: NetNs | None = None) -> str:
        """Which backend a new TCP connection to ``address`` reaches."""
        with self.connect(address, netns=netns) as one:
            return greeting(one)

    def backends_of(self, address: str, count: int) -> list[str]:
        """Which backends ``count`` TCP connections reach, one after the other."""

        def go() -> list[str]:
            reached = []
            for _ in range(count):
                with socket.create_connection(split(address), PATIENCE) as one:
                    reached.append(greeting(one))
            return reached

        return self.call(go)

    def close(self) -> None:
        """Close sockets, meshes and servers, the newest first."""
        self._ends.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def service_status(mesh: Mesh, name: str) -> ServiceStatus:
    """The service of that name in the mesh's status."""
    return next(one for one in mesh.status().services if one.name == name)


def backend_status(mesh: Mesh, name: str, address: str) -> BackendStatus:
    """One backend of a service in the mesh's status."""
    wanted = str(parse(address))
    return next(one for one in service_status(mesh, name).backends if one.address == wanted)


def idle(mesh: Mesh, name: str) -> ServiceStatus:
    """The status of a service once no connection of it is open."""
    eventually(lambda: service_status(mesh, name).active == 0, f"{name} is idle")
    return service_status(mesh, name)


def counts(one: ServiceStatus) -> tuple[int, ...]:
    """(opened, active, failed, closed)"""
    return one.opened, one.active, one.failed, one.closed


def sums_agree(one: ServiceStatus) -> None:
    """Fail unless what a service counted is what its backends counted."""
    for field in ("opened", "active", "failed", "closed", "bytes_sent", "bytes_received", "datagrams"):
        assert getattr(one, field) == sum(getattr(backend, field) for backend in one.backends), field


def disconnect(one: socket.socket) -> None:
    """connect() to AF_UNSPEC, which Python has no name for."""
    assert ctypes.CDLL(None, use_errno=True).connect(one.fileno(), bytes(16), 16) == 0, ctypes.get_errno()
