"""The demo on an emulated machine: the same acts, with more patience.

Every instruction is emulated, so an agent that starts in half a second here needs ten there. What is waited for gets
longer; what is found out (programs attached, requests failed, who answered) is judged as ever, except for the time of
the slowest request, which would judge the emulator.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

import demo
from demo_parts import stage
from demo_parts.account import Account
from demo_parts.balancing import Balancing
from demo_parts.program import Program

PATIENCE = 20.0
ACTS_LAST = 8.0  # times as long, so that the clients, slow to start, are at work during each
_until, _found, _watch = Program.until, Account.found, Balancing.watch


def until(
    self: Program, enough: Callable[[list[str]], Any], after: int = 0, timeout: float = 3.0
) -> list[str]:
    """`Program.until`, PATIENCE times as long."""
    return _until(self, enough, after, timeout * PATIENCE)


def found(self: Account, name: str, value: float, text: str, holds: bool) -> None:
    """`Account.found`; the slowest request is told, and not judged."""
    _found(self, name, value, text, holds or name == "slowest")


def watch(self: Balancing, status: str, seconds: float, removed: str | None = None) -> int:
    """`Balancing.watch`, ACTS_LAST times as long."""
    return _watch(self, status, seconds * ACTS_LAST, removed)


if __name__ == "__main__":
    Program.until = until  # type: ignore[method-assign]
    stage.PATIENCE *= PATIENCE
    Account.found, Balancing.watch = found, watch  # type: ignore[method-assign]
    sys.exit(demo.main())
