"""Loads in turn, each after a quiet moment; of the rounds, those in which the machine was left alone.

A virtual machine's host takes processors away (the steal time of proc(5)): on some machines a quarter of them for seconds
at a time, and not from every load of a round alike. Such a round measures the host. So a round counts only if little was
stolen in each of its runs; another is run in its place, up to a bound; then those with the least are taken. What was
measured has no say in which rounds count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from bench.quiet import Patience, Stolen
from bench.rounds import Spread

MOST_STOLEN = 0.02
"""Share of the processors that the host may take during a run."""

ROUNDS_IN_ALL = 3
"""Times as many rounds are run at most as are asked for."""

METHOD = (
    f"A round in which the host took more than {MOST_STOLEN:.0%} of the processors during a run (steal time) is run again, "
    f"at most {ROUNDS_IN_ALL} times as many rounds in all; `stolen` is that share in the rounds that count, `rounds_run` "
    "how many there were. busy_before is the share of the processors that others used just before a run."
)

Sample = TypeVar("Sample")


@dataclass(frozen=True)
class Turns(Generic[Sample]):
    """The samples by variant, of the rounds that count, and how much the machine was disturbed."""

    samples: dict[str, list[Sample]]
    busy: list[float]
    stolen: list[float]
    rounds_run: int

    def json(self) -> dict[str, Any]:
        """What is told of the disturbance."""
        return {
            "busy_before": Spread.of(self.busy).json(),
            "stolen": Spread.of(self.stolen).json(),
            "rounds_run": self.rounds_run,
        }


def take(
    variants: Mapping[str, Callable[[], Sample]],
    rounds: int,
    patience: Patience,
    report: Callable[[int, str, Sample], None] = lambda *_: None,
    stolen: Callable[[], Callable[[], float]] = Stolen,
) -> Turns[Sample]:
    """Run every variant once per round until ``rounds`` of them count; ``stolen`` starts to watch and is then asked."""
    found: list[tuple[float, dict[str, Sample]]] = []
    while len(found) < rounds * ROUNDS_IN_ALL and sum(share <= MOST_STOLEN for share, _ in found) < rounds:
        worst, samples = 0.0, {}
        for name, measure in variants.items():
            patience.wait()
            watch = stolen()
            samples[name] = measure()
            worst = max(worst, watch())
            report(len(found), name, samples[name])
        found.append((round(worst, 4), samples))
    bound = max(MOST_STOLEN, sorted(share for share, _ in found)[rounds - 1])
    kept = [one for one in found if one[0] <= bound][:rounds]
    return Turns(
        {name: [samples[name] for _, samples in kept] for name in variants},
        patience.found,
        [share for share, _ in kept],
        len(found),
    )
