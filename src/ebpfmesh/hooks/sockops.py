"""The hook of TCP connections' events: established, state changes, timeouts, round trips, header options."""

from __future__ import annotations

from ebpfmesh.hooks.cgroup import FALLBACK, CgroupHook
from ebpfmesh.hooks.hook import About
from ebpfmesh.spec import AttachType, ProgramType

SOCKOPS = CgroupHook(
    "sockops",
    AttachType.CGROUP_SOCK_OPS,
    ProgramType.SOCK_OPS,
    About(
        "At the events of the TCP connections of a cgroup; all but the first few must be asked for with "
        "bpf_sock_ops_cb_flags_set().",
        "sockops",
        "4.13",
        "40304b2a1567",
        FALLBACK,
        "sockops",
    ),
)
