"""What a decision costs: the verifier, and a request, for which the number of rules makes no difference."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from decisions import ALLOW, DENY, EQUALS, FOLDS, HAS_ALLOW, HAS_PATHS, WITHOUT_PORT, Tables

from ebpfmesh.harness import decision
from ebpfmesh.harness.decision import HOST, Asked, DecisionEngine

pytestmark = pytest.mark.kernel(feature="loop")

CAPACITIES = {
    "l7_paths": 16384,
    "l7_segments": 16384,
    "l7_path_states": 16384,
    "l7_lists": 16384,
    "l7_rules": 16384,
}


def test_the_verifier_walks_a_small_program(_leaks_fail: None) -> None:
    with decision.load() as kernel:
        assert kernel.program.info().verified_instructions < 40_000


def installed(kernel: DecisionEngine, rules: int, residual: int, *, exact: bool) -> None:
    """So many rules, each for a path of its own; a request meets its own and ``residual`` - 1 that ask for a host."""
    tables = Tables(flags=HAS_PATHS | HAS_ALLOW)
    common = [
        tables.rule(DENY, (HOST, EQUALS, b"host-%d.example" % number, FOLDS | WITHOUT_PORT))
        for number in range(residual - 1)
    ]
    lists = [tables.list([*common, tables.rule(ALLOW)]) for _ in range(rules)]
    if exact:
        tables.add_policy(common, exact=True)
        for number, found in enumerate(lists):
            tables.path(1, b"/api/v1/item%d" % number, found)
    else:
        root, api, version = (tables.state() for _ in range(3))
        tables.edge(root, b"api", api)
        tables.edge(api, b"v1", version)
        for number, found in enumerate(lists):
            tables.edge(version, b"item%d" % number, tables.state(here=found, deeper=found, leaf=True))
        tables.add_policy(root=root)
    tables.install(kernel)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("residual", [8, 32])
def test_ten_thousand_rules_cost_what_ten_do(_leaks_fail: None, exact: bool, residual: int) -> None:
    asked = [Asked.of(path=b"/api/v1/item%d" % number, host=b"shop.example:8080") for number in (0, 5, 9)]
    with ExitStack() as undo:
        kernels = {
            rules: undo.enter_context(decision.load(capacities=CAPACITIES)) for rules in (10, 1000, 10_000)
        }
        for rules, kernel in kernels.items():
            installed(kernel, rules, residual, exact=exact)
            assert all(kernel.decide(one, policy=1).allowed for one in asked)
        best = dict.fromkeys(kernels, 1 << 60)
        for _ in range(25):  # in turn, and the best of each: whatever else the machine does
            for rules, kernel in kernels.items():
                took = sum(kernel.measure(one, policy=1, repeat=2000).nanoseconds for one in asked)
                best[rules] = min(best[rules], took // len(asked))
    print(f"exact {exact}, residual {residual}: {best} ns")
    assert best[10_000] <= 1.3 * best[10]
