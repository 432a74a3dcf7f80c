"""The bpf(2) commands about attachments: raw, since libbpf 1.1 lacks anchors, link ids and revisions.

Every function raises KernelError with the kernel's errno, or CapabilityError; what an errno means at which
hook is the business of hooks/. The layouts are those of union bpf_attr, struct bpf_link_info and struct
bpf_prog_info in include/uapi/linux/bpf.h.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ebpfmesh.errors import KernelError
from ebpfmesh.lowlevel import bpf
from ebpfmesh.lowlevel.libbpf import call, ffi, lib

NEEDS = "CAP_BPF CAP_NET_ADMIN"

ALLOW_MULTI, REPLACE, BEFORE, AFTER, BY_ID, BY_LINK = 1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 5, 1 << 13
QUERY_EFFECTIVE = 1

# enum bpf_link_type
LINK_CGROUP, LINK_NETNS, LINK_XDP, LINK_TCX, LINK_SOCKMAP = 3, 5, 6, 11, 14


@dataclass(frozen=True, slots=True)
class RawLink:
    """A link as the kernel tells it: ``target`` is the cgroup id, namespace inode, ifindex or map id; 0 when detached."""

    type: int
    id: int
    program_id: int
    target: int
    attach_type: int


@dataclass(frozen=True, slots=True)
class RawProgram:
    """A loaded program as the kernel tells it."""

    type: int
    id: int
    tag: str
    name: str


@dataclass(frozen=True, slots=True)
class Query:
    """What is attached at a hook: program ids in the order they run; link ids, 0 each where the kernel tells none."""

    programs: tuple[int, ...]
    links: tuple[int, ...]
    revision: int


def link_create(
    program: int,
    target: int,
    attach_type: int,
    flags: int = 0,
    relative: int = 0,
    *,
    what: str,
    needs: str = NEEDS,
) -> int:
    """BPF_LINK_CREATE: a descriptor of the new link. ``relative`` is the anchor's id or descriptor, as ``flags`` say."""
    attributes = struct.pack("=IIIIIIQ", program, target, attach_type, flags, relative, 0, 0)
    return bpf.bpf(bpf.LINK_CREATE, attributes, what=what, needs=needs)[0]


def link_update(link: int, program: int, expected: int | None = None, *, what: str) -> None:
    """BPF_LINK_UPDATE: swap the link's program atomically; with ``expected``, only if it is that program (EPERM)."""
    flags = 0 if expected is None else REPLACE
    bpf.bpf(
        bpf.LINK_UPDATE, struct.pack("=IIII", link, program, flags, expected or 0), what=what, needs=NEEDS
    )


def link_detach(link: int, *, what: str) -> None:
    """BPF_LINK_DETACH: take the link off its target; the link stays as an object without a target."""
    bpf.bpf(bpf.LINK_DETACH, struct.pack("=I", link), what=what, needs=NEEDS)


def prog_attach(
    program: int,
    target: int,
    attach_type: int,
    flags: int = 0,
    *,
    replaced: int = 0,
    relative: int = 0,
    what: str,
) -> None:
    """BPF_PROG_ATTACH: attach without a link; it stays until it is detached, or its target goes away."""
    attributes = struct.pack("=IIIIII", target, program, attach_type, flags, replaced, relative)
    bpf.bpf(bpf.PROG_ATTACH, attributes, what=what, needs=NEEDS)


def prog_detach(program: int, target: int, attach_type: int, *, what: str) -> None:
    """BPF_PROG_DETACH of exactly this program."""
    bpf.bpf(bpf.PROG_DETACH, struct.pack("=IIII", target, program, attach_type, 0), what=what, needs=NEEDS)


def prog_query(target: int, attach_type: int, *, flags: int = 0, links: bool = True, what: str) -> Query:
    """BPF_PROG_QUERY: the attached programs in order. ``links`` asks for link ids and the revision too (6.6+).

    Errors: KernelError EINVAL where the target cannot be queried, or ``links`` on a kernel that does not know
    them.
    """
    room = 64
    while True:
        programs, ids = ffi.new("__u32[]", room), ffi.new("__u32[]", room)
        head = struct.pack("=IIIIQII", target, attach_type, flags, 0, _address(programs), room, 0)
        attributes = (
            head + struct.pack("=QQQQ", 0, _address(ids) if links else 0, 0, 0) if links else head + bytes(8)
        )
        try:
            _, answer = bpf.bpf(bpf.PROG_QUERY, attributes, what=what, needs="CAP_NET_ADMIN")
        except KernelError as error:
            if error.errno != errno.ENOSPC:
                raise
            room *= 4
            continue
        count = struct.unpack_from("=I", answer, 24)[0]
        revision = struct.unpack_from("=Q", answer, 56)[0] if links else 0
        return Query(tuple(programs[0:count]), tuple(ids[0:count]) if links else (0,) * count, revision)


def link_info(link: int, *, what: str) -> RawLink:
    """BPF_OBJ_GET_INFO_BY_FD of a link."""
    buffer, length = ffi.new("char[]", 64), ffi.new("__u32 *", 64)
    call("bpf_obj_get_info_by_fd", link, buffer, length, what=what)
    raw = bytes(ffi.buffer(buffer, 64))
    kind, number, program = struct.unpack_from("=III", raw)
    if kind == LINK_CGROUP:
        target, attach_type = struct.unpack_from("=QI", raw, 16)
    elif kind == LINK_XDP:
        target, attach_type = struct.unpack_from("=I", raw, 16)[0], 37
    else:
        target, attach_type = struct.unpack_from("=II", raw, 16)
    return RawLink(kind, number, program, target, attach_type)


def program_info(program: int, *, what: str = "the program's description") -> RawProgram:
    """BPF_OBJ_GET_INFO_BY_FD of a program."""
    buffer, length = ffi.new("char[]", 80), ffi.new("__u32 *", 80)
    call("bpf_obj_get_info_by_fd", program, buffer, length, what=what)
    raw = bytes(ffi.buffer(buffer, 80))
    kind, number = struct.unpack_from("=II", raw)
    return RawProgram(kind, number, raw[8:16].hex(), raw[64:80].rstrip(b"\0").decode("utf-8", "replace"))


def every_link() -> Iterator[RawLink]:
    """Every link of the host, by id. Needs CAP_SYS_ADMIN, as every command by id does; without it there are none."""
    number = ffi.new("__u32 *", 0)
    while lib().bpf_link_get_next_id(number[0], number) == 0:
        fd = lib().bpf_link_get_fd_by_id(number[0])
        if fd < 0:
            continue  # gone since, or not ours to open
        try:
            yield link_info(fd, what=f"link {number[0]}")
        finally:
            os.close(fd)


def open_by_id(kind: str, number: int) -> int:
    """A descriptor of the program, map or link with this id. Errors: KernelError ENOENT; CapabilityError."""
    name = {"prog": "bpf_prog_get_fd_by_id", "map": "bpf_map_get_fd_by_id", "link": "bpf_link_get_fd_by_id"}[
        kind
    ]
    return call(name, number, what=f"{kind} {number}: opening by id", needs="CAP_SYS_ADMIN")


def _address(buffer: Any) -> int:
    return int(ffi.cast("uintptr_t", buffer))
