"""Probes of socket facilities outside bpf(2): SOCK_DESTROY, kTLS."""

from __future__ import annotations

import errno
import socket
import struct

from ebpfmesh.errors import KernelError
from ebpfmesh.features.feature import HERE, Feature, State
from ebpfmesh.features.throwaway import throwaway_netns
from ebpfmesh.features.trial import UNKNOWN_TO_KERNEL, partial, trial
from ebpfmesh.lowlevel import netns
from ebpfmesh.lowlevel.libbpf import failure

_NETLINK_SOCK_DIAG = 4
_SOCK_DESTROY = 21  # include/uapi/linux/sock_diag.h
_TCP_ULP = 31


def _destroy(protocol: int) -> State:
    """Ask, in an empty namespace, for the end of a socket that cannot exist: ENOENT says that the kernel looked."""

    def attempt() -> None:
        with throwaway_netns() as namespace:
            try:
                netns.inside(namespace, partial(_ask_to_destroy, protocol))
            except KernelError as error:
                if error.errno != errno.ENOENT:
                    raise

    return trial(attempt, UNKNOWN_TO_KERNEL - {errno.ENOENT})


def _ask_to_destroy(protocol: int) -> None:
    # struct inet_diag_req_v2 with the id of a socket 127.0.0.1:1 -> 127.0.0.1:1, cookie 1
    loopback = socket.inet_aton("127.0.0.1")
    identity = (
        struct.pack("!HH", 1, 1) + loopback + bytes(12) + loopback + bytes(12) + struct.pack("=III", 0, 1, 0)
    )
    body = struct.pack("=BBBBI", socket.AF_INET, protocol, 0, 0, 0xFFFFFFFF) + identity
    request = struct.pack("=IHHII", 16 + len(body), _SOCK_DESTROY, 1 | 4, 1, 0) + body
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as diag:
        diag.settimeout(5)
        diag.send(request)
        number = -struct.unpack_from("=i", diag.recv(4096), 16)[0]
    if number:
        raise failure("SOCK_DESTROY", number, needs="CAP_NET_ADMIN")


def _ktls() -> State:
    """An unconnected socket is refused with ENOTCONN by a kernel that has the ULP, with ENOENT by one that has not."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
        try:
            tcp.setsockopt(socket.IPPROTO_TCP, _TCP_ULP, b"tls")
        except OSError as error:
            if error.errno == errno.ENOTCONN:
                return State(True, "the ULP is there")
            if error.errno in (errno.ENOENT, errno.ENOPROTOOPT):
                return State(False, f"the kernel has no ULP named tls: {error.strerror}")
            return State(None, str(error))
    return HERE


FEATURES = (
    Feature("sock_destroy_tcp", "ending a TCP connection from outside", "c1e64e298b8c", "4.5",
            partial(_destroy, socket.IPPROTO_TCP)),
    Feature("sock_destroy_udp", "ending a UDP socket from outside", "5d77dca82839", "4.9",
            partial(_destroy, socket.IPPROTO_UDP)),
    Feature("ktls", "TLS records in the kernel", "3c4d7559159b", "4.13", _ktls),
)  # fmt: skip
