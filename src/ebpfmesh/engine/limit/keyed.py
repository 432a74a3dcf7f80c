"""Limits by key, with room for so many keys: the reference of ``limit/bucket.h``."""

from __future__ import annotations

from collections.abc import Hashable

from ebpfmesh.engine.limit.gcra import Gcra, Taken, expired


class Keyed:
    """One limit of many keys, of which ``room`` are told apart.

    A key that finds no room shares one bucket with all others that find none: it may be refused where it would have been
    admitted by itself, and never the other way round. What is kept of a key is removed by `sweep` alone.

    ``overflowed`` counts requests of keys without room.
    """

    def __init__(self, limit: Gcra, *, room: int) -> None:
        self.limit, self.room = limit, room
        self.overflowed = 0
        self._due: dict[Hashable, int] = {}
        self._full = 0

    def take(self, key: Hashable, now: int) -> Taken:
        """A request of ``key`` at ``now``, in nanoseconds."""
        if key not in self._due and len(self._due) >= self.room:
            self.overflowed += 1
            taken = self.limit.take(self._full, now)
            self._full = taken.due
            return taken
        taken = self.limit.take(self._due.get(key, 0), now)
        self._due[key] = taken.due
        return taken

    def sweep(self, now: int) -> int:
        """Forget the keys whose time has passed; how many they were."""
        gone = [key for key, due in self._due.items() if expired(due, now)]
        for key in gone:
            del self._due[key]
        return len(gone)
