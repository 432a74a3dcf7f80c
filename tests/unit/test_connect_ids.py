"""Ids and Extents against plain models: sets of numbers, and a row of cells."""

from __future__ import annotations

from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from ebpfmesh.errors import CapacityError
from ebpfmesh.tiers.connect.extents import Extents
from ebpfmesh.tiers.connect.ids import Ids

# --- Ids ---------------------------------------------------------------------------------------------------------------


class IdsAgainstASet(RuleBasedStateMachine):
    """Whatever is taken and given back: the smallest free number, none twice, and exactly as many as there are."""

    taken = Bundle("taken")

    @initialize(capacity=st.integers(0, 12), first=st.integers(0, 2), used=st.sets(st.integers(0, 11)))
    def start(self, capacity: int, first: int, used: set[int]) -> None:
        self.capacity, self.first = max(capacity, first), first
        self.used = {number for number in used if first <= number < self.capacity}
        self.ids = Ids("things", self.capacity, first=first, used=self.used)

    def free(self) -> list[int]:
        return [number for number in range(self.first, self.capacity) if number not in self.used]

    @rule(target=taken)
    def take(self) -> int | None:
        free = self.free()
        if not free:
            with pytest.raises(CapacityError, match=rf"all {self.capacity - self.first} things are in use"):
                self.ids.take()
            return None
        number = self.ids.take()
        assert number == free[0]
        self.used.add(number)
        return number

    @rule(count=st.integers(0, 14))
    def take_many(self, count: int) -> None:
        free = self.free()
        if count > len(free):
            with pytest.raises(CapacityError, match="things"):
                self.ids.take_many(count)
            return
        assert self.ids.take_many(count) == free[:count]
        self.used.update(free[:count])

    @rule(number=consumes(taken))
    def give_back(self, number: int | None) -> None:
        if number is not None and number in self.used:
            self.ids.give_back(number)
            self.used.discard(number)

    @invariant()
    def counts(self) -> None:
        if hasattr(self, "ids"):
            assert self.ids.available == len(self.free())


TestIds = IdsAgainstASet.TestCase


def test_the_error_says_what_to_set() -> None:
    with pytest.raises(CapacityError) as caught:
        Ids("backends", 0).take()
    assert caught.value.remedy.startswith("set [capacity] backends higher")


@given(st.integers(1, 40), st.data())
def test_numbers_of_a_failed_take_many_are_free_again(capacity: int, data: st.DataObject) -> None:
    used = data.draw(st.sets(st.integers(0, capacity - 1)))
    ids = Ids("things", capacity, used=used)
    free = capacity - len(used)
    with pytest.raises(CapacityError):
        ids.take_many(free + 1)
    assert ids.available == free
    assert sorted(ids.take_many(free)) == sorted(set(range(capacity)) - used)


# --- Extents -------------------------------------------------------------------------------------------------------------


class ExtentsAgainstARow(RuleBasedStateMachine):
    """A row of cells, free or not: first fit, no overlap, and what is given back is one run with its free neighbours."""

    runs = Bundle("runs")

    @initialize(
        capacity=st.integers(0, 24),
        used=st.lists(st.tuples(st.integers(0, 23), st.integers(1, 6)), max_size=4),
    )
    def start(self, capacity: int, used: list[tuple[int, int]]) -> None:
        inside = [(start, length) for start, length in used if start + length <= capacity]
        self.cells = [
            any(start <= cell < start + length for start, length in inside) for cell in range(capacity)
        ]
        self.extents = Extents(capacity, used=inside)

    def first_fit(self, length: int) -> int | None:
        position = 0
        for taken, run in groupby(self.cells):
            size = len(list(run))
            if not taken and size >= length:
                return position
            position += size
        return None

    @rule(target=runs, length=st.integers(1, 10))
    def take(self, length: int) -> tuple[int, int] | None:
        where = self.first_fit(length)
        if where is None:
            with pytest.raises(CapacityError, match=rf"no room for a table of {length * 4} slots"):
                self.extents.take(length)
            return None
        assert self.extents.take(length) == where
        self.cells[where : where + length] = [True] * length
        return where, length

    @rule(run=consumes(runs))
    def give_back(self, run: tuple[int, int] | None) -> None:
        if run is not None:
            start, length = run
            self.extents.give_back(start, length)
            self.cells[start : start + length] = [False] * length

    @invariant()
    def counts(self) -> None:
        if hasattr(self, "extents"):
            assert self.extents.available == self.cells.count(False)


TestExtents = ExtentsAgainstARow.TestCase


def test_everything_given_back_is_one_run_again() -> None:
    extents = Extents(12)
    starts = [extents.take(3) for _ in range(4)]
    assert starts == [0, 3, 6, 9]
    for start in (3, 9, 0, 6):  # neighbours on the right, on the left, on both sides
        extents.give_back(start, 3)
    assert extents.take(12) == 0


def test_a_row_in_pieces_says_how_much_is_free() -> None:
    extents = Extents(9)
    starts = [extents.take(3) for _ in range(3)]
    extents.give_back(starts[0], 3)
    extents.give_back(starts[2], 3)
    with pytest.raises(CapacityError, match="24 of 36 are free") as caught:
        extents.take(4)
    assert caught.value.remedy.startswith("set [capacity] slots higher")
