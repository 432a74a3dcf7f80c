"""Who else uses the processors: measurements wait, within a bound, for a quiet moment, and say what disturbed them."""

from __future__ import annotations

import time
from pathlib import Path

_LOOK = 0.1  # seconds
_STEAL = 7  # of _ticks()


def busy(seconds: float = _LOOK) -> float:
    """The share of all processors that was in use during the next `seconds`, 0 to 1."""
    before = _ticks()
    time.sleep(seconds)
    after = _ticks()
    total = sum(after) - sum(before)
    idle = (after[3] + after[4]) - (before[3] + before[4])  # idle and iowait
    return 1 - idle / total if total else 0.0


class Stolen:
    """Watches from now on; when called, the share of all processors that the host has taken since."""

    def __init__(self) -> None:
        self._before = _ticks()

    def __call__(self) -> float:
        """0 to 1; 0 where no tick has passed."""
        spent = [after - before for before, after in zip(self._before, _ticks(), strict=True)]
        return spent[_STEAL] / sum(spent) if sum(spent) else 0.0


class Patience:
    """Waits for quiet, in all at most `seconds`; `found` collects how busy the machine was when it went on."""

    def __init__(self, seconds: float, limit: float = 0.15) -> None:
        self.left, self.limit = seconds, limit
        self.found: list[float] = []

    def wait(self) -> None:
        """Return when the machine is quiet, or when the patience is used up."""
        begin = time.monotonic()
        while (share := busy()) > self.limit and time.monotonic() - begin < self.left:
            pass
        self.left = max(0.0, self.left - (time.monotonic() - begin))
        self.found.append(round(share, 3))


def _ticks() -> list[int]:
    """user nice system idle iowait irq softirq steal, in ticks (proc(5); guest time is within user)."""
    return [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
