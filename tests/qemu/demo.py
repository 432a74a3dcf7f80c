"""The demo on an emulated machine: the same acts, with more patience.

Every instruction is emulated, so an agent that starts in half a second here needs ten there. What is waited for gets
longer; what is found out (programs attached, requests failed, who answered) is judged as ever, except for the time of
the slowest request, which would judge the emulator.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

import demo
from demo_parts.stage import Agent

PATIENCE = 20.0
ACTS_LAST = 8.0  # times as long, so that the clients, slow to start, are at work during each
_wait_for, _found, _watch = Agent.wait_for, demo.Demo.found, demo.Demo.watch


def wait_for(self: Agent, word: str, after: int = 0, timeout: float = 10.0) -> None:
    """`Agent.wait_for`, PATIENCE times as long."""
    _wait_for(self, word, after, timeout * PATIENCE)


def found(self: demo.Demo, name: str, value: float, text: str, holds: bool) -> None:
    """`Demo.found`; the slowest request is told, and not judged."""
    _found(self, name, value, text, holds or name == "slowest")


def watch(self: demo.Demo, status: str, seconds: float, removed: str | None = None) -> int:
    """`Demo.watch`, ACTS_LAST times as long."""
    return _watch(self, status, seconds * ACTS_LAST, removed)


if __name__ == "__main__":
    Agent.wait_for = wait_for  # type: ignore[method-assign]
    demo.Demo.found, demo.Demo.watch = found, watch  # type: ignore[method-assign]
    sys.exit(demo.main())
