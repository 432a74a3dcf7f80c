"""``weighted-round-robin``: a schedule in which each backend has turns by weight, spread out and not in bursts."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from fractions import Fraction
from math import gcd
from operator import add

from ebpfmesh.engine.balance.apportion import apportion
from ebpfmesh.engine.balance.table import Pick, Table, Target, empty

LONGEST = 4096
"""Turns of the longest schedule; with more than 1,024 backends four a backend. Longer ones are rounded to it."""

_STEPS = 8_000_000
"""Turns times backends up to which the smooth order is computed; each step takes some 30 ns."""


class WeightedRoundRobin:
    """The smooth weighted round robin of nginx, written out as a schedule.

    The schedule has sum(weights)/gcd(weights) turns when that is at most 4096, and then it is exact; else the weights
    are apportioned to 4096 turns by the largest remainder, and `rounding_error` says what that costs.
    """

    name = "weighted-round-robin"

    def build(self, targets: Sequence[Target], previous: Table | None, *, size: int | None) -> Table:
        """The schedule for the targets with a weight above 0, in order of id; ``previous`` and ``size`` are not used."""
        del previous, size
        active = sorted([target for target in targets if target[1]])
        if not active:
            return empty()
        ids = [target[0] for target in active]
        order = schedule(turns([target[1] for target in active]))
        return Table(array("H", map(ids.__getitem__, order)), Pick.TURN, len(order))

    def slots(self, weights: Sequence[int], size: int | None) -> int:
        """How many 16-bit words `build` makes for these weights."""
        del size
        return sum(turns([weight for weight in weights if weight]))

    def refuse(self, weights: Sequence[int], size: int | None) -> str | None:
        """Why a table of ``size`` cannot be made, or None."""
        del weights
        return (
            None
            if size is None
            else "weighted-round-robin derives its length from the weights and takes no table size"
        )

    def notice(self, weights: Sequence[int], size: int | None) -> str | None:
        """What an operator should know about these weights, or None."""
        del size
        positive = [weight for weight in weights if weight]
        error = rounding_error(positive)
        if not error:
            return None
        given = turns(positive)
        silent = f"; {given.count(0)} backends get no turn at all" if 0 in given else ""
        return (
            f"the weights are rounded to {sum(given)} turns: a backend's share is off by up to "
            f"{float(error) * 100:.2g} % of its own{silent}"
        )


def turns(weights: Sequence[int]) -> list[int]:
    """How many turns of the schedule each positive weight gets."""
    divisor = gcd(*weights)
    if divisor > 1:
        weights = [weight // divisor for weight in weights]
    longest = max(LONGEST, min(4 * len(weights), 1 << 16))
    return list(weights) if sum(weights) <= longest else apportion(longest, weights)


def rounding_error(weights: Sequence[int]) -> Fraction:
    """The largest relative error of a share in the schedule: 0 when it is exact, 1 when a backend gets no turn."""
    given = turns(weights)
    total, weight_sum = sum(given), sum(weights)
    return max(
        (
            abs(Fraction(turn * weight_sum, total * weight) - 1)
            for turn, weight in zip(given, weights, strict=True)
        ),
        default=Fraction(0),
    )


def schedule(counts: Sequence[int]) -> list[int]:
    """The indices of ``counts`` in smooth order: index i occurs counts[i] times.

    In each turn every index gains its count, the one that has most is taken and pays the sum of all counts.
    """
    total, number = sum(counts), len(counts)
    if total == number and 0 not in counts:
        return list(range(number))
    if total * number > _STEPS:
        return _spread(counts)
    gained, order = list(counts), []
    for _ in range(total):
        best = gained.index(max(gained))
        order.append(best)
        gained[best] -= total
        gained = list(map(add, gained, counts))
    return order


def _spread(counts: Sequence[int]) -> list[int]:
    # Thousands of backends: each one's turns at even distances, merged. Backends of equal weight begin one after the
    # other, so that their turns do not fall together.
    total, number = sum(counts), len(counts)
    moments = [
        ((turn * number + index) * total // count, index)
        for index, count in enumerate(counts)
        for turn in range(count)
    ]
    return [index for _, index in sorted(moments)]
