"""Authorisation: what a service allows, denies, or has noted."""

from __future__ import annotations

from typing import Literal

from ebpfmesh.policy.request_match import SourcedMatch

Action = Literal["allow", "deny", "audit"]


class Rule(SourcedMatch, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One rule of a service. Any denial that matches denies; a service with an allowing rule denies what none allows."""

    name: str
    """Unique among the rules, limits, faults and routes of the service."""
    action: Action
    """``audit`` decides nothing: requests that match are logged."""
    port: int | None = None
    """One of the service's ports, for services that have several; None: all of them."""
    on_error: Literal["fail_closed", "fail_open"] = "fail_closed"
    """What holds where a condition cannot be told, the header being repeated or cut: the worse for the request
    (a denial matches, an allowance does not), or the better."""
    reply: str | None = None
    """The name of the reply to what is denied; None: the service's."""
