"""The maps of one tier, each service or frontend in two versions: what both tiers' writers have in common.

An entry of the versioned array is a word (generation << 1 | index of the newer version) and two versions. A reader takes
the newer one if that is not newer than the generation it read, else the older one; so what leads to something is written
after it, and words last. Arrays are written through a mapping; a word of 8 bytes is one store.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

from ebpfmesh.errors import MapKeyError
from ebpfmesh.lowlevel import bpf

if TYPE_CHECKING:
    from ebpfmesh.maps.map import Map


class VersionedTables:
    """Reads and writes the maps of one loaded tier; each tier says which.

    ``on_write`` is called before every write, with its name: the crash test ends the process in it.
    """

    arrays: ClassVar[tuple[str, ...]]
    """Arrays that are mapped."""
    hashes: ClassVar[Mapping[str, tuple[int, int]]]
    """Sizes of key and value, in bytes."""
    settings: ClassVar[str]
    """The array whose first word is the generation."""
    versioned: ClassVar[str]
    """The array of words and versions."""
    version_size: ClassVar[int]
    """Bytes of one version, a multiple of 8."""

    def __init__(
        self, maps: Mapping[str, Map[Any, Any]], *, on_write: Callable[[str], None] | None = None
    ) -> None:
        self.maps = maps
        self._on_write = on_write
        self._mappings = {name: maps[name].mmap() for name in self.arrays}  # type: ignore[attr-defined]
        self._views: dict[str, memoryview] = {
            name: mapping.buffer for name, mapping in self._mappings.items()
        }
        self._entry_size = 8 + 2 * self.version_size
        self._casts: list[memoryview] = []
        self._settings = self._as_words(self.settings)
        self._words = self._as_words(self.versioned)

    def close(self) -> None:
        """Unmap the arrays; the maps stay open."""
        while self._casts:
            self._casts.pop().release()
        for mapping in self._mappings.values():
            mapping.close()

    # --- the generation, and the versions -----------------------------------------------------------------------------

    @property
    def generation(self) -> int:
        """What a program reads once."""
        generation: int = self._settings[0]
        return generation

    def flip(self, generation: int) -> None:
        """Make every version of ``generation`` current, at once."""
        self._about("flip")
        self._order()
        self._settings[0] = generation

    def word(self, number: int) -> int:
        """generation << 1 | index of the newer version."""
        word: int = self._words[number * (self._entry_size // 8)]
        return word

    def version(self, number: int, index: int) -> bytes:
        """One of the two versions, as the kernel has it."""
        start = number * self._entry_size + 8 + index * self.version_size
        return bytes(self._views[self.versioned][start : start + self.version_size])

    def current(self, number: int) -> bytes:
        """The version that programs take now."""
        word = self.word(number)
        return self.version(number, (word & 1) ^ (word >> 1 > self.generation))

    def prepare(self, number: int, version: bytes) -> None:
        """Write the version that nobody reads."""
        self._about("version")
        index = (self.word(number) & 1) ^ 1
        start = number * self._entry_size + 8 + index * self.version_size
        view = self._views[self.versioned][start : start + self.version_size]
        if view != version:  # equal: somebody may be reading it still, and may go on
            view[:] = version

    def publish(self, number: int, since: int) -> None:
        """Make the prepared version the newer one, current from generation ``since`` on."""
        at = number * (self._entry_size // 8)
        self._about("word")
        if since <= self.generation:  # current at once; otherwise the flip orders all of them
            self._order()
        self._words[at] = since << 1 | (self._words[at] & 1) ^ 1

    def retract(self, number: int) -> None:
        """Make the older version current, for whatever generation a reader holds: the newer one never took effect."""
        at = number * (self._entry_size // 8)
        self._about("word")
        self._words[at] = (self._words[at] & 1) ^ 1

    def grace_period(self) -> None:
        """Return when no program can hold what was current before the call."""
        bpf.rcu_grace_period()

    # --- hashes -------------------------------------------------------------------------------------------------------

    def put(self, name: str, keys: Collection[bytes], values: Iterable[bytes]) -> None:
        """Insert or replace elements of a hash, in one batch where the kernel has that."""
        if keys:
            self._about(name)
            self.maps[name].update_batch_raw(b"".join(keys), b"".join(values))

    def delete(self, name: str, keys: Iterable[bytes]) -> None:
        """Delete elements of a hash; one that is gone already is no error."""
        for key in keys:
            self._about(name)
            with suppress(MapKeyError):
                self.maps[name].delete_raw(key)

    def elements(self, name: str) -> Iterator[tuple[bytes, bytes]]:
        """Every (key, value) of a hash."""
        key_size, value_size = self.hashes[name]
        keys, values = self.maps[name].lookup_batch_raw()
        for number in range(len(keys) // key_size):
            yield (
                bytes(keys[number * key_size : (number + 1) * key_size]),
                bytes(values[number * value_size : (number + 1) * value_size]),
            )

    def capacity(self, name: str) -> int:
        """How many elements the map holds."""
        return self.maps[name].max_entries

    # --- for the tiers ------------------------------------------------------------------------------------------------

    def _as_words(self, name: str) -> memoryview:
        """An array as 64-bit words, released at close()."""
        words = self._views[name].cast("Q")
        self._casts.append(words)
        return words

    def _about(self, what: str) -> None:
        if self._on_write:
            self._on_write(what)

    @staticmethod
    def _order() -> None:
        # A full barrier between the versions' bytes and their word or the generation, for machines weaker than x86-64:
        # sched_yield() takes the run queue's lock, and schedule() begins with smp_mb__after_spinlock().
        os.sched_yield()
