"""Interleaved rounds: A B C A B C …, and each round's ratio to the baseline of the same round.

A machine's speed drifts (frequency, neighbours, temperature). Two long runs, one after the other, measure the drift
too; ratios taken within one round mostly do not. The figure of a comparison is the median of those ratios.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

Sample = TypeVar("Sample")  # Python 3.11 has no `def f[T]()`


@dataclass(frozen=True)
class Spread:
    """The median of some values, their quartiles, the lowest and the highest, and how many there were."""

    median: float
    low: float
    quartile1: float
    quartile3: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of at least one value."""
        if not values:
            raise ValueError("no values to summarise")
        ordered = sorted(values)
        if len(ordered) == 1:
            return cls(ordered[0], ordered[0], ordered[0], ordered[0], ordered[0], 1)
        first, middle, third = statistics.quantiles(ordered, n=4, method="inclusive")
        return cls(middle, ordered[0], first, third, ordered[-1], len(ordered))

    def json(self, digits: int = 4) -> dict[str, float]:
        """The spread as a JSON object, rounded."""
        return {name: round(value, digits) for name, value in asdict(self).items()}


def interleave(
    variants: Mapping[str, Callable[[], Sample]],
    rounds: int,
    report: Callable[[int, str, Sample], None] = lambda *_: None,
) -> dict[str, list[Sample]]:
    """Call every variant once per round, in the same order, and return the samples of each by name."""
    samples: dict[str, list[Sample]] = {name: [] for name in variants}
    for number in range(rounds):
        for name, measure in variants.items():
            sample = measure()
            samples[name].append(sample)
            report(number, name, sample)
    return samples


def ratios(values: Sequence[float], baseline: Sequence[float]) -> list[float]:
    """Round by round, `values` divided by the `baseline` of the same round."""
    if len(values) != len(baseline):
        raise ValueError(f"{len(values)} values against a baseline of {len(baseline)}: rounds do not match")
    return [value / base for value, base in zip(values, baseline, strict=True)]
