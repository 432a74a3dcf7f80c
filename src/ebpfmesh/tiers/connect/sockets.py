"""The sockets that hold a connection record: listed by an iterator in the kernel, ended by exact cookie."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from socket import IPPROTO_UDP
from typing import NamedTuple

from ebpfmesh.lowlevel import iterator, netns, netns_cookie, sock_diag
from ebpfmesh.policy.address import Endpoint
from ebpfmesh.tiers.connect.wire import LISTED_SOCKET

_PASSES = 20
_PASSES_FOR_UDP = (
    3  # its connect() takes no time: who is not connected by then was disconnected, and sends to nobody
)
_PAUSE = 0.05
_OPEN = 2  # enum connection_state


class Socket(NamedTuple):
    """A socket that was connected to a backend: enough to name it and no other."""

    cookie: int
    namespace: int
    """Cookie of its network namespace."""
    service: int
    id: int
    counter: int
    family: int
    protocol: int
    device: int
    """Index of the interface that it is bound to (SO_BINDTODEVICE); 0 if none."""
    source: Endpoint
    destination: Endpoint
    settled: bool
    """False for a UDP socket whose connect() is under way, or that was disconnected (AF_UNSPEC), which no hook sees."""


def listed(program_fd: int, map_fd: int) -> Iterator[Socket]:
    """Every socket with a record that has not ended, in all network namespaces.

    Minimum kernel: 5.9 for the iterator, 5.12 for cookies in it (commit c5dbb89fc2ac). Capabilities: CAP_BPF, CAP_PERFMON.
    """
    for line in LISTED_SOCKET.iter_unpack(iterator.read_map(program_fd, map_fd)):
        (
            cookie, space, state, service, number, counter, family, protocol, device, _, near, near_port, far, far_port
        ) = line  # fmt: skip
        yield Socket(
            cookie, space, service, number, counter, family, protocol, device,
            Endpoint(near, near_port), Endpoint(far, far_port), protocol != IPPROTO_UDP or state == _OPEN,
        )  # fmt: skip


def destroy(current: Callable[[], Iterator[Socket]], departed: Collection[tuple[int, int]]) -> int:
    """Destroy the sockets connected to the (service, backend id) pairs in ``departed``; returns how many stay.

    A connect() that was under way may still appear after the first pass, so passes go on until one finds nothing.
    Errors: CapabilityError; KernelError if the kernel has no SOCK_DESTROY.
    """
    doomed: list[Socket] = []
    with ExitStack() as stack:
        spaces: dict[int, int | None] = {}
        for number in range(_PASSES):
            found = [one for one in current() if (one.service, one.id) in departed]
            doomed = [one for one in found if one.settled]
            if not found or (number >= _PASSES_FOR_UDP and not doomed):
                break
            for cookie in {one.namespace for one in doomed} - spaces.keys():
                spaces[cookie] = descriptor = netns_cookie.find(cookie)
                if descriptor is not None:
                    stack.callback(os.close, descriptor)
            if doomed and all(spaces[one.namespace] is None for one in doomed):
                break  # nothing leads into their namespace: waiting does not help
            ended = sum(_destroy_in(descriptor, [one for one in doomed if one.namespace == cookie])
                        for cookie, descriptor in spaces.items() if descriptor is not None)  # fmt: skip
            if not ended:
                time.sleep(_PAUSE)
    return len(doomed)


def _destroy_in(namespace: int, doomed: list[Socket]) -> int:
    return netns.inside(namespace, lambda: sum(map(_destroy, doomed)))


def _destroy(one: Socket) -> bool:
    return sock_diag.destroy(
        family=one.family,
        protocol=one.protocol,
        source=(one.source.packed, one.source.port),
        destination=(one.destination.packed, one.destination.port),
        cookie=one.cookie,
        device=one.device,
    )
