"""A rate as people write it, "100/s", "5/m", "1000/h", as the kernel takes it: nanoseconds a request."""

from __future__ import annotations

import re
from typing import NamedTuple

from ebpfmesh.errors import ConfigError

MOST = 1_000_000
"""Requests a second: above it, rounding to whole nanoseconds would be off by more than 0.1 %."""

_SECONDS = {"s": 1, "m": 60, "h": 3600}
_RATE = re.compile(r"([1-9][0-9]{0,11}) ?/ ?([smh])")
_REMEDY = 'write requests in a second, minute or hour: "100/s", "5/m", "1000/h"'


class Rate(NamedTuple):
    """So many requests in so many seconds."""

    requests: int
    seconds: int

    @property
    def interval(self) -> int:
        """Nanoseconds from one request to the next; rounded up, so that never more than the rate is admitted."""
        return -(-self.seconds * 1_000_000_000 // self.requests)


def parse(text: str) -> Rate:
    """Read a rate; ConfigError without a path if it is none, or too high to be kept exactly."""
    match = _RATE.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"{text!r} is no rate", remedy=_REMEDY)
    rate = Rate(int(match[1]), _SECONDS[match[2]])
    if rate.requests > MOST * rate.seconds:
        raise ConfigError(f"{text!r} is more than can be limited", remedy=f"at most {MOST}/s")
    return rate
