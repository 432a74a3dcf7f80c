"""What the policy of a service may refer to: the workloads and replies of its mesh, and the mesh's cgroup."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from ebpfmesh.identity.workloads import Workloads
from ebpfmesh.policy.model import Config

if TYPE_CHECKING:
    from ebpfmesh.identity.workload import Workload
    from ebpfmesh.policy.model import Service
    from ebpfmesh.policy.reply import Reply


class Known:
    """The workloads, replies by name, and cgroup that names in a service's policy are looked up in."""

    def __init__(
        self, workloads: Sequence[Workload] = (), replies: Sequence[Reply] = (), cgroup: str = "/"
    ) -> None:
        self._workloads, self._replies = workloads, replies
        self.cgroup = cgroup

    @cached_property
    def workloads(self) -> Workloads:
        """The workloads; made when a rule asks for one, which few services do."""
        return Workloads(self._workloads)

    @cached_property
    def replies(self) -> dict[str, Reply]:
        """The replies by name."""
        return {reply.name: reply for reply in self._replies}

    def alone(self, service: Service) -> Config:
        """A configuration of one service among these."""
        return Config(
            "known", self.cgroup, (service,), workloads=tuple(self._workloads), replies=tuple(self._replies)
        )

    @classmethod
    def of(cls, config: Config) -> Known:
        """Those of a configuration."""
        return cls(config.workloads, config.replies, config.cgroup)


NOTHING = Known()
"""No workload and no reply."""
