"""Places for slot tables in one array: first fit, neighbours merged when a place is given back.

One array, written through a mapping of it, replaces a map per table: a swap is then a copy and one word, where a
swap of an inner map waits for an RCU grace period (8 to 16 ms measured).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from ebpfmesh.errors import CapacityError


class Extents:
    """Gives out runs of elements of an array of ``capacity`` elements."""

    def __init__(self, capacity: int, *, used: Iterable[tuple[int, int]] = ()) -> None:
        self.capacity = capacity
        self._starts: list[int] = []
        self._lengths: dict[int, int] = {}
        position = 0
        for start, length in sorted(set(used)):
            if start > position:
                self._insert(position, start - position)
            position = max(position, start + length)
        if position < capacity:
            self._insert(position, capacity - position)

    def take(self, length: int) -> int:
        """The first element of a free run of ``length`` elements. CapacityError if there is none."""
        for index, start in enumerate(self._starts):
            available = self._lengths[start]
            if available >= length:
                del self._starts[index], self._lengths[start]
                if available > length:
                    self._starts.insert(index, start + length)
                    self._lengths[start + length] = available - length
                return start
        raise CapacityError(
            f"no room for a table of {length * 4} slots: {self.available * 4} of {self.capacity * 4} are free",
            remedy="set [capacity] slots higher; it takes effect after `ebpfmesh stop` and `ebpfmesh run`",
        )

    def give_back(self, start: int, length: int) -> None:
        """The run is free again; it is merged with its free neighbours."""
        index = bisect_left(self._starts, start)
        if index < len(self._starts) and self._starts[index] == start + length:
            length += self._lengths.pop(self._starts.pop(index))
        if index and self._starts[index - 1] + self._lengths[self._starts[index - 1]] == start:
            self._lengths[self._starts[index - 1]] += length
            return
        self._starts.insert(index, start)
        self._lengths[start] = length

    @property
    def available(self) -> int:
        """Free elements, not necessarily in one run."""
        return sum(self._lengths.values())

    def _insert(self, start: int, length: int) -> None:
        self._starts.append(start)
        self._lengths[start] = length
