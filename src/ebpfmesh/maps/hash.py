"""Hash maps: shared or per CPU, bounded or least recently used."""

from __future__ import annotations

from typing import Any

from ebpfmesh.maps.codec import Codec, PerCpu
from ebpfmesh.maps.info import possible_cpus
from ebpfmesh.maps.map import K, Map, V


class HashMap(Map[K, V]):
    """BPF_MAP_TYPE_HASH: a full map refuses new keys with MapFullError. Minimum kernel: 3.19 (commit 0f8e4bd8a1fc)."""


class LruHashMap(HashMap[K, V]):
    """BPF_MAP_TYPE_LRU_HASH: a full map evicts keys that were not used lately, some before it is full.

    Without BPF_F_NO_COMMON_LRU each CPU has a private list of free elements, so eviction begins below ``max_entries``.
    A lookup from user space does not count as a use. Minimum kernel: 4.10 (commit 29ba732acbee).
    """


class PerCpuHashMap(HashMap[K, list[V]]):
    """BPF_MAP_TYPE_PERCPU_HASH: a key has one value for each possible CPU, a list.

    To write, anything but a list is the same value for every CPU. Minimum kernel: 4.6 (commit 824bd0ce6c7c).
    """

    def _value_codec(self, value: Codec) -> Codec:
        return PerCpu(value, possible_cpus())

    def total(self, key: K) -> Any:
        """The sum over all CPUs, for values that are integers. Errors: MapKeyError."""
        return sum(self[key])


class LruPerCpuHashMap(PerCpuHashMap[K, V]):
    """BPF_MAP_TYPE_LRU_PERCPU_HASH: both of the above. Minimum kernel: 4.10 (commit 8f8449384ec3)."""
