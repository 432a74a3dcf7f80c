"""A minimal rtnetlink client: interfaces, the filters of clsact, and qdiscs, as RFC 3549 and rtnetlink(7) describe them."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from ebpfmesh.errors import HostError, KernelError
from ebpfmesh.lowlevel.libbpf import failure
from ebpfmesh.lowlevel.netns import inside

# include/uapi/linux/netlink.h, rtnetlink.h, if_link.h, pkt_sched.h, pkt_cls.h
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_DUMP = 1, 4, 0x300
_RTM_GETLINK, _RTM_GETQDISC, _RTM_GETTFILTER = 18, 38, 46
_IFLA_IFNAME, _IFLA_XDP = 3, 43
_IFLA_XDP_ATTACHED, _IFLA_XDP_PROG_ID, _IFLA_XDP_DRV, _IFLA_XDP_SKB, _IFLA_XDP_HW = 2, 4, 5, 6, 7
_TCA_KIND, _TCA_OPTIONS = 1, 2
_TCA_BPF_NAME, _TCA_BPF_ID = 7, 11
_CLSACT_HANDLE = 0xFFFF0000
CLSACT_PARENT = {
    "ingress": 0xFFFFFFF2,
    "egress": 0xFFFFFFF3,
}  # TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS / _EGRESS)


@dataclass(frozen=True, slots=True)
class XdpState:
    """XDP programs of an interface by mode ("native", "generic", "hardware") and their ids; at most one is usual."""

    programs: dict[str, int]


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter of a clsact qdisc: `kind` ("bpf", "u32", ...), and for bpf the program's `program_id` and `name`."""

    kind: str
    priority: int
    handle: int
    protocol: int
    program_id: int
    name: str


class Netlink:
    """A NETLINK_ROUTE socket of one network namespace (the calling thread's, or that of descriptor ``namespace``).

    Each call is one request and its whole answer. Errors of a call: KernelError with the kernel's errno.
    """

    def __init__(self, namespace: int | None = None) -> None:
        self._socket = inside(
            namespace,
            lambda: socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
            ),
        )
        self._socket.settimeout(5)
        self._sequence = 0

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def interface_index(self, name: str) -> int:
        """The index of the interface ``name``. Errors: HostError if there is none."""
        try:
            request = struct.pack("=BxHiII", 0, 0, 0, 0, 0) + _attribute(_IFLA_IFNAME, name.encode() + b"\0")
            for _, body in self._request(_RTM_GETLINK, 0, request, f"interface {name}"):
                return int(struct.unpack_from("=i", body, 4)[0])
        except KernelError as error:
            raise HostError(
                "no such interface in this network namespace", where=f"interface {name}"
            ) from error
        raise HostError("no such interface in this network namespace", where=f"interface {name}")

    def interface_name(self, index: int) -> str:
        """The name of the interface with ``index``. Errors: HostError if there is none."""
        return self._link(index)[_IFLA_IFNAME].rstrip(b"\0").decode()

    def xdp(self, index: int) -> XdpState:
        """The XDP programs of the interface with ``index``. Errors: HostError if there is no such interface."""
        nested = dict(_attributes(self._link(index).get(_IFLA_XDP, b"")))
        names = ((_IFLA_XDP_DRV, "native"), (_IFLA_XDP_SKB, "generic"), (_IFLA_XDP_HW, "hardware"))
        found = {name: struct.unpack("=I", nested[kind][:4])[0] for kind, name in names if kind in nested}
        if not found and nested.get(_IFLA_XDP_ATTACHED, b"\0") != b"\0" and _IFLA_XDP_PROG_ID in nested:
            # before the ids by mode (4.18, commit a25717d2b604) there was one program and one mode
            mode = {1: "native", 2: "generic", 3: "hardware"}.get(nested[_IFLA_XDP_ATTACHED][0], "native")
            found = {mode: struct.unpack("=I", nested[_IFLA_XDP_PROG_ID][:4])[0]}
        return XdpState(found)

    def filters(self, index: int, direction: str) -> list[Filter]:
        """The filters of the interface's clsact qdisc in ``direction`` ("ingress", "egress"), in the order they run."""
        body = struct.pack("=BxxxiIII", 0, index, 0, CLSACT_PARENT[direction], 0)
        found = []
        for _, answer in self._request(_RTM_GETTFILTER, _NLM_F_DUMP, body, f"filters of interface {index}"):
            _, _, handle, _, info = struct.unpack_from("=BxxxiIII", answer)
            if handle == 0:
                continue  # a chain's or a protocol's head, which holds no program
            attributes = dict(_attributes(answer[20:]))
            options = dict(_attributes(attributes.get(_TCA_OPTIONS, b"")))
            found.append(
                Filter(
                    kind=attributes.get(_TCA_KIND, b"").rstrip(b"\0").decode(),
                    priority=info >> 16,
                    handle=handle,
                    protocol=socket.ntohs(info & 0xFFFF),
                    program_id=struct.unpack("=I", options.get(_TCA_BPF_ID, b"\0\0\0\0")[:4])[0],
                    name=options.get(_TCA_BPF_NAME, b"").rstrip(b"\0").decode("utf-8", "replace"),
                )
            )
        return sorted(
            found, key=lambda one: one.priority
        )  # stable: within one priority the kernel's own order

    def has_clsact(self, index: int) -> bool:
        """Whether the interface has a clsact qdisc."""
        body = struct.pack("=BxxxiIII", 0, index, 0, 0, 0)
        for _, answer in self._request(_RTM_GETQDISC, _NLM_F_DUMP, body, f"qdiscs of interface {index}"):
            _, found, handle = struct.unpack_from("=BxxxiI", answer)
            kind = dict(_attributes(answer[20:])).get(_TCA_KIND, b"").rstrip(b"\0")
            if found == index and handle == _CLSACT_HANDLE and kind == b"clsact":
                return True
        return False

    def _link(self, index: int) -> dict[int, bytes]:
        try:
            for _, body in self._request(
                _RTM_GETLINK, 0, struct.pack("=BxHiII", 0, 0, index, 0, 0), f"interface {index}"
            ):
                return dict(_attributes(body[16:]))
        except KernelError as error:
            raise HostError(
                "no such interface in this network namespace", where=f"interface {index}"
            ) from error
        raise HostError("no such interface in this network namespace", where=f"interface {index}")

    def _request(self, kind: int, flags: int, body: bytes, what: str) -> Iterator[tuple[int, bytes]]:
        """Send one request; the answers as (type, body), all of them read before the first is used."""
        self._sequence += 1
        header = struct.pack(
            "=IHHII", 16 + len(body), kind, _NLM_F_REQUEST | _NLM_F_ACK | flags, self._sequence, 0
        )
        self._socket.send(header + body)
        answers: list[tuple[int, bytes]] = []
        while True:
            data = self._socket.recv(1 << 18)
            offset = 0
            while offset < len(data):
                size, answer, _, sequence, _ = struct.unpack_from("=IHHII", data, offset)
                content = data[offset + 16 : offset + size]
                offset += (size + 3) & ~3
                if sequence != self._sequence:
                    continue  # the rest of an answer that was given up
                if answer in (_NLMSG_ERROR, _NLMSG_DONE):
                    number = -struct.unpack_from("=i", content)[0] if len(content) >= 4 else 0
                    if number:
                        raise failure(f"{what}: rtnetlink", number, needs="CAP_NET_ADMIN")
                    return iter(answers)
                answers.append((answer, content))


def is_interface_name(name: str) -> bool:
    """Whether ``name`` could be an interface's (dev_valid_name, net/core/dev.c): 1 to 15 bytes, no blank, slash, colon."""
    raw = os.fsencode(name)
    return 0 < len(raw) < 16 and name not in (".", "..") and not any(c in "/:" or c.isspace() for c in name)


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + 4 <= len(data):
        size, kind = struct.unpack_from("=HH", data, offset)
        if size < 4:
            return  # a length below its own header would never advance
        yield kind & 0x3FFF, data[offset + 4 : offset + size]  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
        offset += (size + 3) & ~3
