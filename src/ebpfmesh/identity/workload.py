"""A workload: the processes of one cgroup, under a name."""

from __future__ import annotations

import msgspec


class Workload(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The processes of a cgroup and of those below it; of two workloads, one within the other, the deeper one is meant."""

    name: str
    """Unique in the mesh: 1 to 63 of letters, digits, "-", "_" and ".", not at either end."""
    cgroup: str
    """Its path below the cgroup v2 mount, or with the mount: the mesh's own cgroup, or one below it."""
    spiffe: str | None = None
    """Its SPIFFE id, "spiffe://example.org/ns/shop/sa/checkout"; None: it has none, and no rule for ids means it."""
    labels: dict[str, str] = {}
    """Whatever rules tell workloads apart by: { team = "pay" }."""
