"""Routes: names for kinds of requests, under which they are counted."""

from __future__ import annotations

from ebpfmesh.policy.request_match import RequestMatch


class Route(RequestMatch, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One route of a service; a request is counted under the first that matches."""

    name: str
    """Unique among the rules, limits, faults and routes of the service."""
