"""The connect tier's configuration maps: this is their only writer.

Leaves are written before what leads to them, and words last: a reader sees each frontend in one version or the
other. Arrays are written through a mapping; a word of 8 bytes is one store.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ebpfmesh.errors import MapKeyError
from ebpfmesh.lowlevel import bpf
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

if TYPE_CHECKING:
    from ebpfmesh.maps.map import Map

ARRAYS = ("settings", "frontends", "slots", "weights", "service_stats", "backend_stats")
HASHES = {
    "addresses": (ADDRESS_KEY.size, INDEX.size),
    "backends": (BACKEND_KEY.size, BACKEND.size),
    "services": (SERVICE_NAME.size, SERVICE_RECORD.size),
}


class Tables:
    """Reads and writes the maps of one loaded connect object.

    ``on_write`` is called before every write, with its name: the crash test ends the process in it.
    """

    def __init__(
        self, maps: Mapping[str, Map[Any, Any]], *, on_write: Callable[[str], None] | None = None
    ) -> None:
        self.maps = maps
        self._on_write = on_write
        self._mappings = {name: maps[name].mmap() for name in ARRAYS}  # type: ignore[attr-defined]
        views = {name: mapping.buffer for name, mapping in self._mappings.items()}
        self._settings = views["settings"].cast("Q")
        self._words = views["frontends"].cast("Q")
        self._frontends, self._slots = views["frontends"], views["slots"]
        self._service_counters = views["service_stats"]
        self._backend_counters = views["backend_stats"]
        self._weights = views["weights"].cast("Q")
        self._service_words = self._service_counters.cast("Q")
        self._backend_words = self._backend_counters.cast("Q")
        self._views = [self._settings, self._words, self._weights, self._service_words, self._backend_words]

    def close(self) -> None:
        """Unmap the arrays; the maps stay open."""
        for view in reversed(self._views):
            view.release()
        self._views.clear()
        for mapping in self._mappings.values():
            mapping.close()

    # --- the generation, and the versions of frontends ----------------------------------------------------------

    @property
    def generation(self) -> int:
        """What programs read on entry."""
        generation: int = self._settings[0]
        return generation

    def flip(self, generation: int) -> None:
        """Make every version of ``generation`` current, at once."""
        self._about("flip")
        self._order()
        self._settings[0] = generation

    def set_scoped(self, count: int) -> None:
        """How many addresses have a scope; raised before the first is inserted, lowered after the last is removed."""
        if self._settings[1] != count:
            self._about("scoped")
            self._settings[1] = count

    def word(self, frontend: int) -> int:
        """generation << 1 | index of the newer version."""
        word: int = self._words[frontend * (FRONTEND_SIZE // 8)]
        return word

    def version(self, frontend: int, index: int) -> bytes:
        """The ``struct dispatch`` of one of the two versions."""
        start = frontend * FRONTEND_SIZE + 8 + index * DISPATCH.size
        return bytes(self._frontends[start : start + DISPATCH.size])

    def current(self, frontend: int) -> bytes:
        """The ``struct dispatch`` that programs take now."""
        word = self.word(frontend)
        return self.version(frontend, (word & 1) ^ (word >> 1 > self.generation))

    def prepare(self, frontend: int, dispatch: bytes) -> None:
        """Write the version that nobody reads."""
        self._about("version")
        index = (self.word(frontend) & 1) ^ 1
        start = frontend * FRONTEND_SIZE + 8 + index * DISPATCH.size
        self._frontends[start : start + DISPATCH.size] = dispatch

    def publish(self, frontend: int, since: int) -> None:
        """Make the prepared version the newer one, current from generation ``since`` on."""
        at = frontend * (FRONTEND_SIZE // 8)
        self._about("word")
        if since <= self.generation:  # current at once; otherwise the flip orders all of them
            self._order()
        self._words[at] = since << 1 | (self._words[at] & 1) ^ 1

    def reset(self, frontend: int) -> None:
        """Make a frontend that no address leads to nobody's: what an apply left there that never took effect is gone."""
        self._about("reset")
        start = frontend * FRONTEND_SIZE
        self._frontends[start : start + FRONTEND_SIZE] = bytes(FRONTEND_SIZE)

    def retract(self, frontend: int) -> None:
        """Make the older version current, for whatever generation a reader holds: the newer one never took effect."""
        at = frontend * (FRONTEND_SIZE // 8)
        self._about("word")
        self._words[at] = (self._words[at] & 1) ^ 1

    def grace_period(self) -> None:
        """Return when no program can hold what was current before the call."""
        bpf.rcu_grace_period()

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

    # --- hashes ------------------------------------------------------------------------------------------------

    def put(self, name: str, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Insert or replace elements of a hash, in one batch."""
        if keys:
            self._about(name)
            self.maps[name].update_batch_raw(b"".join(keys), b"".join(values))

    def delete(self, name: str, keys: Sequence[bytes]) -> None:
        """Delete elements of a hash; one that is gone already is no error."""
        for key in keys:
            self._about(name)
            with suppress(MapKeyError):
                self.maps[name].delete_raw(key)

    def elements(self, name: str) -> Iterator[tuple[bytes, bytes]]:
        """Every (key, value) of a hash."""
        key_size, value_size = HASHES[name]
        keys, values = self.maps[name].lookup_batch_raw()
        for number in range(len(keys) // key_size):
            yield (
                bytes(keys[number * key_size : (number + 1) * key_size]),
                bytes(values[number * value_size : (number + 1) * value_size]),
            )

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

    def capacity(self, name: str) -> int:
        """How many elements the map holds."""
        return self.maps[name].max_entries

    def _about(self, what: str) -> None:
        if self._on_write:
            self._on_write(what)

    @staticmethod
    def _order() -> None:
        # A full barrier between the versions' bytes and their word, for machines weaker than x86-64: sched_yield()
        # takes the run queue's lock, and schedule() begins with smp_mb__after_spinlock().
        os.sched_yield()
