"""Room in the tier's maps, and the kernel memory it takes: estimated offline for `check`, read from the kernel for
`status`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpfmesh.tiers.connect.wire import (
    ADDRESS_KEY,
    BACKEND,
    BACKEND_KEY,
    COUNTERS,
    FRONTEND_SIZE,
    INDEX,
    SERVICE_COUNTERS,
    SERVICE_NAME,
    SERVICE_RECORD,
    SLOTS_PER_ELEMENT,
)

if TYPE_CHECKING:
    from ebpfmesh.policy.capacity import Need
    from ebpfmesh.policy.model import Config

_PAGE = 4096
_BUCKET = 16  # struct bucket of kernel/bpf/hashtab.c on 64-bit machines
_ELEMENT = 48  # struct htab_elem before the key
_FIXED = 32 << 10  # the headers of all maps, and the buckets of the two socket storages
_REPLY = 48 + 24  # key and value of `replies`
_POWER_OF_TWO_CLASSES = (16, 32, 64, 96, 128, 192, 256, 512)  # what bpf_mem_alloc rounds an element up to


def max_entries(config: Config) -> dict[str, int]:
    """The capacity of each map for a configuration: what it asks for, else twice what it needs."""
    from ebpfmesh.policy.capacity import capacities, need

    room = capacities(config.capacity, need(config))
    return {
        "services": room.services,
        "service_stats": room.services,
        "turns": room.services,
        "addresses": room.addresses,
        "frontends": room.addresses,
        "backends": room.backends,
        "backend_stats": room.backends,
        "weights": room.backends,
        "slots": -(-room.slots // SLOTS_PER_ELEMENT),
        "replies": config.capacity.udp_flows,
    }


def estimate(room: Need, udp_flows: int) -> int:
    """Bytes of kernel memory with every map full: what `check` holds against the budget."""
    arrays = (
        (room.addresses, FRONTEND_SIZE),
        (-(-room.slots // SLOTS_PER_ELEMENT), 8),
        (room.services, SERVICE_COUNTERS.size),
        (room.services, 8),
        (room.backends, 8),
        (room.backends, COUNTERS.size),
    )
    hashes = (
        (room.addresses, ADDRESS_KEY.size + INDEX.size),
        (room.backends, BACKEND_KEY.size + BACKEND.size),
        (room.services, SERVICE_NAME.size + SERVICE_RECORD.size),
    )
    total = sum(-(-count * size // _PAGE) * _PAGE for count, size in arrays)
    total += sum(_buckets(count) + count * _element(size) for count, size in hashes)
    return _FIXED + total + _buckets(udp_flows) + udp_flows * (_ELEMENT + 16 + _REPLY)


def _buckets(count: int) -> int:
    return (1 << (count - 1).bit_length()) * _BUCKET if count else 0


def _element(size: int) -> int:
    whole = _ELEMENT + -(-size // 8) * 8
    return next((one for one in _POWER_OF_TWO_CLASSES if one >= whole), whole)


def check_budget(config: Config) -> int:
    """The estimate for a configuration, in bytes. CapacityError if it exceeds the configuration's ``memory_budget``."""
    from ebpfmesh.errors import CapacityError
    from ebpfmesh.policy.capacity import capacities, need

    room = capacities(config.capacity, need(config))
    needed, budget = estimate(room, config.capacity.udp_flows), config.memory_budget_bytes
    if needed > budget:
        raise CapacityError(
            f"the maps would take {needed / 2**20:.1f} MiB, the budget is {budget / 2**20:.1f} MiB",
            where="$.memory_budget",
            remedy="raise memory_budget, or lower [capacity]",
        )
    return needed
