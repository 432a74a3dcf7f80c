"""From a path to its list: exact paths, segments, templates, and what is too deep to be told apart."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from decisions import HAS_PATHS, LOOK_UP_FAILED, ROUTE, Tables

from ebpfmesh.harness import decision
from ebpfmesh.harness.decision import Asked, DecisionEngine

pytestmark = pytest.mark.kernel(feature="loop")


@pytest.fixture
def kernel(_leaks_fail: None) -> Iterator[DecisionEngine]:
    with decision.load() as loaded:
        yield loaded


class Walk(Tables):
    """Lists are told apart by the route of their one rule."""

    def __init__(self) -> None:
        super().__init__(flags=HAS_PATHS)

    def routed(self, route: int) -> int:
        return self.list([self.rule(ROUTE, argument=route)])

    def ask(self, kernel: DecisionEngine, *paths: str | bytes) -> list[int]:
        kernel.clear()
        self.install(kernel)
        sent = [path.encode() if isinstance(path, str) else path for path in paths]
        return [kernel.decide(Asked.of(path=path), policy=self.policy).route for path in sent]


def test_without_a_root_every_path_has_the_policys_list(kernel: DecisionEngine) -> None:
    walk = Walk()
    walk.add_policy([walk.rule(ROUTE, argument=7)])
    assert walk.ask(kernel, "/", "/a/b", "*") == [7, 7, 7]


def test_exact_paths_come_before_segments(kernel: DecisionEngine) -> None:
    walk = Walk()
    elsewhere, exact, root = walk.routed(1), walk.routed(2), walk.state(here=0, deeper=0)
    walk.rows["l7_path_states"].clear()
    root = walk.state(other=0, here=elsewhere, deeper=elsewhere)
    walk.add_policy([walk.rule(ROUTE, argument=3)], root=root, exact=True)
    for path in (b"/", b"/a", b"/a/", b"/" + b"x" * 7, b"/" + b"x" * 63, b"/" + b"y" * 1000):
        walk.path(1, path, exact)
    assert walk.ask(kernel, "/", "/a", "/a/", "/%61", "/b/../a", "/" + "x" * 7, "/" + "x" * 63) == [2] * 7
    assert walk.ask(kernel, "/" + "y" * 1000, "/" + "y" * 999, "/A", "/a/b", "*") == [2, 1, 1, 1, 3]
    # of another policy
    walk.path(2, b"/b", exact)
    assert walk.ask(kernel, "/b") == [1]
    walk.rows["l7_policies"][1] = walk.rows["l7_policies"][1][:8] + bytes(8)  # it is said to have none
    assert walk.ask(kernel, "/a") == [1]


def test_prefixes_templates_and_empty_segments(kernel: DecisionEngine) -> None:
    """/admin/** is 2, /users/*/orders is 3, /users/*/ is 4, anything else 1."""
    walk = Walk()
    none, admin, orders, slash = (walk.routed(route) for route in (1, 2, 3, 4))
    root, below, users, user, end, empty = (walk.row("l7_path_states", b"") for _ in range(6))
    walk.rows["l7_path_states"] = {}
    assert root == walk.state(here=none, deeper=none)
    assert below == walk.state(here=admin, deeper=admin, leaf=True)
    assert users == walk.state(other=user, here=none, deeper=none)
    assert user == walk.state(here=none, deeper=none)
    assert end == walk.state(here=orders, deeper=none, leaf=True)
    assert empty == walk.state(here=slash, deeper=none, leaf=True)
    for state, segment, to in (
        (root, b"admin", below),
        (root, b"users", users),
        (user, b"orders", end),
        (user, b"", empty),
    ):
        walk.edge(state, segment, to)
    walk.add_policy([], root=root)
    assert walk.ask(kernel, "/admin", "/admin/", "/admin/a/b/c", "/admin//..") == [2, 2, 2, 1]
    assert walk.ask(kernel, "/administrator", "/adminx/", "/x/admin", "/Admin", "/") == [1] * 5
    assert walk.ask(kernel, "/users/7/orders", "/users/" + "8" * 200 + "/orders") == [3, 3]
    assert walk.ask(kernel, "/users/7/", "/users/7", "/users/", "/users/7/orders/") == [4, 1, 1, 1]
    # "*" is one segment that is not empty, and slashes between are merged
    assert walk.ask(kernel, "/users//orders", "/users//7/orders", "/users/./7//orders") == [1, 3, 3]


@pytest.mark.parametrize("size", [1, 6, 7, 8, 9, 15, 16, 17, 55, 56, 57, 63, 64, 65, 71, 72, 73, 500, 2000])
def test_segments_of_every_size(kernel: DecisionEngine, size: int) -> None:
    walk = Walk()
    there, end = walk.routed(1), walk.state(here=0)
    walk.rows["l7_path_states"] = {}
    root = walk.state()
    end = walk.state(here=there)
    walk.edge(root, b"s" * size, end)
    walk.add_policy([], root=root)
    sent = "/" + "s" * size
    assert walk.ask(kernel, sent, sent + "s", sent[:-1], sent + "/") == [1, 0, 0, 0]


def test_sixteen_segments_are_looked_at(kernel: DecisionEngine) -> None:
    walk = Walk()
    lists = [walk.routed(route) for route in range(1, 41)]
    for depth in range(17):
        walk.state(other=depth + 2, here=lists[depth], deeper=lists[20 + depth])
    walk.state(here=lists[39], deeper=lists[39])
    walk.add_policy([], root=1)
    # so many segments: the list of their state; one more than 16: the deeper one of the state behind the 16th
    assert walk.ask(kernel, *("/a" * depth for depth in range(1, 17))) == list(range(2, 18))
    assert walk.ask(kernel, "/a" * 17, "/a" * 18, "/a" * 1000) == [37] * 3


def test_an_entry_that_is_not_there_fails(kernel: DecisionEngine) -> None:
    for number in (0, 5000):
        walk = Walk()
        walk.add_policy([walk.rule(ROUTE, argument=7)])
        walk.policy = number
        kernel.clear()
        walk.install(kernel)
        decided = kernel.decide(Asked.of(), policy=number)
        assert (decided.allowed, decided.reason) == (False, LOOK_UP_FAILED)
    walk = Walk()
    walk.add_policy([], root=9999)
    kernel.clear()
    walk.install(kernel)
    assert kernel.decide(Asked.of(), policy=1).reason == LOOK_UP_FAILED
