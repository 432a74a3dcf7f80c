"""Real maps and links to pin, for the tests of ownership."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

import ebpfmesh.errors
from ebpfmesh.lowlevel.libbpf import call, ffi
from ebpfmesh.lowlevel.mount import mounts
from ebpfmesh.ownership import Ownership
from ebpfmesh.testing import PrivateCgroup

# a child process imports what this one does, installed or not
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(ebpfmesh.errors.__file__).parents[1])}

LAYOUT = "ab" * 32
CONNECT4, CONNECT6 = 10, 11  # enum bpf_attach_type


class Descriptor:
    """A BPF object by its descriptor, closed at the end of the test."""

    def __init__(self, fd: int) -> None:
        self.fd = fd


def new_map(made: list[int]) -> Descriptor:
    fd = call("bpf_map_create", 1, ffi.new("char[]", b"m"), 4, 4, 4, ffi.NULL)
    made.append(fd)
    return Descriptor(fd)


def new_link(made: list[int], cgroup_fd: int, attach_type: int = CONNECT4) -> Descriptor:
    """A program that refuses every connect(), attached by a link."""
    program = load_refusing(attach_type)
    made.append(program)
    fd = call("bpf_link_create", program, cgroup_fd, attach_type, ffi.NULL)
    made.append(fd)
    return Descriptor(fd)


def load_refusing(attach_type: int) -> int:
    """r0 = 0; exit, as a cgroup/sock_addr program, by raw bpf(2) (BPF_PROG_LOAD)."""
    from ebpfmesh.lowlevel.bpf import bpf

    code = ffi.new("char[]", struct.pack("<BBhi", 0xB7, 0, 0, 0) + struct.pack("<BBhi", 0x95, 0, 0, 0))
    license = ffi.new("char[]", b"GPL")
    address = [int(ffi.cast("uintptr_t", pointer)) for pointer in (code, license)]
    attributes = bytearray(120)
    struct.pack_into("<IIQQ", attributes, 0, 18, 2, *address)  # type CGROUP_SOCK_ADDR, 2 instructions
    struct.pack_into("<I", attributes, 68, attach_type)
    return bpf(5, attributes, what="load")[0]


def reachable(cgroup: PrivateCgroup) -> bool:
    """Whether a connect() from inside the cgroup reaches a listener on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server, cgroup.enter(), socket.socket() as client:
        try:
            client.connect(server.getsockname())
        except PermissionError:
            return False
        return True


def close_all(made: list[int]) -> None:
    while made:
        os.close(made.pop())


def start(cgroup: PrivateCgroup, root: Path, bpffs: Path) -> Ownership:
    return Ownership.acquire("demo", cgroup=cgroup.path, run_root=root, bpffs=bpffs)


def everything(directory: Path) -> list[str]:
    return sorted(
        str(path.relative_to(directory))
        for path in directory.rglob("*")
        if "." not in path.name or directory.name == "run"
    )


def own_mounts(root: Path) -> list[Path]:
    return [mount.point for mount in mounts("bpf") if mount.point.is_relative_to(root)]
