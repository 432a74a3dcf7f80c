"""Numbers for services, frontends and counters: the smallest free one, within a capacity."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush

from ebpfmesh.errors import CapacityError


class Ids:
    """Gives out the smallest number from ``first`` below ``capacity`` that is not in use."""

    def __init__(self, what: str, capacity: int, *, first: int = 0, used: Iterable[int] = ()) -> None:
        taken = set(used)
        self.what, self.capacity, self.first = what, capacity, first
        self._next = max(taken, default=first - 1) + 1
        self._free = [number for number in range(first, self._next) if number not in taken]

    def take(self) -> int:
        """A free number. CapacityError, naming what ran out, if there is none."""
        if self._free:
            return heappop(self._free)
        if self._next >= self.capacity:
            raise CapacityError(
                f"all {self.capacity - self.first} {self.what} are in use",
                remedy=f"set [capacity] {self.what} higher; it takes effect after `ebpfmesh stop` and `ebpfmesh run`",
            )
        self._next += 1
        return self._next - 1

    def take_many(self, count: int) -> list[int]:
        """``count`` free numbers, as `take` would give them one by one; CapacityError without taking any."""
        if count > self.available or self._free:
            taken: list[int] = []
            try:
                taken += (self.take() for _ in range(count))
            except CapacityError:
                for number in taken:
                    self.give_back(number)
                raise
            return taken
        self._next += count
        return list(range(self._next - count, self._next))

    def give_back(self, number: int) -> None:
        """The number is free again."""
        heappush(self._free, number)

    @property
    def available(self) -> int:
        """How many can still be taken."""
        return len(self._free) + self.capacity - self._next
