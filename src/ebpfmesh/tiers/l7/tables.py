"""The L7 tier's policy maps: this is their only writer.

How a service's version changes is in `tiers.versioned_tables`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ebpfmesh.policy.wire import ADDRESS_KEY, INDEX, PATH_KEY, SEGMENT_KEY, SERVICE, SOURCE_KEY
from ebpfmesh.tiers.l7 import metric_rows
from ebpfmesh.tiers.l7.wire import (
    BUCKET_KEY,
    LIMIT_COUNTERS,
    SERVICE_ENTRY_SIZE,
    SERVICE_STATS,
    SETTINGS,
    WORD,
    WORKLOAD_KEY,
)
from ebpfmesh.tiers.versioned_tables import VersionedTables

if TYPE_CHECKING:
    from ebpfmesh.maps.map import Map

ELEMENTS = (
    "l7_policies", "l7_path_states", "l7_lists", "l7_rules", "l7_conditions", "l7_configs", "l7_limits",
    "l7_replies", "l7_inserts",
)  # fmt: skip
"""Arrays whose elements are written under numbers that nobody uses; element 0 is none."""
NAMES = {
    "rule": "l7_rule_names",
    "limit": "l7_limit_names",
    "route": "l7_route_names",
    "workload": "l7_source_names",
}
"""The names behind the numbers, by kind."""
ARRAYS = (
    "l7_settings",
    "l7_services",
    "l7_stats",
    "l7_limit_stats",
    "l7_limit_full",
    *ELEMENTS,
    *NAMES.values(),
)
HASHES = {
    "l7_sources": (SOURCE_KEY.size, INDEX.size),
    "l7_workloads": (WORKLOAD_KEY.size, INDEX.size),
    "l7_addresses": (ADDRESS_KEY.size, INDEX.size),
    "l7_paths": (PATH_KEY.size, INDEX.size),
    "l7_segments": (SEGMENT_KEY.size, INDEX.size),
}
"""Sizes of key and value. An element is never changed in place: what it leads to may be read at this moment."""


class Tables(VersionedTables):
    """Reads and writes the policy maps of one loaded L7 tier: numbers are services, versions are `wire.Version` packed.

    After a flip, connections look up their source again.
    """

    arrays = ARRAYS
    hashes = HASHES
    settings = "l7_settings"
    versioned = "l7_services"
    version_size = SERVICE.size

    def __init__(
        self, maps: Mapping[str, Map[Any, Any]], *, on_write: Callable[[str], None] | None = None
    ) -> None:
        super().__init__(maps, on_write=on_write)
        self._strides = {name: -(-maps[name].value_size // 8) * 8 for name in ARRAYS}

    # --- settings -------------------------------------------------------------------------------------------------

    @property
    def key(self) -> tuple[int, int]:
        """The key of every SipHash of the tier; (0, 0) before `make_key`."""
        return self._settings[1], self._settings[2]

    def make_key(self) -> None:
        """Choose the key, at random, where there is none; it stays as long as the maps."""
        if self.key == (0, 0):
            self._about("key")
            first, second = (int.from_bytes(os.urandom(8), "little") or 1 for _ in range(2))
            self._settings[1], self._settings[2] = first, second

    def set_logging(self, interval: int, burst: int, sample: int) -> None:
        """Bound the log: nanoseconds between records and the burst; one of ``sample`` allowed requests, 0 none."""
        *rest, old_interval, old_burst, old_sample, flags = SETTINGS.unpack(
            self._views["l7_settings"][: SETTINGS.size]
        )
        if (interval, burst, sample) == (old_interval, old_burst, old_sample):
            return
        self._about("logging")
        packed = SETTINGS.pack(*rest, interval, burst, sample, flags)
        self._views["l7_settings"][24 : SETTINGS.size] = packed[24:]

    @property
    def flags(self) -> int:
        """What must not be used on this kernel: `wire.SettingFlag`."""
        flags: int = SETTINGS.unpack(self._views["l7_settings"][: SETTINGS.size])[-1]
        return flags

    def set_flags(self, flags: int) -> None:
        """What the whole tier does without; see `wire.SettingFlag`."""
        *rest, before = SETTINGS.unpack(self._views["l7_settings"][: SETTINGS.size])
        if flags != before:
            self._about("flags")
            self._views["l7_settings"][24 : SETTINGS.size] = SETTINGS.pack(*rest, flags)[24:]

    def numbers(self) -> list[int]:
        """The services that ever had a version."""
        return [
            number for number, word in enumerate(self._words[:: SERVICE_ENTRY_SIZE // 8].tolist()) if word
        ]

    # --- elements of arrays -----------------------------------------------------------------------------------------

    def write(self, name: str, rows: Mapping[int, bytes]) -> None:
        """Write elements that nobody reads."""
        if not rows:
            return
        self._about(name)
        view, stride = self._views[name], self._strides[name]
        for index, row in rows.items():
            view[index * stride : index * stride + len(row)] = row

    def read(self, name: str, index: int) -> bytes:
        """One element."""
        stride = self._strides[name]
        return bytes(self._views[name][index * stride : index * stride + self.maps[name].value_size])

    # --- counters ---------------------------------------------------------------------------------------------------

    def counters(self, service: int) -> tuple[int, ...]:
        """The counters of a service, in the order of `wire.STATS`."""
        return SERVICE_STATS.unpack(self.read("l7_stats", service))

    def clear_counters(self, services: Collection[int]) -> None:
        """Zero services' counters and metrics, before their numbers are given out again."""
        self.write("l7_stats", dict.fromkeys(services, bytes(SERVICE_STATS.size)))
        self.clear_metrics(services=services)

    def clear_metrics(
        self,
        *,
        services: Collection[int] = (),
        backends: Collection[int] = (),
        routes: Collection[int] = (),
    ) -> None:
        """Forget what was measured of numbers that are given out again; ``backends``: elements of their counters."""
        if (services or backends or routes) and "l7_metrics" in self.maps:
            self._about("l7_metrics")
            metric_rows.forget(self.maps["l7_metrics"], services=services, backends=backends, routes=routes)

    def limit_counters(self, number: int) -> tuple[int, ...]:
        """Admitted, refused, overflowed and contended, of the limit with this number."""
        return LIMIT_COUNTERS.unpack(self.read("l7_limit_stats", number))

    def clear_limits(self, numbers: Iterable[int]) -> None:
        """Forget what limits counted and who spent what: their numbers are given out again."""
        gone = set(numbers)
        if not gone:
            return
        self.write("l7_limit_stats", dict.fromkeys(gone, bytes(LIMIT_COUNTERS.size)))
        self.write("l7_limit_full", dict.fromkeys(gone, bytes(8)))
        self.delete("l7_buckets", [key for key, _ in self.buckets() if BUCKET_KEY.unpack(key)[0] in gone])

    def buckets(self) -> Iterator[tuple[bytes, int]]:
        """Every (key, theoretical arrival time in nanoseconds of CLOCK_MONOTONIC) of the limits."""
        size = BUCKET_KEY.size
        keys, values = self.maps["l7_buckets"].lookup_batch_raw()
        for number in range(len(keys) // size):
            yield bytes(keys[number * size : (number + 1) * size]), WORD.unpack_from(values, number * 8)[0]
