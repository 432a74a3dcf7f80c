"""Limits: how many requests a key may make."""

from __future__ import annotations

from ebpfmesh.policy import rate
from ebpfmesh.policy.rate import Rate
from ebpfmesh.policy.request_match import SourcedMatch

HEADER = "header:"
"""What a key that is a header's value begins with."""


class Limit(SourcedMatch, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One limit of a service: each request that matches takes from the allowance of its key, or is refused.

    The algorithm is GCRA: ``burst`` requests at once, and from then on one each time the rate allows one.
    """

    name: str
    """Unique among the rules, limits, faults and routes of the service."""
    rate: str
    """ "100/s", "5/m", "1000/h"."""
    burst: int | None = None
    """Requests that may come at once; None: the number in ``rate``."""
    key: str = "service"
    """Who has an allowance: "service" (all together), "client-address", "identity" (each workload), "header:NAME"."""
    reply: str | None = None
    """The name of the reply; None: 429. It carries Retry-After."""

    @property
    def per(self) -> Rate:
        """The parsed rate; ConfigError without a path if it is none."""
        return rate.parse(self.rate)

    @property
    def tokens(self) -> int:
        """``burst``, or what stands for it."""
        return self.per.requests if self.burst is None else self.burst

    @property
    def header(self) -> str | None:
        """The name of the header whose value is the key, in lower case; None for other keys."""
        return self.key.removeprefix(HEADER).lower() if self.key.startswith(HEADER) else None
