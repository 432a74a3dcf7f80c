"""The hooks of a cgroup's packets: a program returns 1 to let a packet pass and 0 to drop it."""

from __future__ import annotations

from ebpfmesh.hooks.cgroup import FALLBACK, CgroupHook
from ebpfmesh.hooks.hook import About
from ebpfmesh.spec import AttachType, ProgramType


def _hook(direction: str, attach_type: AttachType, does: str) -> CgroupHook:
    about = About(does, f"cgroup_skb/{direction}, cgroup/skb", "4.10", "0e33661de493", FALLBACK, "cgroup_skb")
    return CgroupHook(f"cgroup_skb_{direction}", attach_type, ProgramType.CGROUP_SKB, about)


CGROUP_SKB_INGRESS = _hook(
    "ingress",
    AttachType.CGROUP_INET_INGRESS,
    "On each packet that arrives for a socket of the cgroup, from its IP header on.",
)
CGROUP_SKB_EGRESS = _hook(
    "egress",
    AttachType.CGROUP_INET_EGRESS,
    "On each packet that a socket of the cgroup sends, from its IP header on.",
)
