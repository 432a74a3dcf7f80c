"""``round-robin``: one backend after the other, in order of id."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from ebpfmesh.engine.balance.table import Pick, Table, Target, empty


class RoundRobin:
    """One slot a backend, in turn; weights only say who takes part (0 does not)."""

    name = "round-robin"

    def build(self, targets: Sequence[Target], previous: Table | None, *, size: int | None) -> Table:
        """The ids of the targets that take connections, in order of id; ``previous`` and ``size`` are not used.

        The order is that of the ids and not of the targets: backends listed in another order keep their turns.
        """
        del previous, size
        ids = sorted([target[0] for target in targets if target[1]])
        return Table(array("H", ids), Pick.TURN, len(ids)) if ids else empty()

    def slots(self, weights: Sequence[int], size: int | None) -> int:
        """How many 16-bit words `build` makes for these weights."""
        del size
        return len(weights) - weights.count(0)

    def refuse(self, weights: Sequence[int], size: int | None) -> str | None:
        """Why a table of ``size`` cannot be made, or None."""
        del weights
        return None if size is None else "round-robin has one slot a backend and takes no table size"
