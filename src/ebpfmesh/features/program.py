"""The smallest programs a probe can load, as instructions: no compiler and no object file is needed for them."""

from __future__ import annotations

import struct
from typing import Any

from ebpfmesh.lowlevel import bpf
from ebpfmesh.lowlevel.attach import NEEDS
from ebpfmesh.lowlevel.libbpf import ffi

_PROG_LOAD = 5  # enum bpf_cmd

# enum bpf_prog_type
SCHED_CLS, XDP, CGROUP_SKB, CGROUP_SOCK, SOCK_OPS, SK_SKB, SK_MSG = 3, 6, 8, 9, 13, 14, 16
SOCK_ADDR, CGROUP_SOCKOPT, TRACING, SK_LOOKUP = 18, 25, 26, 30


def instruction(
    opcode: int, destination: int = 0, source: int = 0, offset: int = 0, immediate: int = 0
) -> bytes:
    """One instruction of struct bpf_insn."""
    return struct.pack("=BBhi", opcode, source << 4 | destination, offset, immediate)


def returning(value: int) -> bytes:
    """``return value;``"""
    return instruction(0xB7, 0, immediate=value) + instruction(0x95)


def load(kind: int, attach_type: int = 0, *, instructions: bytes | None = None, btf_id: int = 0) -> int:
    """A descriptor of a loaded program of type ``kind``; without ``instructions`` it returns 1, which lets pass.

    Errors: KernelError (EINVAL, EACCES if the verifier refuses it), CapabilityError.
    """
    code = ffi.from_buffer(instructions or returning(1))
    licence = ffi.new("char[]", b"Dual BSD/GPL")
    attributes = struct.pack(
        "=IIQQIIQII16sIIIIQIIQIII4x",
        kind, len(code) // 8, _address(code), _address(licence), 0, 0, 0, 0, 0, b"ebpfmesh_probe", 0, attach_type,
        0, 0, 0, 0, 0, 0, 0, btf_id, 0,
    )  # fmt: skip
    return bpf.bpf(_PROG_LOAD, attributes, what="loading a probe program", needs=NEEDS)[0]


def _address(buffer: Any) -> int:
    return int(ffi.cast("uintptr_t", buffer))
