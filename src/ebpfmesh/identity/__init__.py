"""Who is who: workloads, told apart by their cgroup, with a SPIFFE id and labels; pure, without a kernel."""

from __future__ import annotations

from ebpfmesh.identity.workload import Workload
from ebpfmesh.identity.workloads import Workloads

__all__ = ["Workload", "Workloads"]
