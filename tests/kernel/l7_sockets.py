"""Places for the conformance suite of enrolled sockets: clients in a cgroup, servers over loopback and over veth.

A `Place` makes a connection twice, enrolled and ordinary, so that a test can compare what a client sees of both.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Self

from l7_peers import Peers
from l7_ways import PATIENCE

from ebpfmesh.testing import NetNs, PrivateCgroup, veth_pair
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
        from ebpfmesh.testing import private_cgroup, private_netns

        with ExitStack() as undo:
            self.cgroup = undo.enter_context(private_cgroup())
            self.netns = undo.enter_context(private_netns())
            self.netns_b = undo.enter_context(private_netns())
            self.site = undo.enter_context(Site(self.cgroup.fd, capacity=4096))
            for family, (client, server) in VETH.items():
                length = 24 if family == socket.AF_INET else 64
                veth_pair(self.netns, self.netns_b, f"{client}/{length}", f"{server}/{length}")
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


def _peers(place: Place, path: str, family: int) -> Peers:
    if path == "loopback":
        return Peers(place.netns, family, LOOPBACK[family])
    return Peers(place.netns_b, family, VETH[family][1])
