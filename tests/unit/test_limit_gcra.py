"""The generic cell rate algorithm: its bounds hold for every sequence of requests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpfmesh.engine.limit import Gcra, Keyed
from ebpfmesh.engine.limit.gcra import SECOND, expired

LIMITS = st.builds(Gcra, st.integers(1, 10**7), st.integers(0, 10**8))
GAPS = st.lists(st.integers(0, 10**7) | st.integers(0, 50), max_size=60)


def times(gaps: list[int]) -> list[int]:
    now, found = 10**12, []
    for gap in gaps:
        now += gap
        found.append(now)
    return found


def admitted(limit: Gcra, requests: list[int], due: int = 0) -> list[int]:
    found = []
    for now in requests:
        taken = limit.take(due, now)
        if taken.admitted:
            found.append(now)
        due = taken.due
    return found


@given(LIMITS, GAPS)
def test_no_stretch_of_time_has_more_than_the_rate_and_the_burst(limit: Gcra, gaps: list[int]) -> None:
    found = admitted(limit, times(gaps))
    for first, start in enumerate(found):
        for count, end in enumerate(found[first:], start=1):
            assert count <= limit.most(end - start)


@given(LIMITS, GAPS)
def test_a_refusal_changes_nothing_and_its_wait_is_exact(limit: Gcra, gaps: list[int]) -> None:
    due = 0
    for now in times(gaps):
        taken = limit.take(due, now)
        if taken.admitted:
            assert taken.due == max(due, now) + limit.interval and taken.wait == 0
        else:
            assert taken.due == due and taken.wait > 0
            assert limit.take(due, now + taken.wait).admitted
            assert not limit.take(due, now + taken.wait - 1).admitted
        due = taken.due


@given(st.integers(1, 10**6), st.sampled_from([1, 60, 3600]), st.integers(1, 1000))
def test_a_burst_at_once_then_the_rate(requests: int, seconds: int, burst: int) -> None:
    limit = Gcra.of(requests, seconds, burst=burst)
    assert len(admitted(limit, [10**12] * (burst + 3))) == burst
    due, now, count = 0, 10**12, 0
    for _ in range(burst + 50):  # as soon as it is admitted, each time
        taken = limit.take(due, now)
        if not taken.admitted:
            now += taken.wait
            taken = limit.take(due, now)
        due, count = taken.due, count + 1
    assert count == burst + 50
    assert now - 10**12 == 50 * limit.interval


@given(st.integers(1, 10**6), st.sampled_from([1, 60, 3600]))
def test_never_more_than_the_rate_and_hardly_less(requests: int, seconds: int) -> None:
    interval = Gcra.of(requests, seconds).interval
    assert interval * requests >= seconds * SECOND
    assert (interval - 1) * requests < seconds * SECOND
    assert interval * requests <= seconds * SECOND * 1.001


@given(LIMITS, GAPS, st.integers(0, 10**7))
def test_what_expired_is_as_if_it_had_never_been(limit: Gcra, gaps: list[int], later: int) -> None:
    requests = times(gaps)
    due = 0
    for now in requests:
        due = limit.take(due, now).due
    now = (requests[-1] if requests else 10**12) + later
    if expired(due, now):
        assert limit.take(due, now) == limit.take(0, now)


@pytest.mark.parametrize(("interval", "burst"), [(0, 0), (-1, 0), (1, -1)])
def test_what_is_no_limit(interval: int, burst: int) -> None:
    with pytest.raises(ValueError, match="interval"):
        Gcra(interval, burst)


@pytest.mark.parametrize("wrong", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_what_is_no_rate(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="at once"):
        Gcra.of(wrong[0], wrong[1], burst=wrong[2])


# --- by key -------------------------------------------------------------------------------------------------------------


@given(LIMITS, st.lists(st.tuples(st.integers(0, 3), st.integers(0, 10**6)), max_size=60))
def test_keys_with_room_do_not_know_of_each_other(limit: Gcra, asked: list[tuple[int, int]]) -> None:
    keyed, alone, now = Keyed(limit, room=4), dict.fromkeys(range(4), 0), 10**12
    for key, gap in asked:
        now += gap
        taken = limit.take(alone[key], now)
        assert keyed.take(key, now) == taken
        alone[key] = taken.due
    assert keyed.overflowed == 0


@given(LIMITS, st.lists(st.tuples(st.integers(0, 9), st.integers(0, 10**6)), max_size=60))
def test_without_room_a_key_is_admitted_no_more_than_by_itself(
    limit: Gcra, asked: list[tuple[int, int]]
) -> None:
    few, now = Keyed(limit, room=2), 10**12
    found: dict[int, list[int]] = {}
    for key, gap in asked:
        now += gap
        if few.take(key, now).admitted:
            found.setdefault(key, []).append(now)
    for those in found.values():
        for first, start in enumerate(those):
            for count, end in enumerate(those[first:], start=1):
                assert count <= limit.most(end - start)


def test_room_comes_back_with_time() -> None:
    keyed = Keyed(Gcra(100, 0), room=2)
    for key in "abc":
        keyed.take(key, 1000)
    assert (keyed.overflowed, keyed.sweep(1099), keyed.sweep(1100)) == (1, 0, 2)
    assert keyed.take("c", 1100).admitted and keyed.overflowed == 1
