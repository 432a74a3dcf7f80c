"""What a scenario is asked for, and what it hands back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bench.bars import Bar


@dataclass(frozen=True)
class Settings:
    """How much to measure: `rounds` of `seconds` each; `quick` makes everything small, only to see that it runs."""

    rounds: int = 7
    seconds: float = 2.0
    quick: bool = False


@dataclass(frozen=True)
class Result:
    """`method` says in words what was done; `data` are the numbers, ready for JSON; `bars` what was promised."""

    method: str
    data: dict[str, Any]
    bars: list[Bar] = field(default_factory=list)


@dataclass(frozen=True)
class Scenario:
    """One file of scenarios/: its name, a title, the measurement, and a picture of the data (None: no picture)."""

    name: str
    title: str
    measure: Callable[[Settings], Result]
    draw: Callable[[Any, dict[str, Any]], None] | None = None
