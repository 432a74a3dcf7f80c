"""The walk over a path's segments: all patterns of a policy in one automaton, of which a request takes one step a segment.

Patterns become a trie; a state of the walk is a set of its nodes, and what prefixes on the way there have matched for good.
States that lead to the same are one, in all policies of a service.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from ebpfmesh.errors import CapacityError
from ebpfmesh.policy.path import Pattern

STATES = 4096
"""Of one walk, besides four for each node of its trie: templates that overlap could otherwise make millions."""

Segments = tuple[bytes | None, ...]
"""Of a path that leads somewhere; None is any segment that no pattern names there."""
ListOf = Callable[[frozenset[int], Segments, bool], int]
"""The number of the list of these entries; with a path that leads there, and whether it goes on, for errors."""


@dataclass(slots=True)
class _Node:
    children: dict[bytes, int] = field(default_factory=dict)
    star: int = -1
    ends: set[int] = field(default_factory=set)
    below: set[int] = field(default_factory=set)


class Trie:
    """Patterns of entries, by their segments."""

    def __init__(self) -> None:
        self.nodes = [_Node()]

    def add(self, pattern: Pattern, entry: int) -> None:
        """``entry`` matches where ``pattern`` does."""
        at = 0
        for segment in pattern.segments:
            node = self.nodes[at]
            at = node.star if segment is None else node.children.get(segment, -1)
            if at < 0:
                at = len(self.nodes)
                self.nodes.append(_Node())
                if segment is None:
                    node.star = at
                else:
                    node.children[segment] = at
        (self.nodes[at].below if pattern.below else self.nodes[at].ends).add(entry)

    def matching(self, segments: Iterable[bytes]) -> set[int]:
        """The entries that match a path of these segments."""
        nodes, found = self.nodes, set(self.nodes[0].below)
        here = [0]
        for segment in segments:
            here = [
                after
                for at in here
                for after in (nodes[at].children.get(segment, -1), nodes[at].star if segment else -1)
                if after >= 0
            ]
            for at in here:
                found |= nodes[at].below
        for at in here:
            found |= nodes[at].ends
        return found


class State(NamedTuple):
    """``struct l7_path_state``, and what leads on from it; states by their numbers here, from 1 on."""

    other: int
    here: int
    deeper: int
    edges: tuple[tuple[bytes, int], ...]


class Walks:
    """The states of all policies of a service."""

    def __init__(self, list_of: ListOf) -> None:
        self.list_of = list_of
        self._numbers: dict[State, int] = {}

    @property
    def states(self) -> list[State]:
        """In the order of their numbers, from 1 on."""
        return list(self._numbers)

    def root(self, trie: Trie, base: frozenset[int]) -> int:
        """The state in which the walk of a trie begins; the entries of ``base`` match everywhere.

        CapacityError without a path if there would be too many states.
        """
        return _Determinised(self, trie).state(frozenset((0,)), base, ())

    def number(self, state: State) -> int:
        """The number of a state, the same for equal ones."""
        return self._numbers.setdefault(state, len(self._numbers) + 1)


class _Determinised:
    """One trie, becoming states."""

    def __init__(self, walks: Walks, trie: Trie) -> None:
        self._walks, self._nodes = walks, trie.nodes
        self._most = STATES + 4 * len(trie.nodes)
        self._made: dict[tuple[frozenset[int], frozenset[int]], int] = {}

    def state(self, at: frozenset[int], passed: frozenset[int], path: Segments) -> int:
        """The number of the state of these nodes, reached by ``path`` with these entries matched by prefixes before."""
        nodes = [self._nodes[one] for one in at]
        passed = passed.union(*(node.below for node in nodes))
        known = self._made.get((at, passed))
        if known is not None:
            return known
        if len(self._made) >= self._most:  # before equal ones are found to be one: making them is work, too
            raise CapacityError(
                f"its paths overlap in more than {self._most} ways, the last of them at {shown(path)}",
                remedy='use fewer "*", or the same ones',
            )
        stars = frozenset(node.star for node in nodes if node.star >= 0)
        other = self.state(stars, passed, (*path, None)) if stars else 0
        edges = []
        for segment in sorted({segment for node in nodes for segment in node.children}):
            after = frozenset(node.children[segment] for node in nodes if segment in node.children)
            target = self.state(after | stars if segment else after, passed, (*path, segment))
            if target != other or not segment:  # where other segments lead, too, needs no edge
                edges.append((segment, target))
        here = passed.union(*(node.ends for node in nodes))
        list_of = self._walks.list_of
        state = State(other, list_of(here, path, False), list_of(passed, path, True), tuple(edges))
        number = self._made[at, passed] = self._walks.number(state)
        return number


def shown(path: Segments, deeper: bool = False) -> str:
    """A path as a pattern is written."""
    text = "".join("/" + ("*" if one is None else one.decode(errors="replace")) for one in path)
    return (text + "/**" if deeper else text) or "/"
