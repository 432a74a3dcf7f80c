"""Reading a BPF iterator over a map: one pass, all its output."""

from __future__ import annotations

import os

from ebpfmesh.lowlevel.libbpf import call, failure, ffi, opts

_BPF_TRACE_ITER = 28


def read_map(program_fd: int, map_fd: int) -> bytes:
    """Run the iterator program over every element of the map and return what it wrote.

    Errors: CapabilityError, KernelError. Minimum kernel: 5.9 (commit a5cbe05a6673). Capabilities: CAP_BPF, CAP_PERFMON.
    """
    # union bpf_iter_link_info: the map's descriptor comes first
    target = ffi.new("__u32[4]", [map_fd, 0, 0, 0])
    options = opts("bpf_link_create_opts", iter_info=ffi.cast("void *", target), iter_info_len=16)
    needs = "CAP_BPF CAP_PERFMON"
    link = call(
        "bpf_link_create", program_fd, 0, _BPF_TRACE_ITER, options, what="bpf_link_create(iter)", needs=needs
    )
    try:
        reader = call("bpf_iter_create", link, needs=needs)
        try:
            return b"".join(iter(lambda: os.read(reader, 65536), b""))
        except OSError as error:
            raise failure("reading a BPF iterator", error.errno or 0, needs=needs) from error
        finally:
            os.close(reader)
    finally:
        os.close(link)
