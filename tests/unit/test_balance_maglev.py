"""Maglev against the paper's pseudo-code and the properties that it is used for."""

from __future__ import annotations

import time
from array import array
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebpfmesh.engine.balance import Pick, Target, build, maglev
from ebpfmesh.engine.balance.maglev import LARGEST, SIZES, order_of_turns, refuse_size, table_size
from ebpfmesh.engine.balance.preference import beginning, preference, preferred, ranked
from ebpfmesh.errors import ConfigError

IDENTITIES = st.lists(st.binary(min_size=18, max_size=18), min_size=1, max_size=30, unique=True)
PRIMES = st.sampled_from([31, 251, 509, 1021, 2039])


def equal(count: int, *, first_id: int = 1, seed: int = 0) -> list[Target]:
    """``count`` targets of weight 1."""
    return [Target(first_id + n, 1, bytes(10) + seed.to_bytes(4) + n.to_bytes(4)) for n in range(count)]


def paper(identities: list[bytes], size: int) -> list[int]:
    """The pseudo-code of section 3.4, line by line; entries are indices of ``identities``."""
    hashes = [preference(identity, size) for identity in identities]

    def permutation(i: int, j: int) -> int:
        offset, skip = hashes[i]
        return (offset + j * skip) % size

    following = [0] * len(identities)
    entry = [-1] * size
    filled = 0
    while True:
        for i in range(len(identities)):
            c = permutation(i, following[i])
            while entry[c] >= 0:
                following[i] += 1
                c = permutation(i, following[i])
            entry[c] = i
            following[i] += 1
            filled += 1
            if filled == size:
                return entry


def in_turns(targets: list[Target], size: int, order: list[int]) -> list[int]:
    """The same walk with turns given: who is on takes the free slot it prefers most."""
    slots = [0] * size
    hashes = [preference(target.identity, size) for target in targets]
    walks = [iter([(offset + j * skip) % size for j in range(size)]) for offset, skip in hashes]
    for index in order:
        slot = next(slot for slot in walks[index] if not slots[slot])
        slots[slot] = targets[index].id
    return slots


@given(identities=IDENTITIES, size=PRIMES)
@settings(deadline=None)
def test_equal_weights_give_exactly_the_table_of_the_paper(identities: list[bytes], size: int) -> None:
    targets = [Target(n + 1, 3, identity) for n, identity in enumerate(identities)]
    ordered = sorted(targets, key=lambda target: target.identity)
    expected = [ordered[index].id for index in paper([target.identity for target in ordered], size)]
    table = build("maglev", targets, size=size)
    assert list(table.slots) == expected
    assert (table.pick, table.count) == (Pick.HASH, size)


@pytest.mark.parametrize("count", [1, 2, 3, 10, 163, 327])
def test_the_table_of_the_paper_holds_at_the_sizes_in_use(count: int) -> None:
    targets = equal(count)
    size = table_size(count)
    expected = [targets[index].id for index in paper([target.identity for target in targets], size)]
    assert list(build("maglev", targets).slots) == expected


@given(identities=IDENTITIES, size=PRIMES, data=st.data())
@settings(deadline=None)
def test_unequal_weights_follow_the_same_walk_with_fewer_turns(
    identities: list[bytes], size: int, data: st.DataObject
) -> None:
    weights = [data.draw(st.integers(1, 9) | st.integers(1, 65535)) for _ in identities]
    targets = sorted(map(Target, range(1, 31), weights, identities), key=lambda target: target.identity)
    total = sum(weights)
    table = build("maglev", targets, size=size)
    held = Counter(table.slots)
    for target in targets:
        assert abs(held[target.id] - Fraction(size * target.weight, total)) < 1
    shares = [held[target.id] for target in targets]
    present = [target for target in targets if held[target.id]]
    order = order_of_turns([share for share in shares if share])
    assert list(table.slots) == in_turns(present, size, order)


@given(identities=IDENTITIES, size=PRIMES)
@settings(deadline=None)
def test_equal_weights_differ_by_at_most_one_slot(identities: list[bytes], size: int) -> None:
    held = Counter(
        build("maglev", [Target(n + 1, 7, one) for n, one in enumerate(identities)], size=size).slots
    )
    counts = [held[n + 1] for n in range(len(identities))]
    assert max(counts) - min(counts) <= 1


def test_the_table_depends_on_addresses_only_not_on_order_or_ids() -> None:
    here, there = equal(20), [target._replace(id=target.id + 5000) for target in equal(20)]
    one = build("maglev", here)
    other = build("maglev", there[::-1])
    assert [id_ + 5000 for id_ in one.slots] == list(other.slots)


def test_the_hash_is_the_same_in_every_version() -> None:
    # Nodes of different versions share a service: these numbers may never change.
    assert preference(bytes(range(18)), 16381) == (14723, 12025)
    assert list(build("maglev", equal(3)).slots[:12]) == [1, 1, 2, 3, 3, 2, 1, 3, 2, 1, 3, 1]


def test_a_leaver_moves_few_slots_of_the_others() -> None:
    before, after = build("maglev", equal(160)), build("maglev", equal(160)[:-1], size=table_size(160))
    moved = sum(a != b for a, b in zip(before.slots, after.slots, strict=True) if a != 160)
    assert moved < 0.03 * before.count


def test_the_size_is_the_smallest_prime_above_a_hundred_slots_a_backend() -> None:
    assert [table_size(n) for n in (0, 1, 2, 3, 10, 20, 81, 82, 163, 164, 655, 5000)] == [
        251, 251, 251, 509, 1021, 2039, 8191, 16381, 16381, 32749, 65537, 65537,
    ]  # fmt: skip
    for size in SIZES:
        assert refuse_size(1, size) is None


@pytest.mark.parametrize("size", [-7, 0, 1, 2, 4, 250, 65535, 65536, 65539, 131071])
def test_a_size_that_is_no_prime_up_to_65537_is_refused(size: int) -> None:
    assert f"and {size} is not one" in (refuse_size(1, size) or "")
    with pytest.raises(ConfigError, match="balancer 'maglev'"):
        build("maglev", equal(2), size=size)


def test_a_table_smaller_than_the_number_of_backends_is_refused() -> None:
    assert refuse_size(251, 251) is None
    assert refuse_size(252, 251) == "a table of 251 slots cannot hold 252 backends"


def test_the_largest_table_holds_the_largest_ids() -> None:
    table = build("maglev", equal(3, first_id=65533), size=LARGEST)
    assert set(table.slots) == {65533, 65534, 65535}
    assert table.count == 65537


def test_changing_a_table_does_not_change_the_next_one() -> None:
    first = build("maglev", equal(4))
    kept = array("H", first.slots)
    first.slots[0] = 0
    assert build("maglev", equal(4)).slots == kept


@given(
    size=st.sampled_from([3, 5, 31, 251, 16381]),
    offset=st.integers(0, 16380),
    skip=st.integers(1, 16380) | st.integers(1, 40),
    length=st.integers(1, 16381),
    data=st.data(),
)
@settings(deadline=None)
def test_preferences_are_the_permutation_of_the_paper_however_they_are_computed(
    size: int, offset: int, skip: int, length: int, data: st.DataObject
) -> None:
    offset, skip, length = offset % size, skip % (size - 1) + 1, min(length, size)
    for step in (skip, size - skip):
        expected = [(offset + j * step) % size for j in range(size)]
        assert beginning(offset, step, size, length) == expected[:length]
        assert list(preferred(offset, step, size, length)) == expected
        some = data.draw(st.sets(st.integers(0, size - 1), max_size=20))
        assert list(ranked(sorted(some), offset, step, size)) == [slot for slot in expected if slot in some]


@given(shares=st.lists(st.integers(1, 300), min_size=1, max_size=20))
@settings(deadline=None)
def test_turns_come_at_even_distances(shares: list[int]) -> None:
    order = order_of_turns(shares)
    assert Counter(order) == Counter(dict(enumerate(shares)))
    most, taken, rounds = max(shares), Counter[int](), 0
    leader = shares.index(most)
    for index in order:
        taken[index] += 1
        rounds += index == leader
        # Nobody has more or fewer turns than its part of the rounds that are over or under way.
        assert rounds * shares[index] - most < taken[index] * most < (rounds + 1) * shares[index] + most


def test_ten_tables_of_16381_slots_take_a_fraction_of_a_second() -> None:
    sets = [equal(10, seed=seed) for seed in range(10)]
    maglev._table.cache_clear()
    best = min(_seconds(one) for one in sets)
    # 10 ms each is the bar, measured by the bench; twice that here, where other work may be going on.
    assert best < 0.02


def _seconds(targets: list[Target]) -> float:
    start = time.process_time()
    build("maglev", targets, size=16381)
    return time.process_time() - start
