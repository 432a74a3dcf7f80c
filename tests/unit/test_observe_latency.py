"""Buckets and what is said of quantiles: always a statement that is true of the latencies that were counted."""

from __future__ import annotations

import math
from bisect import bisect_right

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpfmesh.observe import latency
from ebpfmesh.observe.wire import BUCKETS

BORDERS = [latency.lower(bucket) for bucket in range(BUCKETS)]


def bucket_of(nanoseconds: int) -> int:
    return bisect_right(BORDERS, nanoseconds) - 1


def counted(values: list[int]) -> latency.Latency:
    buckets = [0] * BUCKETS
    for value in values:
        buckets[bucket_of(value)] += 1
    return latency.of(buckets, sum(values))


def test_buckets_are_four_to_a_power_of_two() -> None:
    assert BORDERS[:6] == [0, 1024, 1280, 1536, 1792, 2048]
    assert BORDERS[-1] == 12_884_901_888
    assert latency.upper(BUCKETS - 1) is None
    for bucket in range(1, BUCKETS - 1):
        high = latency.upper(bucket)
        assert high == BORDERS[bucket + 1]
        assert 0 < high - BORDERS[bucket] <= BORDERS[bucket] / 4


@given(st.lists(st.integers(0, 1 << 40), min_size=1, max_size=200), st.floats(0, 1))
def test_the_quantile_lies_between_the_borders(values: list[int], q: float) -> None:
    found = counted(values).quantile(q)
    exact = sorted(values)[max(1, math.ceil(q * len(values))) - 1]
    assert found is not None
    assert found.low <= exact
    assert found.high is None or exact < found.high


@given(st.integers(1024, BORDERS[-1] - 1))
def test_the_middle_is_at_most_an_eighth_off(value: int) -> None:
    found = counted([value]).p50
    assert found is not None
    assert abs(found.middle - value) / value < 0.1112


def test_nothing_was_counted() -> None:
    empty = latency.of([0] * BUCKETS, 0)
    assert (empty.count, empty.p50, empty.p999, empty.mean) == (0, None, None, 0.0)
    assert latency.merged([]).count == 0


def test_the_last_bucket_has_no_bound() -> None:
    found = counted([1 << 60]).p99
    assert found == latency.Between(BORDERS[-1], None)
    assert found.middle == BORDERS[-1]


def test_several_are_merged() -> None:
    both = latency.merged([counted([2000, 3000]), counted([5_000_000])])
    assert (both.count, both.total, both.mean) == (3, 5_005_000, 5_005_000 / 3)
    assert both == counted([2000, 3000, 5_000_000])


@pytest.mark.parametrize("q", [-0.1, 1.1, math.nan])
def test_what_is_no_quantile_is_refused(q: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        counted([1]).quantile(q)
