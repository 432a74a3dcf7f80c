"""Where a request comes from, as rules ask for it: a workload by name, SPIFFE id or labels, a cgroup, an address range."""

from __future__ import annotations

import re
from typing import Any

import msgspec

_V4 = re.compile(r"[0-9]+(\.[0-9]+){3}")


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A kind of client: everything that is set has to hold; at least one thing is set."""

    workload: str | None = None
    """The name of a workload."""
    spiffe: str | None = None
    """A SPIFFE id, or the beginning of one with "*" behind it: "spiffe://example.org/ns/shop/*"."""
    labels: dict[str, str] | None = None
    """Labels that a workload has, all of them; it may have others."""
    cgroup: str | None = None
    """A cgroup, or one below it, whether or not it is a workload's; written as the cgroup of a `Workload`."""
    address: str | None = None
    """The client's address, "10.0.0.7", or a range, "10.0.0.0/8" or "fd00::/8"; needs a service with ``l7``."""

    @classmethod
    def of(cls, text: str) -> Source:
        """A source from its short form; see `fields_of`."""
        fields: dict[str, Any] = {**fields_of(text)}
        return cls(**fields)


def fields_of(text: str) -> dict[str, str]:
    """The short form of a source, by its look: "spiffe://…", "/a/cgroup", an address or range, else a workload's name."""
    if text.startswith("spiffe:"):
        return {"spiffe": text}
    if text.startswith("/"):
        return {"cgroup": text}
    if "/" in text or ":" in text or _V4.fullmatch(text):
        return {"address": text}
    return {"workload": text}


def read(value: Any) -> Any:
    """A source from its short form, or whatever else it is."""
    return Source.of(value) if isinstance(value, str) else value
