"""Raw bpf(2), for the calls and fields that libbpf 1.1 lacks: anchors, revisions, and link creation for new hooks."""

from __future__ import annotations

import platform
from typing import Any

from ebpfmesh.lowlevel.libbpf import failure, ffi, libc

_NR_BPF = {"x86_64": 321, "aarch64": 280}  # from the kernel's syscall tables
_NR_MEMBARRIER = {"x86_64": 324, "aarch64": 283}

# enum bpf_cmd, include/uapi/linux/bpf.h
PROG_ATTACH, PROG_DETACH, PROG_QUERY, LINK_CREATE, LINK_UPDATE, LINK_DETACH = 8, 9, 16, 28, 29, 34


def bpf(
    command: int, attributes: bytes | bytearray, *, what: str, needs: str = "CAP_BPF"
) -> tuple[int, bytes]:
    """bpf(command, attributes): the result, and the attributes as the kernel left them.

    Errors: CapabilityError, KernelError (errno); see `libbpf.failure`. Minimum kernel: that of the command.
    """
    buffer: Any = ffi.new("char[]", bytes(attributes))
    size = len(attributes)
    result = libc().syscall(
        _number(_NR_BPF), ffi.cast("int", command), ffi.cast("void *", buffer), ffi.cast("unsigned int", size)
    )
    if result < 0:
        raise failure(what, ffi.errno, needs=needs)
    return int(result), bytes(ffi.buffer(buffer, size))


def rcu_grace_period() -> None:
    """Return when every BPF program that was running at the call has ended (8 to 16 ms on an idle machine).

    membarrier(MEMBARRIER_CMD_GLOBAL) is synchronize_rcu() (kernel/sched/membarrier.c), and cgroup, tc and sockops programs
    run inside an RCU read-side section. Minimum kernel: 4.3. Errors: KernelError (ENOSYS under nohz_full, or seccomp).
    """
    zero = ffi.cast("int", 0)
    if libc().syscall(_number(_NR_MEMBARRIER), ffi.cast("int", 1), zero, zero) < 0:
        raise failure("membarrier(MEMBARRIER_CMD_GLOBAL)", ffi.errno)


def _number(table: dict[str, int]) -> Any:
    return ffi.cast("long", table[platform.machine()])
