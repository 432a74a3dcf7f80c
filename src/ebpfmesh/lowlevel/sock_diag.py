"""SOCK_DESTROY: ends one socket, named by its addresses and its exact cookie, in the calling thread's namespace."""

from __future__ import annotations

import errno
import socket
import struct

from ebpfmesh.lowlevel.libbpf import failure

_NETLINK_SOCK_DIAG = 4
_SOCK_DESTROY = 21
_NLM_F_REQUEST_ACK = 1 | 4
_NLMSG_ERROR = 2
_HEADER = struct.Struct("=IHHII")
_MAPPED = bytes(10) + b"\xff\xff"


def destroy(
    *,
    family: int,
    protocol: int,
    source: tuple[bytes, int],
    destination: tuple[bytes, int],
    cookie: int,
    device: int = 0,
) -> bool:
    """Abort the socket: its user sees ECONNABORTED. True if it was destroyed, False if it was gone or is another one.

    ``source`` and ``destination`` are (16 bytes, IPv4 v4-mapped; port). ``device`` is the interface of a socket with
    SO_BINDTODEVICE, which the kernel finds no other way. The kernel compares the cookie, so a socket that took the
    addresses over meanwhile is safe. Errors: CapabilityError, KernelError (EOPNOTSUPP without CONFIG_INET_DIAG_DESTROY).
    Minimum kernel: 4.9 for UDP (commits c1e64e298b8c, 5d77dca82839). Capabilities: CAP_NET_ADMIN in the namespace.
    """
    if family == socket.AF_INET:
        near, far = (one[0][12:] + bytes(12) for one in (source, destination))
    else:
        near, far = source[0], destination[0]
    # struct inet_diag_req_v2 with its inet_diag_sockid; ports and addresses in network order
    request = struct.pack("=BBBxI", family, protocol, 0, 0xFFFFFFFF)
    request += struct.pack("!HH", source[1], destination[1]) + near + far
    request += struct.pack("=III", device, cookie & 0xFFFFFFFF, cookie >> 32)
    answer = _ask(
        _HEADER.pack(_HEADER.size + len(request), _SOCK_DESTROY, _NLM_F_REQUEST_ACK, 1, 0) + request
    )
    kind = _HEADER.unpack_from(answer)[1]
    number = -struct.unpack_from("=i", answer, _HEADER.size)[0] if kind == _NLMSG_ERROR else 0
    if number in (errno.ENOENT, errno.ESTALE):
        return False
    if number:
        raise failure("SOCK_DESTROY", number, needs="CAP_NET_ADMIN")
    return True


def _ask(message: bytes) -> bytes:
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    try:
        with socket.socket(socket.AF_NETLINK, kind, _NETLINK_SOCK_DIAG) as netlink:
            netlink.settimeout(5)
            netlink.sendto(message, (0, 0))
            return netlink.recv(4096)
    except OSError as error:
        raise failure("SOCK_DESTROY", error.errno or errno.ETIMEDOUT, needs="CAP_NET_ADMIN") from error
