"""The policies of one service before they have numbers: which list of entries a request of a class and path leads to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ebpfmesh.errors import CapacityError
from ebpfmesh.policy.compile.entry import Entry, entries
from ebpfmesh.policy.compile.field import Fields
from ebpfmesh.policy.compile.source import Classes, classes
from ebpfmesh.policy.compile.walk import Segments, State, Trie, Walks, shown
from ebpfmesh.policy.wire import RULES_IN_LIST

if TYPE_CHECKING:
    from ebpfmesh.policy.model import Config, Service

EXACT_IN_WALK = 64
"""Nodes that exact paths may add to a walk; more of them, or paths with nothing else to walk for, are looked up whole."""

_NAMED = 40  # rules in a message

Members = tuple[int, ...]
"""Numbers of entries, in order."""


class PolicyDraft(NamedTuple):
    """The rules for one class of clients; lists and states by their numbers in the draft."""

    root: int
    """0: no entry of it asks for a path."""
    list: int
    """For requests without a path."""
    exact: dict[bytes, int]
    """Normalised path -> list."""


@dataclass(frozen=True, slots=True)
class ServiceDraft:
    """One service."""

    entries: list[Entry]
    fields: Fields | None
    """None: it has no ``l7``."""
    limit_fields: dict[str, int]
    """Of limits by a header: its field."""
    classes: Classes
    policies: dict[frozenset[int], PolicyDraft]
    """By the entries that can match."""
    lists: list[Members]
    """List 1 is the first; 0 is the empty one."""
    states: list[State]
    """State 1 is the first."""

    @property
    def has_paths(self) -> bool:
        """Whether anything asks for a path."""
        return any(entry.patterns is not None for entry in self.entries)


def work_out(service: Service, config: Config, where: str) -> ServiceDraft:
    """Work out the policies of a service. CapacityError and ConfigError, with paths that begin with ``where``."""
    fields = None if service.l7 is None else Fields(service.l7)
    every = entries(service, fields, where)
    limit_fields: dict[str, int] = {}
    for number, limit in enumerate(service.limits):
        if limit.header is not None and fields is not None:
            of_limit = f"{where}.limits[{number}].key"
            limit_fields[limit.name] = fields.of(
                limit.header, of_limit, value=limit.header != "authorization"
            )
    told = classes(config, service, every)
    lists = _Lists(every, where)
    walks = Walks(lists.number)
    policies = {
        members: _policy(members, every, lists, walks, where)
        for members in dict.fromkeys((told.default, *told.rows.values()))
    }
    return ServiceDraft(every, fields, limit_fields, told, policies, lists.lists, walks.states)


class _Lists:
    """Lists of entries, each once."""

    def __init__(self, every: Sequence[Entry], where: str) -> None:
        self._every, self._where = every, where
        self._numbers: dict[frozenset[int], int] = {frozenset(): 0}

    @property
    def lists(self) -> list[Members]:
        """In the order of their numbers, from 1 on."""
        return [tuple(sorted(found)) for found in self._numbers if found]

    def number(self, found: frozenset[int], path: Segments, deeper: bool) -> int:
        """The number of the list of these entries, which match ``path`` or what is deeper. CapacityError: too many."""
        number = self._numbers.get(found)
        if number is None:
            held = sum(len(self._every[one].parts) for one in found)
            if held > RULES_IN_LIST:
                raise self._too_long(held, found, f"the path {shown(path, deeper)}")
            number = self._numbers[found] = len(self._numbers)
        return number

    def number_without_path(self, found: frozenset[int]) -> int:
        """The same of entries that match requests without a path, and with any."""
        held = sum(len(self._every[one].parts) for one in found)
        if held > RULES_IN_LIST:
            raise self._too_long(held, found, "every path")
        return self.number(found, (), False)

    def _too_long(self, held: int, found: Iterable[int], what: str) -> CapacityError:
        several = [self._every[one] for one in sorted(found)]
        names = _listed(
            entry.name if len(entry.parts) == 1 else f"{entry.name} ({len(entry.parts)})" for entry in several
        )
        return CapacityError(
            f"{what} has {held} rules that one client's request may have to be compared with, and {RULES_IN_LIST} fit: "
            f"{names}",
            where=self._where,
            remedy="tell them apart by path or source, or make fewer of them; each host of a rule counts",
        )


def _policy(
    members: frozenset[int], every: Sequence[Entry], lists: _Lists, walks: Walks, where: str
) -> PolicyDraft:
    asking = [one for one in sorted(members) if every[one].patterns is not None]
    base = members.difference(asking)
    without_path = lists.number_without_path(base)
    if not asking:
        return PolicyDraft(0, without_path, {})
    walked, exact = Trie(), Trie()
    whole: dict[bytes, tuple[tuple[bytes, ...], set[int]]] = {}
    for one in asking:
        for pattern in every[one].patterns or ():
            if not pattern.is_exact:
                walked.add(pattern, one)
                continue
            segments = tuple(segment or b"" for segment in pattern.segments)
            whole.setdefault(pattern.path, (segments, set()))[1].add(one)
            exact.add(pattern, one)
    if len(walked.nodes) > 1 and len(exact.nodes) <= EXACT_IN_WALK:
        for one in asking:
            for pattern in every[one].patterns or ():
                if pattern.is_exact:
                    walked.add(pattern, one)
        whole = {}
    found = {
        path: lists.number(base.union(ends, walked.matching(segments)), segments, False)
        for path, (segments, ends) in whole.items()
    }
    try:
        return PolicyDraft(walks.root(walked, base), without_path, found)
    except CapacityError as error:
        if error.where:
            raise
        names = _listed(
            every[one].name
            for one in asking
            if any(None in pattern.segments for pattern in every[one].patterns or ())
        )
        raise CapacityError(f"{error.what}: {names}", where=where, remedy=error.remedy) from None


def _listed(names: Iterable[str]) -> str:
    found = list(names)
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return ", ".join(found[:_NAMED]) + more
