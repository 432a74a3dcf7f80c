"""How the requests of a service are treated, apart from its rules."""

from __future__ import annotations

from typing import Literal

import msgspec


class Http(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The ``[services.http]`` of a service with ``l7``; everything has a default."""

    undecodable: Literal["refuse", "pass", "proxy"] = "refuse"
    """Traffic that cannot be followed: refused, passed on as opaque TCP, or handed to a proxy (not built yet)."""
    on_error: Literal["fail_closed", "fail_open"] = "fail_closed"
    """What happens to a request when a look-up in the kernel fails."""
    unjudged: Literal["fail_closed", "fail_open"] = "fail_closed"
    """What happens to bytes that no program could judge: enrolment failed, or they were sent before it."""
    denied_midway: Literal["reply", "drop"] = "reply"
    """A denied request of whose head a part was forwarded: a reply and the connection's end, or EACCES."""
    denied_behind: Literal["drop", "reply"] = "drop"
    """A denied request behind others that are not answered yet: EACCES, or a reply after theirs."""
    trace: bool = False
    """Whether traceparent is continued where it came, and injected where it did not."""
    sample: float = 1.0
    """0 to 1: the share of the traces that begin here which are sampled."""
    set_headers: dict[str, str] = {}
    """Headers that every request is given."""
    path_parameters: Literal["refuse", "keep"] = "refuse"
    """A ";" in a path: refused, or a character as others."""
    default_reply: str | None = None
    """The name of the reply to what is denied and names no other; None: 403."""
    bad_path_reply: str | None = None
    """… whose path cannot be normalised; None: 400."""
    undecodable_reply: str | None = None
    """… that cannot be followed; None: 400."""
