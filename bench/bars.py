"""What was promised, and whether it holds: results/bars.json, which also keeps the bars that do not hold."""

from __future__ import annotations

import json
import operator
from dataclasses import asdict, dataclass
from pathlib import Path

_COMPARE = {"<": operator.lt, "<=": operator.le, ">=": operator.ge}


@dataclass(frozen=True)
class Bar:
    """One promise: `value` was measured, `bar` is "<= 80" or ">= 0.97" in the same `unit`."""

    name: str
    value: float
    unit: str
    bar: str
    holds: bool

    @classmethod
    def of(cls, name: str, value: float, unit: str, relation: str, limit: float) -> Bar:
        """Compare the unrounded value: rounding must never turn a miss into a hit."""
        holds = bool(_COMPARE[relation](value, limit))
        return cls(name, float(f"{value:.6g}"), unit, f"{relation} {limit:g}", holds)


def merge(path: Path, new: list[Bar]) -> list[Bar]:
    """Write `new` into the list at `path`: bars of scenarios that did not run now keep their last value.

    A bar keeps its place in the list; a bar that does not hold stays in it.
    """
    old = [Bar(**entry) for entry in json.loads(path.read_text())] if path.exists() else []
    by_name = {bar.name: bar for bar in old} | {bar.name: bar for bar in new}
    merged = list(by_name.values())
    path.write_text(json.dumps([asdict(bar) for bar in merged], indent=1) + "\n")
    return merged


def text(bars: list[Bar]) -> str:
    """The bars as lines for a terminal."""
    if not bars:
        return "no bars"
    width = max(len(bar.name) for bar in bars)
    return "\n".join(
        f"{'holds ' if bar.holds else 'MISSED'}  {bar.name:<{width}}  {bar.value:g} {bar.unit} (bar {bar.bar})"
        for bar in bars
    )
