"""Room in the L7 tier's maps, and the kernel memory it takes: counted by compiling the configuration without a kernel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
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

HTTP2_FLOOR = 64
"""Room for connections of HTTP/2, 43 KiB each, where no service speaks it yet."""

_ELEMENT = 48 + 16  # struct htab_elem before the key, and a bucket


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
    """The capacity of each map: twice what the configuration needs, at least `FLOOR`; ``services``: the connect tier's."""
    needed = need(config, compiler)
    room = {name: max(FLOOR[name], 2 * needed[name] + 1) for name in (*ELEMENTS, *HASHES)}
    room["l7_replies"] = -(-room["l7_replies"] // REPLY_ELEMENTS) * REPLY_ELEMENTS
    names = {kind: max(FLOOR[kind], 2 * needed[kind] + 1) for kind in NAMES}
    room |= {table: names[kind] for kind, table in NAMES.items()}
    connections = config.capacity.l7_connections
    some = max(256, connections // 16)  # of which a head is under way, or that speak HTTP/2
    return room | {
        "l7_services": services,
        "l7_stats": services,
        "l7_limit_stats": names["limit"],
        "l7_limit_full": names["limit"],
        "l7_connections": connections,
        "l7_sockets": connections,
        "l7_parts": some,
        "l7_resends": some,
        "l7_http2": some if any(one.l7 in ("http2", "grpc") for one in config.services) else HTTP2_FLOOR,
        "l7_buckets": config.capacity.l7_limit_keys,
        "l7_metrics": config.capacity.l7_metrics,
    }


def estimate(
    specs: Mapping[str, ObjectSpec], capacities: Mapping[str, int], known: Container[str] = ()
) -> int:
    """Bytes of kernel memory with every map full, apart from the ``known`` ones, which are counted elsewhere."""
    from ebpfmesh.maps.info import possible_cpus

    total, seen = 0, set()
    for spec in specs.values():
        for name, one in spec.maps.items():
            if name in known or name in seen:
                continue
            seen.add(name)
            count, kind = capacities.get(name, one.max_entries), one.type.name
            value = -(-one.value_size // 8) * 8
            if "RINGBUF" in kind:
                value = 1
            each = (
                value
                if kind.endswith("ARRAY") or "RINGBUF" in kind
                else value + -(-one.key_size // 8) * 8 + _ELEMENT
            )
            if "PERCPU" in kind:
                each += value * (possible_cpus() - 1)
            total += count * each
    return total


def check_budget(config: Config, needed: int) -> None:
    """CapacityError if both tiers would exceed the configuration's ``memory_budget``; ``needed`` is what this one takes."""
    from ebpfmesh.errors import CapacityError
    from ebpfmesh.policy.capacity import capacities
    from ebpfmesh.policy.capacity import need as connect_need
    from ebpfmesh.tiers.connect.memory import estimate as connect_estimate

    below = connect_estimate(capacities(config.capacity, connect_need(config)), config.capacity.udp_flows)
    if below + needed > config.memory_budget_bytes:
        raise CapacityError(
            f"the maps would take {(below + needed) / 2**20:.1f} MiB, {needed / 2**20:.1f} MiB of it for L7 policies; "
            f"the budget is {config.memory_budget_bytes / 2**20:.1f} MiB",
            where="$.memory_budget",
            remedy="raise memory_budget, or lower [capacity]: l7_connections counts most",
        )
