"""The walk over segments: whatever the patterns, it ends with those that match, by the patterns' own word."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ebpfmesh.policy.compile.walk import Segments, State, Trie, Walks, shown
from ebpfmesh.policy.path import Pattern, parse

patterns = st.builds(
    lambda segments, slash, below: Pattern(
        (*segments, b"") if slash and not below else tuple(segments), below
    ),
    st.lists(st.sampled_from([b"a", b"b", None, None]), min_size=1, max_size=4),
    st.booleans(),
    st.booleans(),
)
paths = st.builds(
    lambda segments, slash: (*segments, b"") if slash or not segments else tuple(segments),
    st.lists(st.sampled_from([b"a", b"b", b"c"]), max_size=5),
    st.booleans(),
)


class Lists:
    """Lists by number, as the draft keeps them."""

    def __init__(self) -> None:
        self.found: list[frozenset[int]] = []

    def number(self, entries: frozenset[int], path: Segments, deeper: bool) -> int:
        """The same for the same entries."""
        del path, deeper
        if entries not in self.found:
            self.found.append(entries)
        return self.found.index(entries)


def walked(states: list[State], state: int, segments: tuple[bytes, ...]) -> int:
    """The list at the end of a path, by the rules of ``struct l7_path_state``."""
    for segment in segments:
        at = states[state - 1]
        state = dict(at.edges).get(segment, at.other if segment else 0)
        if not state:
            return at.deeper
    return states[state - 1].here


@settings(max_examples=500, deadline=None)
@given(st.lists(patterns, max_size=7), st.lists(paths, min_size=1, max_size=20))
def test_a_walk_ends_with_the_patterns_that_match(
    wanted: list[Pattern], asked: list[tuple[bytes, ...]]
) -> None:
    trie, lists = Trie(), Lists()
    for number, pattern in enumerate(wanted):
        trie.add(pattern, number % 3)  # an entry may have several patterns
    walks = Walks(lists.number)
    root = walks.root(trie, frozenset({99}))
    for segments in asked:
        expected = {number % 3 for number, pattern in enumerate(wanted) if pattern.matches(segments)}
        assert lists.found[walked(walks.states, root, segments)] == expected | {99}
        assert trie.matching(segments) == expected


def states(*texts: str) -> list[State]:
    """The states of these patterns, each an entry of its own."""
    trie, lists = Trie(), Lists()
    for entry, text in enumerate(texts):
        trie.add(parse(text), entry)
    walks = Walks(lists.number)
    walks.root(trie, frozenset())
    return walks.states


def test_states_that_lead_to_the_same_are_one() -> None:
    trie, lists = Trie(), Lists()
    for number in range(1000):
        trie.add(parse(f"/items/{number}/**"), 0)
    walks = Walks(lists.number)
    walks.root(trie, frozenset())
    assert len(walks.states) == 3
    assert sum(len(state.edges) for state in walks.states) == 1001


def test_what_any_segment_leads_to_needs_no_edge() -> None:
    assert [state.edges for state in states("/*/**")] == [(), ()]
    trie, lists = Trie(), Lists()
    trie.add(parse("/*"), 0)
    trie.add(parse("/a"), 0)
    walks = Walks(lists.number)
    walks.root(trie, frozenset())
    assert all(not state.edges for state in walks.states)


def test_paths_are_shown_as_patterns_are_written() -> None:
    assert shown(()) == "/"
    assert shown((b"a", None, b"")) == "/a/*/"
    assert shown((b"a",), deeper=True) == "/a/**"


def test_an_empty_segment_is_not_any_segment_even_where_both_lead_to_the_same() -> None:
    trie, lists = Trie(), Lists()
    for text in ("/a/", "/a/*"):
        trie.add(parse(text), 0)
    walks = Walks(lists.number)
    root = walks.root(trie, frozenset())
    for last in (b"", b"x"):
        assert lists.found[walked(walks.states, root, (b"a", last))] == {0}
