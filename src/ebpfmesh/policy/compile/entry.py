"""What a service has in its lists: rules, routes, limits and faults, in the order in which the kernel looks at them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ebpfmesh.errors import ConfigError, EbpfMeshError
from ebpfmesh.policy import path
from ebpfmesh.policy.compile.condition import ANYTHING, Part, parts
from ebpfmesh.policy.compile.field import Fields
from ebpfmesh.policy.fault import Fault
from ebpfmesh.policy.limit import Limit
from ebpfmesh.policy.path import Pattern
from ebpfmesh.policy.request_match import RequestMatch
from ebpfmesh.policy.route import Route
from ebpfmesh.policy.rule import Rule
from ebpfmesh.policy.source import Source
from ebpfmesh.policy.wire import Action

if TYPE_CHECKING:
    from ebpfmesh.policy.model import Service

Named = Rule | Limit | Fault | Route

_RULES = {"deny": Action.DENY, "allow": Action.ALLOW, "audit": Action.AUDIT}


@dataclass(frozen=True, slots=True)
class Entry:
    """One of them, taken apart."""

    model: Named
    action: Action
    where: str
    parts: tuple[Part, ...]
    patterns: tuple[Pattern, ...] | None
    """None: it asks for no path."""
    sources: tuple[Source, ...] | None
    port: int | None

    @property
    def name(self) -> str:
        """Unique in the service."""
        return self.model.name


def entries(service: Service, fields: Fields | None, where: str) -> list[Entry]:
    """All of a service, sorted by action; headers that they ask for are registered in ``fields``, None without ``l7``.

    CapacityError and ConfigError, with the path of the field.
    """
    found = [_entry(one, action, fields, place) for one, action, place in _all(service, where)]
    return sorted(found, key=lambda entry: entry.action)  # stable: within an action as they are written


def _all(service: Service, where: str) -> Iterator[tuple[Named, Action, str]]:
    for number, rule in enumerate(service.rules):
        yield rule, _RULES[rule.action], f"{where}.rules[{number}]"
    for number, route in enumerate(service.routes):
        yield route, Action.ROUTE, f"{where}.routes[{number}]"
    for number, limit in enumerate(service.limits):
        yield limit, Action.LIMIT, f"{where}.limits[{number}]"
    for number, fault in enumerate(service.faults):
        yield fault, Action.FAULT, f"{where}.faults[{number}]"


def _entry(one: Named, action: Action, fields: Fields | None, where: str) -> Entry:
    if fields is None and (one.asks_request or not isinstance(one, Rule)):
        raise ConfigError(
            f"{one.name!r} is about requests, and the service has no l7: only connections are seen of it",
            where=where,
            remedy='set l7 = "http1", "http2" or "grpc"',
        )
    return Entry(
        one,
        action,
        where,
        ANYTHING if fields is None else parts(one, fields, where),
        _patterns(one, where),
        None if isinstance(one, Route) else one.sources,
        one.port if isinstance(one, Rule) else None,
    )


def _patterns(match: RequestMatch, where: str) -> tuple[Pattern, ...] | None:
    if match.grpc is not None and match.paths is not None:
        raise ConfigError(
            "it has both grpc and paths", where=where, remedy="gRPC methods are paths: leave out one"
        )
    if match.grpc is not None:
        return tuple(
            [_pattern(call.path, f"{where}.grpc[{number}]") for number, call in enumerate(match.grpc)]
        )
    if match.paths is not None:
        return tuple([_pattern(text, f"{where}.paths[{number}]") for number, text in enumerate(match.paths)])
    return None


def _pattern(text: str, where: str) -> Pattern:
    try:
        return path.parse(text)
    except EbpfMeshError as error:
        raise type(error)(error.what, where=where, remedy=error.remedy) from None
