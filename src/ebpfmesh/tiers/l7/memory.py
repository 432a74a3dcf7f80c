"""Room in the L7 tier's maps, and the kernel memory it takes: counted by compiling the configuration without a kernel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ebpfmesh.tiers.l7.needs import judged
from ebpfmesh.tiers.l7.tables import ELEMENTS, HASHES, NAMES
from ebpfmesh.tiers.l7.wire import REPLY_ELEMENTS

if TYPE_CHECKING:
    from ebpfmesh.policy.model import Config
    from ebpfmesh.spec import ObjectSpec

FLOOR = {
    "l7_policies": 512, "l7_path_states": 1024, "l7_lists": 1024, "l7_rules": 1024, "l7_conditions": 512,
    "l7_configs": 64, "l7_limits": 256, "l7_replies": 256, "l7_inserts": 64, "l7_sources": 1024, "l7_workloads": 256,
    "l7_addresses": 256, "l7_paths": 1024, "l7_segments": 2048, "rule": 1024, "limit": 256, "route": 256,
    "workload": 256,
}  # fmt: skip
"""The least room that is made: a small mesh grows for a while without its maps being made anew."""

_ELEMENT = 48 + 16  # struct htab_elem before the key, and a bucket
_CONNECTIONS, _LIMIT_KEYS, _METRICS = 16384, 65536, 4096


class _Counting:
    """Numbers that are only counted."""

    def __init__(self) -> None:
        self.used: Counter[str] = Counter()
        self._names: dict[tuple[str, int, str], int] = {}
        self._shared: dict[tuple[str, tuple[bytes, ...]], int] = {}
        self.service = 0

    def take(self, table: str, count: int = 1) -> int:
        self.used[table] += count
        return self.used[table] - count + 1

    def shared(self, table: str, rows: Sequence[bytes]) -> int:
        key = table, tuple(rows)
        if key not in self._shared:
            self._shared[key] = self.take(table, len(rows))
        return self._shared[key]

    def named(self, kind: str, name: str, action: int = 0) -> int:
        del action
        key = kind, 0 if kind == "workload" else self.service, name
        if key not in self._names:
            self._names[key] = self.take(kind)
        return self._names[key]


def need(config: Config, compiler: Any) -> Counter[str]:
    """How many elements each table needs; names by their kind. Errors: those of the compiler."""
    counting = _Counting()
    for service in config.services:
        if judged(service):
            counting.service += 1
            compiled = compiler.compile_service(service, config, counting, key=(1, 2), identities=1)
            counting.used.update(
                {name: len(rows) for name, rows in compiled.tables.items() if name in HASHES}
            )
    for name in compiler.cgroups(config):
        counting.named("workload", name)
        counting.used["l7_workloads"] += 1
    return counting.used


def max_entries(config: Config, compiler: Any, services: int) -> dict[str, int]:
    """The capacity of each map: twice what the configuration needs, at least `FLOOR`; ``services`` is the connect tier's."""
    needed = need(config, compiler)
    room = {name: max(FLOOR[name], 2 * needed[name] + 1) for name in (*ELEMENTS, *HASHES)}
    room["l7_replies"] = -(-room["l7_replies"] // REPLY_ELEMENTS) * REPLY_ELEMENTS
    names = {kind: max(FLOOR[kind], 2 * needed[kind] + 1) for kind in NAMES}
    room |= {table: names[kind] for kind, table in NAMES.items()}
    capacity = config.capacity
    connections = getattr(capacity, "l7_connections", None) or _CONNECTIONS
    return room | {
        "l7_services": services,
        "l7_stats": services,
        "l7_limit_stats": names["limit"],
        "l7_limit_full": names["limit"],
        "l7_connections": connections,
        "l7_sockets": connections,
        "l7_buckets": getattr(capacity, "l7_limit_keys", None) or _LIMIT_KEYS,
        "l7_metrics": getattr(capacity, "l7_metrics", None) or _METRICS,
    }


def estimate(specs: Mapping[str, ObjectSpec], capacities: Mapping[str, int]) -> int:
    """Bytes of kernel memory with every map full."""
    import os

    total, seen = 0, set()
    for spec in specs.values():
        for name, one in spec.maps.items():
            if not name.startswith("l7_") or name in seen:
                continue
            seen.add(name)
            count = capacities.get(name, one.max_entries)
            value = -(-one.value_size // 8) * 8
            each = value if "ARRAY" in str(one.type) else value + -(-one.key_size // 8) * 8 + _ELEMENT
            if "PERCPU" in str(one.type):
                each += value * ((os.cpu_count() or 1) - 1)
            total += count * each
    return total
