"""What is told of single requests: denials always, others by sample and up to a rate."""

from __future__ import annotations

from typing import Annotated

import msgspec

from ebpfmesh.policy import rate
from ebpfmesh.policy.rate import Rate


class Log(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """Records of requests, for `ebpfmesh observe`. What a denial is answered with is told of each; the rest has a bound."""

    sample: Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)] = 0
    """One of so many allowed requests is told, drawn at random; 1: all, 0: none."""
    rate: str = "1000/s"
    """At most so many records that are no denials; what is beyond is counted."""
    burst: int | None = None
    """Of them at once; None: the number in ``rate``."""

    @property
    def per(self) -> Rate:
        """The parsed rate; ConfigError without a path if it is none."""
        return rate.parse(self.rate)

    @property
    def tokens(self) -> int:
        """``burst``, or what stands for it."""
        return self.per.requests if self.burst is None else self.burst
