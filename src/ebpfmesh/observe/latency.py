"""Latencies as the kernel counts them: buckets with exact borders, and what can be said of quantiles from them.

Bucket 0 is below 1024 ns; then there are four to each power of two, each at most a quarter of its lower border wide;
the last one begins at 12.9 s and has no end (``bpf/include/ebpfmesh/measure/latency.h``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

import msgspec

from ebpfmesh.observe.wire import BUCKETS

_QUANTILES = (0.5, 0.9, 0.99, 0.999)


def lower(bucket: int) -> int:
    """The least latency in nanoseconds that is counted in ``bucket``."""
    return 0 if bucket == 0 else (4 + (bucket - 1) % 4) << (8 + (bucket - 1) // 4)


def upper(bucket: int) -> int | None:
    """The least latency in nanoseconds that is not counted in ``bucket`` any more; None: there is none."""
    return lower(bucket + 1) if bucket + 1 < BUCKETS else None


class Between(msgspec.Struct, frozen=True):
    """A latency in nanoseconds of which it is known that it is at least ``low`` and below ``high`` (None: no bound)."""

    low: int
    high: int | None

    @property
    def middle(self) -> float:
        """The estimate with the least error relative to it: at most 11 % off, from 1024 ns on; ``low`` without a bound."""
        if self.high is None:
            return float(self.low)
        return 2 * self.low * self.high / (self.low + self.high) if self.low else self.high / 2


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """A histogram: ``buckets`` as counted; quantiles are borders of buckets, nothing is guessed between them."""

    count: int
    total: int
    """The sum of all latencies, nanoseconds; exact."""
    p50: Between | None
    """None: nothing was counted. The request at this rank took so long, and so for the others."""
    p90: Between | None
    p99: Between | None
    p999: Between | None
    buckets: tuple[int, ...]

    @property
    def mean(self) -> float:
        """Nanoseconds; exact. 0 if nothing was counted."""
        return self.total / self.count if self.count else 0.0

    def quantile(self, q: float) -> Between | None:
        """The latency at rank ``ceil(q * count)``, for ``q`` from 0 to 1."""
        return _quantile(self.buckets, q)


def of(buckets: Sequence[int], total: int) -> Latency:
    """The histogram of counted ``buckets``; ``total`` is the sum of the latencies in nanoseconds."""
    p50, p90, p99, p999 = (_quantile(buckets, q) for q in _QUANTILES)
    return Latency(
        count=sum(buckets), total=total, p50=p50, p90=p90, p99=p99, p999=p999, buckets=tuple(buckets)
    )


def merged(parts: Sequence[Latency]) -> Latency:
    """All of them as one."""
    sums = [sum(column) for column in zip(*(part.buckets for part in parts), strict=True)]
    return of(sums or [0] * BUCKETS, sum(part.total for part in parts))


def _quantile(buckets: Sequence[int], q: float) -> Between | None:
    if not 0 <= q <= 1:
        raise ValueError(f"a quantile is between 0 and 1, not {q}")
    total = sum(buckets)
    if not total:
        return None
    rank = max(1, math.ceil(q * total))
    bucket = next(number for number, count in enumerate(accumulate(buckets)) if count >= rank)
    return Between(lower(bucket), upper(bucket))
