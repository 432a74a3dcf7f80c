"""The generic cell rate algorithm, as a virtual schedule, in whole nanoseconds.

It is the reference of ``limit/gcra.h``, which does the same by compare-and-swap. Source: ITU-T I.371, annex A.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

SECOND = 1_000_000_000


class Taken(NamedTuple):
    """What a request got, and what is kept of it."""

    admitted: bool
    due: int
    """The theoretical arrival time of the next request: the one word that is kept of a key. Unchanged by a refusal."""
    wait: int
    """Nanoseconds until a request would be admitted; 0 if this one was."""


@dataclass(frozen=True, slots=True)
class Gcra:
    """One request each ``interval`` nanoseconds, and up to ``burst`` nanoseconds ahead of that.

    A key is one number, the time at which the next request is due; 0 is a key that was never seen. Of a key that keeps
    asking, as many requests as the rate allows are admitted, and the burst once: in any time t at most
    ``(t + burst) // interval + 1``.

    Errors: ValueError if interval is not positive or burst negative.
    """

    interval: int
    burst: int

    def __post_init__(self) -> None:
        if self.interval < 1 or self.burst < 0:
            raise ValueError(f"an interval of {self.interval} ns and a burst of {self.burst} ns")

    @classmethod
    def of(cls, requests: int, seconds: int = 1, *, burst: int = 1) -> Gcra:
        """``requests`` in ``seconds``, of which ``burst`` may come at once.

        The interval is rounded up, so that never more than the rate is admitted; it is too slow by less than one part in
        ``interval``, at a million a second 0.1 %.
        """
        if requests < 1 or seconds < 1 or burst < 1:
            raise ValueError(f"{requests} requests in {seconds} s, {burst} at once")
        interval = -(-seconds * SECOND // requests)
        return cls(interval, (burst - 1) * interval)

    def take(self, due: int, now: int) -> Taken:
        """A request at ``now``, nanoseconds of a clock that never goes back."""
        ahead = max(due - now, 0)
        if ahead > self.burst:
            return Taken(False, due, ahead - self.burst)
        return Taken(True, now + ahead + self.interval, 0)

    def most(self, elapsed: int) -> int:
        """How many requests are admitted at most within so many nanoseconds, the ends included."""
        return (elapsed + self.burst) // self.interval + 1


def expired(due: int, now: int) -> bool:
    """Whether a key is as if it had never been seen: what is kept of it may be removed."""
    return due <= now
