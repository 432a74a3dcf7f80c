"""Faults: a share of the requests answered in place of the service, to see what its clients make of it."""

from __future__ import annotations

from ebpfmesh.policy.request_match import SourcedMatch


class Fault(SourcedMatch, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One fault of a service."""

    name: str
    """Unique among the rules, limits, faults and routes of the service."""
    percentage: float
    """Above 0, up to 100: of the requests that match, how many."""
    status: int | None = None
    """The status of the answer; None: 503, or that of ``reply``."""
    reply: str | None = None
    """The name of a reply, in place of ``status``."""
