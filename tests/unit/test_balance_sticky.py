"""maglev-sticky: the table that is there is kept; what moves is what evenness asks for."""

from __future__ import annotations

from array import array
from collections import Counter
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from ebpfmesh.engine.balance import Pick, Table, Target, build

NAME = "maglev-sticky"


def equal(numbers: range | list[int]) -> list[Target]:
    """Targets of weight 1 with these ids."""
    return [Target(n, 1, bytes(14) + n.to_bytes(4)) for n in numbers]


def moves(before: Table, after: Table) -> list[tuple[int, int]]:
    """(old id, new id) of every slot that changed."""
    return [(a, b) for a, b in zip(before.slots, after.slots, strict=True) if a != b]


def even(table: Table, targets: list[Target]) -> bool:
    """Whether each share is within one slot of the exact one."""
    held, total = Counter(table.slots), sum(target.weight for target in targets)
    return all(
        abs(held[target.id] - Fraction(table.count * target.weight, total)) < 1 for target in targets
    ) and set(held) <= {target.id for target in targets}


def test_a_first_table_is_that_of_maglev() -> None:
    assert build(NAME, equal(range(1, 20))) == build("maglev", equal(range(1, 20)))


@given(count=st.integers(2, 60), data=st.data())
@settings(deadline=None)
def test_leavers_move_their_own_slots_only(count: int, data: st.DataObject) -> None:
    targets = equal(range(1, count + 1))
    before = build(NAME, targets, size=2039)
    leavers = data.draw(st.sets(st.integers(1, count), min_size=1, max_size=count - 1))
    staying = [target for target in targets if target.id not in leavers]
    after = build(NAME, staying, before, size=2039)
    assert {old for old, _ in moves(before, after)} == leavers
    assert even(after, staying)


def test_a_leaver_of_160_moves_no_unrelated_slot() -> None:
    before = build(NAME, equal(range(1, 161)))
    after = build(NAME, equal(range(1, 160)), before)
    assert {old for old, _ in moves(before, after)} == {160}
    held = Counter(after.slots).values()
    assert max(held) - min(held) <= 1


@given(count=st.integers(1, 40), joining=st.integers(1, 10))
@settings(deadline=None)
def test_newcomers_take_their_share_and_nothing_else_moves(count: int, joining: int) -> None:
    before = build(NAME, equal(range(1, count + 1)), size=2039)
    targets = equal(range(1, count + joining + 1))
    after = build(NAME, targets, before, size=2039)
    assert all(new > count for _, new in moves(before, after))
    assert even(after, targets)


@given(data=st.data())
@settings(deadline=None)
def test_shares_are_exact_within_one_slot_through_any_history(data: st.DataObject) -> None:
    table: Table | None = None
    for _ in range(data.draw(st.integers(1, 5))):
        ids = data.draw(st.sets(st.integers(1, 30), min_size=1, max_size=20))
        targets = [
            t._replace(weight=data.draw(st.integers(0, 9) | st.just(65535))) for t in equal(sorted(ids))
        ]
        active = [target for target in targets if target.weight]
        following = build(NAME, targets, table, size=509)
        if active:
            assert even(following, active)
        table = following


def test_nothing_changes_when_the_backends_do_not() -> None:
    targets = [target._replace(weight=target.id) for target in equal(range(1, 12))]
    before = build(NAME, targets)
    assert build(NAME, targets[::-1], before) == before


def test_the_size_is_kept_while_it_holds_a_hundred_slots_a_backend() -> None:
    before = build(NAME, equal(range(1, 21)))
    assert before.count == 2039
    assert build(NAME, equal(range(1, 3)), before).count == 2039
    assert build(NAME, equal(range(1, 22)), before).count == 4093


def test_a_previous_table_of_another_kind_or_size_is_not_used() -> None:
    targets, fresh = equal(range(1, 5)), build("maglev", equal(range(1, 5)), size=509)
    for previous in (
        build("round-robin", targets),
        build("maglev", targets, size=251),
        Table(array("H"), Pick.NONE, 0),
        build("maglev", equal(range(50, 60)), size=509),
    ):
        assert build(NAME, targets, previous, size=509) == fresh


def test_the_previous_table_is_not_changed() -> None:
    before = build(NAME, equal(range(1, 9)))
    kept = array("H", before.slots)
    build(NAME, equal(range(1, 8)), before)
    assert before.slots == kept
