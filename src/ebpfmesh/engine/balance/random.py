"""``random``: every backend with a weight above 0 is equally likely, each pick for itself."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from ebpfmesh.engine.balance.table import Pick, Table, Target, empty


class Random:
    """One slot a backend, any slot uniformly; weights only say who takes part (0 does not)."""

    name = "random"

    def build(self, targets: Sequence[Target], previous: Table | None, *, size: int | None) -> Table:
        """The ids of the targets that take connections, in order of id; ``previous`` and ``size`` are not used."""
        del previous, size
        ids = sorted([target[0] for target in targets if target[1]])
        return Table(array("H", ids), Pick.RANDOM, len(ids)) if ids else empty()

    def slots(self, weights: Sequence[int], size: int | None) -> int:
        """How many 16-bit words `build` makes for these weights."""
        del size
        return len(weights) - weights.count(0)

    def refuse(self, weights: Sequence[int], size: int | None) -> str | None:
        """Why a table of ``size`` cannot be made, or None."""
        del weights
        return None if size is None else "random has one slot a backend and takes no table size"
