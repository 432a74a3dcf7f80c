"""``weighted-random``: each pick for itself, by weight, in constant time (Walker's alias method).

Source: M. D. Vose, "A linear algorithm for generating random numbers with a given distribution",
IEEE Transactions on Software Engineering 17(9), 1991.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from ebpfmesh.engine.balance.apportion import apportion
from ebpfmesh.engine.balance.table import ALIAS_COLUMN, Pick, Table, Target, empty

FULL = 1 << 16
"""The units of probability of one column: thresholds are 16 bits."""


class WeightedRandom:
    """One alias column a backend; the probability of each is its share of the weights, to 1/65536 of a column."""

    name = "weighted-random"

    def build(self, targets: Sequence[Target], previous: Table | None, *, size: int | None) -> Table:
        """One column per target with a weight above 0, in order of id; ``previous`` and ``size`` are not used."""
        del previous, size
        active = sorted([target for target in targets if target[1]])
        if not active:
            return empty()
        ids = [target[0] for target in active]
        slots = array("H")
        for id_, (alias, threshold) in zip(ids, columns([target[1] for target in active]), strict=True):
            slots.extend((id_, ids[alias], threshold, 0))
        return Table(slots, Pick.ALIAS, len(ids))

    def slots(self, weights: Sequence[int], size: int | None) -> int:
        """How many 16-bit words `build` makes for these weights."""
        del size
        return ALIAS_COLUMN * (len(weights) - weights.count(0))

    def refuse(self, weights: Sequence[int], size: int | None) -> str | None:
        """Why a table of ``size`` cannot be made, or None."""
        del weights
        return None if size is None else "weighted-random has one column a backend and takes no table size"


def columns(weights: Sequence[int]) -> list[tuple[int, int]]:
    """The (alias index, threshold in 1/65536) of each column, for positive weights of at most 65535.

    The weights are first apportioned to ``len(weights) * 65536`` units, so everything after that is exact in
    integers. The unit is small enough that no positive weight is rounded away.
    """
    units = apportion(len(weights) * FULL, weights)
    # A column that is its own alias is picked whatever its threshold is: a full column needs no 65536.
    result = [(index, 0) for index in range(len(weights))]
    small = [index for index, unit in enumerate(units) if unit < FULL]
    large = [index for index, unit in enumerate(units) if unit > FULL]
    while small:
        poor, rich = small.pop(), large[-1]
        result[poor] = (rich, units[poor])
        units[rich] -= FULL - units[poor]
        if units[rich] <= FULL:
            large.pop()
            if units[rich] < FULL:
                small.append(rich)
    return result
