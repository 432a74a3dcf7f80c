"""Which backends the sockets that connect to an address can reach: address families do not mix freely.

An IPv4 socket, and an IPv6 socket that connects to a v4-mapped address, speak IPv4 from then on. An IPv6 TCP socket is
turned to an IPv4 backend by connect() itself unless IPV6_V6ONLY is set. sendmsg() on an IPv6 UDP socket cannot
be turned to IPv4 (the kernel answers with error 524).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

from ebpfmesh.policy.address import Endpoint
from ebpfmesh.policy.model import Backend


class Reach(IntEnum):
    """The backends that one kind of socket can reach; each kind has a table of its own where they differ."""

    V4 = 0
    """IPv4 backends: what asks for an IPv4 or v4-mapped address."""
    V6 = 1
    """IPv6 backends: UDP, and TCP sockets with IPV6_V6ONLY, that ask for an IPv6 address."""
    DUAL = 2
    """All backends: TCP sockets without IPV6_V6ONLY that ask for an IPv6 address."""


def reaches(address: Endpoint, protocol: str) -> tuple[Reach, ...]:
    """The kinds of socket that may ask for this service address."""
    if address.is_v4:
        return (Reach.V4,)
    return (Reach.DUAL, Reach.V6) if protocol == "tcp" else (Reach.V6,)


def reachable(backends: Sequence[Backend], reach: Reach) -> Sequence[Backend]:
    """The ``backends`` that sockets of this kind can reach, in order."""
    if reach is Reach.DUAL:
        return backends
    wanted = reach is Reach.V4
    return [backend for backend in backends if backend.endpoint.is_v4 is wanted]
