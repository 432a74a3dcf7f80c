"""The sockets that the tier has marked: listed and let go by iterators in the kernel, ended by exact cookie."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from ebpfmesh.lowlevel import iterator, netns, netns_cookie, sock_diag
from ebpfmesh.policy.address import Endpoint
from ebpfmesh.tiers.connect.wire import LISTED_SOCKET
from ebpfmesh.tiers.l7.wire import MarkState

if TYPE_CHECKING:
    from ebpfmesh.maps.sock import SockHash
    from ebpfmesh.tiers.connect.sockets import Socket


class Marked(NamedTuple):
    """A marked socket: enough to name it and no other."""

    cookie: int
    namespace: int
    """Cookie of its network namespace."""
    state: int
    service: int
    family: int
    protocol: int
    device: int
    source: Endpoint
    destination: Endpoint

    @property
    def lost(self) -> bool:
        """Whether nothing may leave it any more: it would hang until its time-out."""
        return self.state in (MarkState.UNENROLLED, MarkState.OUT_OF_STEP)


def of_connect(one: Socket) -> Marked:
    """A socket that the connect tier lists, and nobody has marked."""
    return Marked(
        one.cookie, one.namespace, 0, one.service, one.family, one.protocol, one.device, one.source, one.destination
    )  # fmt: skip


def listed(program_fd: int, map_fd: int) -> Iterator[Marked]:
    """Every marked socket, in all network namespaces. Minimum kernel: 5.12. Capabilities: CAP_BPF, CAP_PERFMON."""
    for line in LISTED_SOCKET.iter_unpack(iterator.read_map(program_fd, map_fd)):
        cookie, space, state, service, _, _, family, protocol, device, _, near, near_port, far, far_port = (
            line
        )
        yield Marked(
            cookie, space, state, service, family, protocol, device, Endpoint(near, near_port), Endpoint(far, far_port)
        )  # fmt: skip


def run(program_fd: int, map_fd: int) -> None:
    """Run an iterator over every marked socket for what it does."""
    iterator.read_map(program_fd, map_fd)


def enrolled(sockets: SockHash[int]) -> int:
    """How many sockets run our programs: the kernel takes each out when it closes."""
    return sockets.count()


def destroy(doomed: Iterable[Marked]) -> tuple[list[Marked], list[Marked]]:
    """Destroy these sockets, each by its cookie in its network namespace: which were, or were gone; and which stay.

    Their peers see a reset, their users ECONNABORTED. One that is destroyed stays marked, and in the sockhash, until its
    user closes it. What stays is in a namespace that nothing leads to. Errors: CapabilityError, KernelError. Capabilities:
    CAP_NET_ADMIN, CAP_SYS_ADMIN elsewhere.
    """
    spaces: dict[int, list[Marked]] = defaultdict(list)
    for one in doomed:
        spaces[one.namespace].append(one)
    ended: list[Marked] = []
    stay: list[Marked] = []
    for cookie, those in spaces.items():
        descriptor = netns_cookie.find(cookie)
        if descriptor is None:
            stay += those
            continue
        try:
            netns.inside(descriptor, partial(_destroy, those))
        finally:
            os.close(descriptor)
        ended += those
    return ended, stay


def _destroy(those: Iterable[Marked]) -> None:
    for one in those:
        sock_diag.destroy(
            family=one.family,
            protocol=one.protocol,
            source=(one.source.packed, one.source.port),
            destination=(one.destination.packed, one.destination.port),
            cookie=one.cookie,
            device=one.device,
        )
