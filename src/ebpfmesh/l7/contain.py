"""What a parser of somebody else may do to us: nothing. Faults are named, time is measured, too much disables it.

Nothing can interrupt Python or C in this process: a call that never returns is not contained.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

FORGIVEN_AFTER = 1000
"""Good calls that make up for one fault or overrun: a parser that rarely fails stays; one that fails often does not."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a parser is allowed before it is disabled."""

    faults: int = 5
    """Calls that raised or broke the contract."""
    overruns: int = 10
    """Calls that took longer than `budget`."""
    budget: float = 0.01
    """Seconds for a call, and for each 64 KiB that it is shown; by `spent`."""


def spent() -> float:
    """Seconds of this thread's processor time, and a tenth of all that passed.

    A parser that waits is slow too; one that others keep from running, on a busy machine, is hardly to blame.
    """
    return time.thread_time() + time.perf_counter() / 10


class Watch:
    """Counts what one parser does, over all of its connections, and says when it is enough. Safe among threads."""

    def __init__(self, parser: str, limits: Limits | None = None, clock: Callable[[], float] = spent) -> None:
        self.parser, self.limits, self.clock = parser, limits or Limits(), clock
        self.calls = self.faults = self.overruns = 0
        self.slowest = 0.0
        self.disabled: str | None = None
        """Why, in words; None while it works."""
        self._held = {"faults": 0.0, "overruns": 0.0}  # what is not forgiven yet
        self._lock = threading.Lock()

    def ran(self, since: float, length: int) -> None:
        """A call that began at ``since`` (of `clock`) and was shown ``length`` bytes has returned."""
        took = self.clock() - since
        with self._lock:
            self.calls += 1
            self.slowest = max(self.slowest, took)
            budget = self.limits.budget * max(1, math.ceil(length / 65536))
            if took <= budget:
                for name, held in self._held.items():
                    self._held[name] = max(0.0, held - 1 / FORGIVEN_AFTER)
                return
            self.overruns += 1
            enough = self._enough("overruns", self.limits.overruns)
        _log().warning("parser took too long", parser=self.parser, seconds=round(took, 6), budget=budget)
        if enough:
            self.disable(f"{self.overruns} calls took longer than {self.limits.budget * 1000:g} ms")

    def failed(self, what: str) -> None:
        """A call raised, or broke the contract: ``what`` says how."""
        with self._lock:
            self.calls += 1
            self.faults += 1
            enough = self._enough("faults", self.limits.faults)
        _log().warning("parser is at fault", parser=self.parser, what=what)
        if enough:
            self.disable(f"{self.faults} faults, the last: {what}")

    def disable(self, reason: str) -> None:
        """Ask nothing of it any more."""
        with self._lock:
            if self.disabled is not None:
                return
            self.disabled = reason
        _log().error("parser disabled", parser=self.parser, reason=reason)

    def _enough(self, name: str, limit: int) -> bool:
        self._held[name] += 1
        return self._held[name] > limit - 0.5


def words(error: BaseException) -> str:
    """An exception in one line."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # its __str__ is somebody else's too
        text = "(it cannot be printed)"
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


def _log() -> FilteringBoundLogger:
    import structlog

    return structlog.get_logger("ebpfmesh.l7")  # type: ignore[no-any-return]
