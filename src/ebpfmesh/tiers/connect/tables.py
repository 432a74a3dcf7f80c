"""The connect tier's configuration maps: this is their only writer.

How a frontend's version changes is in `tiers.versioned_tables`.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ebpfmesh.tiers.connect.wire import (
    ADDRESS_KEY,
    BACKEND,
    BACKEND_KEY,
    COUNTERS,
    DISPATCH,
    FRONTEND_SIZE,
    INDEX,
    SERVICE_COUNTERS,
    SERVICE_NAME,
    SERVICE_RECORD,
    Extent,
)
from ebpfmesh.tiers.versioned_tables import VersionedTables

if TYPE_CHECKING:
    from ebpfmesh.maps.map import Map

ARRAYS = ("settings", "frontends", "slots", "weights", "service_stats", "backend_stats")
HASHES = {
    "addresses": (ADDRESS_KEY.size, INDEX.size),
    "backends": (BACKEND_KEY.size, BACKEND.size),
    "services": (SERVICE_NAME.size, SERVICE_RECORD.size),
}


class Tables(VersionedTables):
    """Reads and writes the maps of one loaded connect object: numbers are frontends, versions are ``struct dispatch``."""

    arrays = ARRAYS
    hashes = HASHES
    settings = "settings"
    versioned = "frontends"
    version_size = DISPATCH.size

    def __init__(
        self, maps: Mapping[str, Map[Any, Any]], *, on_write: Callable[[str], None] | None = None
    ) -> None:
        super().__init__(maps, on_write=on_write)
        self._frontends, self._slots = self._views["frontends"], self._views["slots"]
        self._service_counters = self._views["service_stats"]
        self._backend_counters = self._views["backend_stats"]
        self._weights = self._as_words("weights")
        self._service_words = self._as_words("service_stats")
        self._backend_words = self._as_words("backend_stats")

    # --- frontends ----------------------------------------------------------------------------------------------

    def set_scoped(self, count: int) -> None:
        """How many addresses have a scope; raised before the first is inserted, lowered after the last is removed."""
        if self._settings[1] != count:
            self._about("scoped")
            self._settings[1] = count

    def reset(self, frontend: int) -> None:
        """Make a frontend that no address leads to nobody's: what an apply left there that never took effect is gone."""
        self._about("reset")
        start = frontend * FRONTEND_SIZE
        self._frontends[start : start + FRONTEND_SIZE] = bytes(FRONTEND_SIZE)

    # --- slots ------------------------------------------------------------------------------------------------

    def write_slots(self, start: int, words: bytes) -> None:
        """Write a table into a free extent."""
        self._about("slots")
        self._slots[start * 8 : start * 8 + len(words)] = words

    def read_slots(self, extent: Extent) -> bytes:
        """The table in an extent, padded to whole elements."""
        return bytes(self._slots[extent.start * 8 : (extent.start + extent.elements) * 8])

    def set_weights(self, weights: Iterable[tuple[int, int]]) -> None:
        """Note backends' weights, as (counter, weight), for `status` and whoever takes over; the slots hold them."""
        self._about("weights")
        for counter, weight in weights:
            self._weights[counter] = weight

    def set_weight_run(self, first: int, weights: array[int]) -> None:
        """Note the weights, ``array('Q')``, of backends whose counters follow one another from ``first`` on."""
        self._about("weights")
        self._weights[first : first + len(weights)] = memoryview(weights)

    def weight(self, counter: int) -> int:
        """A backend's weight, as noted."""
        weight: int = self._weights[counter]
        return weight

    # --- counters -----------------------------------------------------------------------------------------------

    def active(self, counter: int) -> int:
        """Connections of a backend that were picked and have not ended."""
        return self.backend_counters(counter)[1]

    def set_active(self, service: int, counters: Mapping[int, int]) -> None:
        """Correct the open connections of a service's backends, by element, and of the service, where nobody counted."""
        self._about("counters")
        for counter, active in counters.items():
            self._backend_words[counter * (COUNTERS.size // 8) + 1] = active
        self._service_words[service * (SERVICE_COUNTERS.size // 8) + 1] = sum(counters.values())

    def set_backend_active(self, counter: int, active: int) -> None:
        """Correct the open connections of one backend."""
        self._about("counters")
        self._backend_words[counter * (COUNTERS.size // 8) + 1] = active

    def backend_counters(self, counter: int) -> tuple[int, ...]:
        """The seven counters of a backend."""
        return COUNTERS.unpack_from(self._backend_counters, counter * COUNTERS.size)

    def service_counters(self, service: int) -> tuple[int, ...]:
        """The seven counters of a service, then refused, errors and reply misses."""
        return SERVICE_COUNTERS.unpack_from(self._service_counters, service * SERVICE_COUNTERS.size)

    def clear_backend(self, counter: int) -> None:
        """Zero a backend's counters, before its number is given out again."""
        self._about("counters")
        self._backend_counters[counter * COUNTERS.size : (counter + 1) * COUNTERS.size] = bytes(COUNTERS.size)

    def clear_service(self, service: int) -> None:
        """Zero a service's counters, before its number is given out again."""
        self._about("counters")
        size = SERVICE_COUNTERS.size
        self._service_counters[service * size : (service + 1) * size] = bytes(size)
