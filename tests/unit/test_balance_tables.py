"""The balancers whose slots follow from the weights alone: random, weighted random and the two round robins."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import pairwise
from math import gcd

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebpfmesh.engine.balance import Pick, Table, Target, build
from ebpfmesh.engine.balance.apportion import apportion
from ebpfmesh.engine.balance.registry import notice, refusal, slots
from ebpfmesh.engine.balance.weighted_round_robin import LONGEST, rounding_error, schedule, turns

WEIGHTS = st.lists(st.integers(0, 65535) | st.integers(0, 5), max_size=40)
POSITIVE = st.lists(st.integers(1, 65535) | st.integers(1, 5), min_size=1, max_size=40)
BUILT_IN = ["random", "weighted-random", "round-robin", "weighted-round-robin", "maglev", "maglev-sticky"]


def targets(weights: list[int]) -> list[Target]:
    """Targets with ids 101, 102, …"""
    return [Target(101 + n, weight, bytes(14) + n.to_bytes(4)) for n, weight in enumerate(weights)]


def probabilities(table: Table) -> dict[int, Fraction]:
    """How likely each id is, reading alias columns as the kernel does."""
    result: Counter[int] = Counter()
    for column in range(table.count):
        id_, alias, threshold, zero = table.slots[4 * column : 4 * column + 4]
        assert zero == 0
        result[id_] += threshold
        result[alias] += 65536 - threshold
    return {id_: Fraction(units, 65536 * table.count) for id_, units in result.items() if units}


@pytest.mark.parametrize("name", BUILT_IN)
def test_without_targets_that_take_connections_there_is_an_empty_table(name: str) -> None:
    for nobody in ([], targets([0, 0, 0])):
        table = build(name, nobody)
        assert (len(table.slots), table.pick, table.count) == (0, Pick.NONE, 0)


@pytest.mark.parametrize("name", BUILT_IN)
@given(weights=WEIGHTS)
@settings(deadline=None)
def test_a_weight_of_zero_gets_no_slot(name: str, weights: list[int]) -> None:
    table = build(name, targets(weights), size=251 if name.startswith("maglev") else None)
    without = {target.id for target in targets(weights) if not target.weight}
    assert without.isdisjoint(table.slots[::4] if table.pick is Pick.ALIAS else table.slots)


@pytest.mark.parametrize("name", BUILT_IN)
@given(weights=WEIGHTS)
@settings(deadline=None)
def test_the_number_of_slots_is_known_without_building(name: str, weights: list[int]) -> None:
    size = 251 if name.startswith("maglev") else None
    assert slots(name, weights, size) == len(build(name, targets(weights), size=size).slots)


@given(weights=WEIGHTS)
@settings(deadline=None)
def test_random_and_round_robin_hold_each_backend_once_in_order_of_id(weights: list[int]) -> None:
    expected = sorted(target.id for target in targets(weights) if target.weight)
    for name, pick in (("random", Pick.RANDOM), ("round-robin", Pick.TURN)):
        table = build(name, targets(weights)[::-1])
        assert list(table.slots) == expected
        assert table.count == len(expected)
        assert table.pick is (pick if expected else Pick.NONE)


@given(weights=POSITIVE)
@settings(deadline=None)
def test_weighted_random_is_exact_to_a_65536th_of_a_column(weights: list[int]) -> None:
    table = build("weighted-random", targets(weights))
    found, total = probabilities(table), sum(weights)
    assert table.pick is Pick.ALIAS
    assert table.count == len(weights)
    assert sum(found.values()) == 1
    for target in targets(weights):
        exact = Fraction(target.weight, total)
        assert abs(found.get(target.id, 0) - exact) <= Fraction(1, 65536 * len(weights))
        assert found.get(target.id, 0) > 0


def test_weighted_random_with_equal_weights_needs_no_alias() -> None:
    assert list(build("weighted-random", targets([7, 7])).slots) == [101, 101, 0, 0, 102, 102, 0, 0]


def smooth_round_robin(weights: list[int]) -> list[int]:
    """The reference, as nginx documents it: all gain their weight, the richest is taken and pays the sum."""
    current, order = [0] * len(weights), []
    for _ in range(sum(weights)):
        for index, weight in enumerate(weights):
            current[index] += weight
        best = max(range(len(weights)), key=lambda index: (current[index], -index))
        current[best] -= sum(weights)
        order.append(best)
    return order


@given(weights=st.lists(st.integers(1, 12), min_size=1, max_size=8))
@settings(deadline=None)
def test_weighted_round_robin_is_the_smooth_one_over_the_reduced_weights(weights: list[int]) -> None:
    divisor = gcd(*weights)
    expected = [101 + index for index in smooth_round_robin([weight // divisor for weight in weights])]
    table = build("weighted-round-robin", targets(weights))
    assert list(table.slots) == expected
    assert (table.pick, table.count) == (Pick.TURN, len(expected))


def test_weighted_round_robin_does_not_serve_a_heavy_backend_in_one_burst() -> None:
    assert list(build("weighted-round-robin", targets([5, 1, 1])).slots) == [
        101,
        101,
        102,
        101,
        103,
        101,
        101,
    ]


@given(weights=POSITIVE)
@settings(deadline=None)
def test_weighted_round_robin_is_exact_or_rounded_to_4096_turns(weights: list[int]) -> None:
    divisor, total = gcd(*weights), sum(weights)
    given_turns = turns(weights)
    if total // divisor <= LONGEST:
        assert given_turns == [weight // divisor for weight in weights]
        assert rounding_error(weights) == 0
    else:
        assert sum(given_turns) == LONGEST
        shares = zip(given_turns, weights, strict=True)
        worst = max(abs(Fraction(n, LONGEST) / Fraction(weight, total) - 1) for n, weight in shares)
        assert rounding_error(weights) == worst
    assert Counter(schedule(given_turns)) == Counter({n: turn for n, turn in enumerate(given_turns) if turn})


def test_the_notice_says_how_far_off_rounded_weights_are_and_who_gets_no_turn() -> None:
    assert notice("weighted-round-robin", [1, 2, 3], None) is None
    assert "4096 turns" in (notice("weighted-round-robin", [1000, 1001, 5001], None) or "")
    assert "1 backends get no turn at all" in (notice("weighted-round-robin", [65535, 1], None) or "")


def test_thousands_of_unequal_weights_get_their_turns_at_even_distances() -> None:
    counts = [1 + index % 3 for index in range(3000)]
    order = schedule(counts)
    assert Counter(order) == Counter(dict(enumerate(counts)))
    places = [place for place, index in enumerate(order) if index == 2]
    assert [after - before for before, after in pairwise(places)] == pytest.approx([2000] * 2, rel=0.02)


@given(total=st.integers(0, 70000), weights=POSITIVE)
@settings(deadline=None)
def test_shares_are_the_floor_or_the_ceiling_of_the_exact_ones(total: int, weights: list[int]) -> None:
    shares = apportion(total, weights)
    assert sum(shares) == total
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share - Fraction(total * weight, sum(weights))) < 1


@given(total=st.integers(0, 70000), weights=POSITIVE, data=st.data())
@settings(deadline=None)
def test_who_is_asked_first_gets_its_ceiling_while_slots_are_left(
    total: int, weights: list[int], data: st.DataObject
) -> None:
    first = data.draw(st.lists(st.sampled_from(range(len(weights))), unique=True))
    shares, weight_sum = apportion(total, weights, first=first), sum(weights)
    assert sum(shares) == total
    left = total - sum(total * weight // weight_sum for weight in weights)
    entitled = [index for index in first if total * weights[index] % weight_sum]
    for index in entitled[:left]:
        assert shares[index] == -(-total * weights[index] // weight_sum)


@pytest.mark.parametrize("name", ["random", "weighted-random", "round-robin", "weighted-round-robin"])
def test_a_table_size_is_refused_where_the_slots_follow_from_the_backends(name: str) -> None:
    assert refusal(name, [1], None) is None
    assert "table size" in (refusal(name, [1], 251) or "")
