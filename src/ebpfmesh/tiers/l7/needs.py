"""Whether a mesh has policies at all, and what the L7 tier then asks of a kernel, by the names of `ebpfmesh.features`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ebpfmesh.policy.model import Service

FEATURES = (
    "sockhash",
    "sk_msg",
    "sk_skb_verdict",
    "cgroup_skb",
    "sockops",
    "sk_storage",
    "set_retval",
    "mmapable_arrays",
)
"""In the order in which a missing one is named."""


def judged(service: Service) -> bool:
    """Whether the L7 tier has to do with the service: its requests are parsed, or its connections authorised."""
    return service.l7 is not None or bool(service.rules)


def needed(services: Iterable[Service]) -> bool:
    """Whether one of the services has a policy: otherwise nothing of this tier is loaded."""
    return any(map(judged, services))
