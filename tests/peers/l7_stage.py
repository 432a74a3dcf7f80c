"""The stage of the tests of the L7 tier with real peers: servers in a namespace, clients with and without the mesh.

A client in the stage's cgroup goes through the mesh; the same command outside of it reaches the same server at the same
address without it. So both say what they saw of the same thing, and nothing may differ but what a policy asked for.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

from msgspec.structs import replace

from ebpfmesh.mesh import Mesh
from ebpfmesh.observe import Observer
from ebpfmesh.policy.model import Backend, Config, Service
from ebpfmesh.testing import NetNs, PrivateCgroup, private_bpffs, private_cgroup, private_netns

T = TypeVar("T")
_PATIENCE = 10.0
_NETWORK = "10.96.0"  # local to the namespace as a whole


class Finished(NamedTuple):
    """What came of a command."""

    code: int
    out: bytes
    err: bytes


class Stage:
    """A cgroup, a namespace, the mesh over them; everything is ended and removed at the end of the block."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.mesh: Mesh | None = None
        self._ends = ExitStack()
        self._addresses = 0

    def __enter__(self) -> Self:
        with ExitStack() as made:
            self.bpffs = made.enter_context(private_bpffs())
            self.cgroup: PrivateCgroup = made.enter_context(private_cgroup())
            self.netns: NetNs = made.enter_context(private_netns())
            self.netns.run(["ip", "address", "add", f"{_NETWORK}.1/24", "dev", "lo"], check=True)
            self._ends = made.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        with self._ends:
            if self.mesh is not None:
                self.mesh.close()

    def enter(self, manager: Any) -> Any:
        """Enters a context manager inside the namespace, where its processes and sockets then are; left at the end."""
        return self.netns.call(lambda: self._ends.enter_context(manager))

    def service(self, name: str, port: int, *, family: int = 4, **fields: Any) -> Service:
        """A service of HTTP/1 at an address of its own, before the server at the port of the namespace's loopback."""
        self._addresses += 1
        if family == 6:
            host, loopback = f"[fd00::{self._addresses:x}]", "[::1]"
            self.netns.run(["ip", "address", "add", host.strip("[]"), "dev", "lo", "nodad"], check=True)
        else:
            host, loopback = f"{_NETWORK}.{self._addresses + 1}", "127.0.0.1"
        fields = {"l7": "http1", **fields}
        return Service(
            name, addresses=(f"{host}:{port}",), backends=(Backend(f"{loopback}:{port}"),), **fields
        )

    def start(self, *services: Service, **fields: Any) -> Mesh:
        """Starts the mesh of the stage."""
        config = Config("peers", cgroup=str(self.cgroup.path), services=services, **fields)
        self.mesh = Mesh(config, run_root=self.directory / "run", bpffs=self.bpffs, drain_for=2.0)
        return self.mesh.start()

    def add(self, service: Service) -> None:
        """One more service in the running mesh."""
        assert self.mesh is not None
        self.mesh.apply(replace(self.mesh.config, services=(*self.mesh.config.services, service)))

    def address(self, service: str) -> str:
        """ "host:port" of a service, as a URL has it."""
        assert self.mesh is not None
        [address] = next(one.addresses for one in self.mesh.config.services if one.name == service)
        return address

    def endpoint(self, service: str) -> tuple[str, int]:
        """(host, port) of a service."""
        host, _, port = self.address(service).rpartition(":")
        return host.strip("[]"), int(port)

    def run(
        self, command: Sequence[str], *, mesh: bool, stdin: bytes = b"", timeout: float = 60, **options: Any
    ) -> Finished:
        """Runs a client to its end, through the mesh or not."""
        run = self.cgroup.run if mesh else subprocess.run
        environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        done = self.netns.call(
            lambda: run(
                list(command), input=stdin, capture_output=True, timeout=timeout, env=environment, **options
            )
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def connect(self, service: str, *, mesh: bool = True) -> Iterator[socket.socket]:
        """A TCP connection of this process to a service; 10 s time-out, and no delay of small segments."""
        endpoint = self.endpoint(service)
        with ExitStack() as inside:
            if mesh:
                inside.enter_context(self.cgroup.enter())
            made = self.netns.call(lambda: socket.create_connection(endpoint, timeout=_PATIENCE))
        with made:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield made

    def counters(self, service: str) -> dict[str, int]:
        """What the tier counted for a service so far, without zeroes."""
        assert self.mesh is not None
        found = self.mesh.status().l7
        assert found is not None
        return next(one.counters for one in found.services if one.name == service)

    @contextmanager
    def counts(self, service: str, expected: Mapping[str, int]) -> Iterator[dict[str, int]]:
        """The block adds ``expected`` to the counters that it names, and nothing to those of trouble that it does not.

        What it added is in the dictionary afterwards. Connections close in their own time: that is waited for.
        """
        before = self.counters(service)
        added: dict[str, int] = {}
        yield added
        wanted = {**dict.fromkeys(_TROUBLE, 0), **expected, "open": 0}
        deadline = time.monotonic() + _PATIENCE
        while True:
            now = self.counters(service)
            added.clear()
            added |= {name: now.get(name, 0) - before.get(name, 0) for name in {*now, *before, *wanted}}
            found = {name: added[name] for name in wanted}
            if found == wanted:
                return
            if time.monotonic() > deadline:
                differing = {
                    name: (found[name], wanted[name]) for name in wanted if found[name] != wanted[name]
                }
                raise AssertionError(f"counted and expected: {differing}; all: {added}")
            time.sleep(0.02)

    def rows(self, service: str) -> dict[tuple[str, str, str], int]:
        """Requests that are over, by backend (or "local"), route and class of status."""
        with Observer.of("peers", run_root=self.directory / "run", bpffs=self.bpffs) as observer:
            found = observer.metrics()
        return {
            (row.backend, row.route, row.status_class): row.requests
            for one in found.services
            if one.name == service
            for row in one.rows
        }


_TROUBLE = (
    "unenrolled", "unjudged_packets", "bad_path", "denied", "limited", "faulted", "replied", "partial_replied",
    "partial_dropped", "outstanding_replied", "outstanding_dropped", "reply_failed", "swallowed",
    "undecodable_refused", "undecodable_passed", "responses_lost", "out_of_step", "look_ups_failed", "no_scratch",
    "not_filled",
)  # fmt: skip
