"""The hooks of socket options: a program sees and changes what getsockopt() answers and setsockopt() sets."""

from __future__ import annotations

from ebpfmesh.hooks.cgroup import FALLBACK, CgroupHook
from ebpfmesh.hooks.hook import About
from ebpfmesh.spec import AttachType, ProgramType


def _hook(name: str, attach_type: AttachType, does: str) -> CgroupHook:
    about = About(does, f"cgroup/{name}", "5.3", "0d01da6afc54", FALLBACK, "sockopt")
    return CgroupHook(name, attach_type, ProgramType.CGROUP_SOCKOPT, about)


GETSOCKOPT = _hook(
    "getsockopt",
    AttachType.CGROUP_GETSOCKOPT,
    "After the kernel's part of getsockopt(): sees and replaces its answer.",
)
SETSOCKOPT = _hook(
    "setsockopt",
    AttachType.CGROUP_SETSOCKOPT,
    "Before the kernel's part of setsockopt(): changes, answers or refuses it.",
)
