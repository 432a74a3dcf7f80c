"""Places for the conformance suite of enrolled sockets: clients in a cgroup, servers over loopback and over veth.

A `Place` makes a connection twice, enrolled and ordinary, so that a test can compare what a client sees of both; a
`MeshPlace` has a mesh with HTTP/1 services there.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from l7_peers import Peers
from l7_ways import PATIENCE

from ebpfmesh.mesh import Mesh
from ebpfmesh.policy.model import Backend, Config, Service
from ebpfmesh.testing import NetNs, PrivateCgroup, private_bpffs, private_cgroup, private_netns, veth_pair
from ebpfmesh.tiers.l7.behaviour.site import Site, Verdict

SIZES = (1, 2, 100, 4095, 4096, 4097, 65_535, 65_536, 1 << 20)
FAMILIES = {"IPv4": socket.AF_INET, "IPv6": socket.AF_INET6}
LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
VETH = {socket.AF_INET: ("10.99.0.1", "10.99.0.2"), socket.AF_INET6: ("fd99::1", "fd99::2")}
PATHS = ("loopback", "veth")


class Place:
    """Clients in a cgroup with the behaviour object, and servers on each path and of each family; a context manager.

    ``site`` is where the object is: what becomes of messages is said there.
    """

    def __init__(self) -> None:
        self._undo = ExitStack()
        self.cgroup = PrivateCgroup.__new__(PrivateCgroup)

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            self.cgroup = undo.enter_context(private_cgroup())
            self.netns = undo.enter_context(private_netns())
            self.netns_b = undo.enter_context(private_netns())
            self.site = undo.enter_context(Site(self.cgroup.fd, capacity=4096))
            link(self.netns, self.netns_b)
            self.peers = {
                (path, family): undo.enter_context(_peers(self, path, family))
                for path in PATHS
                for family in FAMILIES.values()
            }
            self.says()  # the variables are in memory from now on, which a test's look for leaks would find
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._undo.close()

    def says(self, verdict: Verdict = Verdict.FORWARDS, *, applies: int = 0, pulls: int = 4096) -> None:
        """What becomes of messages from now on."""
        self.site.says(verdict, applies=applies, pulls=pulls)

    @contextmanager
    def client(
        self,
        mode: str,
        *,
        path: str = "loopback",
        family: int = socket.AF_INET,
        enrolled: bool = True,
        send_buffer: int = 0,
        receive_buffer: int = 0,
        peers: Peers | None = None,
    ) -> Iterator[socket.socket]:
        """A connection to the server of ``mode``; blocking, with a time-out."""
        self.site.loaded.variables["refrains"].set(int(not enrolled))
        before = self.site.count("enrolled")
        address = (peers or self.peers[path, family]).at(mode)
        with self.cgroup.enter():
            one = self.netns.socket(family, socket.SOCK_STREAM)
        with one:
            if send_buffer:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
            if receive_buffer:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            one.settimeout(PATIENCE)
            one.connect(address)
            assert self.site.count("enrolled") == before + enrolled
            yield one


def _peers(place: Place | MeshPlace, path: str, family: int) -> Peers:
    if path == "loopback":
        return Peers(place.netns, family, LOOPBACK[family])
    return Peers(place.netns_b, family, VETH[family][1])


class MeshPlace:
    """Clients in a cgroup under a mesh whose services are HTTP/1, one for each path and family; a context manager.

    ``mode`` is which server is behind them, ``fields`` are those of each service; ``mesh`` is the running mesh.
    """

    def __init__(self, mode: str = "http", **fields: Any) -> None:
        self._undo, self._mode, self._fields = ExitStack(), mode, {"l7": "http1", **fields}

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            self.cgroup = undo.enter_context(private_cgroup())
            self.netns = undo.enter_context(private_netns())
            self.netns_b = undo.enter_context(private_netns())
            bpffs = undo.enter_context(private_bpffs())
            directory = undo.enter_context(TemporaryDirectory(prefix="ebpfmesh-sockets-"))
            link(self.netns, self.netns_b)
            self.peers = {
                (path, family): undo.enter_context(_peers(self, path, family))
                for path in PATHS
                for family in FAMILIES.values()
            }
            config = Config("sockets", cgroup=str(self.cgroup.path), services=tuple(self._services()))
            self.mesh = Mesh(config, run_root=Path(directory), bpffs=bpffs, drain_for=2.0)
            undo.callback(self.mesh.close)
            self.mesh.start()
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._undo.close()

    def _services(self) -> Iterator[Service]:
        for (path, family), peers in self.peers.items():
            address, port = peers.at(self._mode)
            at, backend = written(*self.address(path, family)), Backend(written(address, port))
            yield Service(f"{path}-{int(family)}", addresses=(at,), backends=(backend,), **self._fields)

    @staticmethod
    def address(path: str, family: int) -> tuple[str, int]:
        """Where clients find the service."""
        number = PATHS.index(path) + 10
        return (f"10.96.0.{number}" if family == socket.AF_INET else f"fd96::{number}"), 80

    @contextmanager
    def client(
        self,
        *,
        path: str = "loopback",
        family: int = socket.AF_INET,
        meshed: bool = True,
        send_buffer: int = 0,
    ) -> Iterator[socket.socket]:
        """A connection to the service, or, not ``meshed``, one from outside of the cgroup to its server."""
        with self.cgroup.enter() if meshed else nullcontext():
            one = self.netns.socket(family, socket.SOCK_STREAM)
        with one:
            if send_buffer:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
            one.settimeout(PATIENCE)
            one.connect(self.address(path, family) if meshed else self.peers[path, family].at(self._mode))
            yield one

    def counters(self, path: str = "loopback", family: int = socket.AF_INET) -> Counter[str]:
        """What the tier has counted of a service."""
        found = self.mesh.status().l7
        assert found is not None
        return Counter(next(one for one in found.services if one.name == f"{path}-{int(family)}").counters)


def written(address: str, port: int) -> str:
    """An address and port as configurations have them."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def link(a: NetNs, b: NetNs) -> None:
    """Connect two namespaces by veth, with the addresses of `VETH`."""
    for family, (client, server) in VETH.items():
        length = 24 if family == socket.AF_INET else 64
        veth_pair(a, b, f"{client}/{length}", f"{server}/{length}")
