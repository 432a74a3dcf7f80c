"""Raw bpf(2), for the calls and fields that libbpf 1.1 lacks: anchors, revisions, and link creation for new hooks."""

from __future__ import annotations

import os
import platform
from contextlib import ExitStack
from typing import Any

from ebpfmesh.errors import HostError
from ebpfmesh.lowlevel.libbpf import call, failure, ffi, libc, opts

_NR_BPF = {"x86_64": 321, "aarch64": 280}  # from the kernel's syscall tables

_ARRAY, _ARRAY_OF_MAPS = 2, 12  # enum bpf_map_type

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
    """Return when every BPF program that was running at the call has ended (12 to 16 ms on an idle machine).

    Replacing the element of a map of maps makes the kernel wait for all readers of the old one (commit 1ae80cf31938, 4.18),
    on machines with one CPU and under nohz_full too, where membarrier(2) waits for nothing or is refused; cgroup, tc and
    sockops programs run inside an RCU read-side section. Errors: KernelError, CapabilityError. Capabilities: CAP_BPF.
    """
    with ExitStack() as made:

        def create(kind: int, inner: int) -> int:
            options = opts("bpf_map_create_opts", inner_map_fd=inner)
            fd = call(
                "bpf_map_create", kind, b"grace_period", 4, 4, 1, options, what="a map to wait for readers"
            )
            made.callback(os.close, fd)
            return fd

        inner = create(_ARRAY, 0)
        outer = create(_ARRAY_OF_MAPS, inner)
        zero, value = ffi.new("__u32 *", 0), ffi.new("__u32 *", inner)
        call("bpf_map_update_elem", outer, zero, value, 0, what="waiting for the readers of a map")


def _number(table: dict[str, int]) -> Any:
    machine = platform.machine()
    if machine not in table:
        raise HostError(
            f"no system call numbers are known for {machine}", remedy="x86_64 and aarch64 are supported"
        )
    return ffi.cast("long", table[machine])
