"""Limits in the kernel: each request is admitted or refused as the reference says; keys, overflow, counters."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from decisions import (
    LIMIT,
    LIMITED,
    PER_ADDRESS,
    PER_FIELD,
    PER_IDENTITY,
    PER_SERVICE,
    Tables,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ebpfmesh.engine.limit import Gcra, Keyed
from ebpfmesh.harness import decision
from ebpfmesh.harness.decision import Asked, Decided, DecisionEngine

pytestmark = pytest.mark.kernel(feature="loop")

USER, AUTHORIZATION = 20, 14
SECOND = 10**9


@pytest.fixture
def kernel(_leaks_fail: None) -> Iterator[DecisionEngine]:
    with decision.load() as loaded:
        yield loaded


@pytest.fixture(scope="module")
def shared() -> Iterator[DecisionEngine]:
    with decision.load() as loaded:
        yield loaded


@pytest.fixture
def small(_leaks_fail: None) -> Iterator[DecisionEngine]:
    """With room for four keys."""
    with decision.load(capacities={"l7_buckets": 4}) as loaded:
        yield loaded


def limited(kernel: DecisionEngine, limit: Gcra, *, key: int = PER_SERVICE, field: int = 0) -> None:
    """One limit on everything; its reply is 4, its number 7, its rule 101."""
    tables = Tables()
    element = tables.limit(limit.interval, limit.burst, key=key, field=field, number=7)
    tables.add_policy([tables.rule(LIMIT, argument=element, reply=4)])
    tables.rows["l7_limit_stats"], tables.rows["l7_limit_full"] = {7: bytes(32)}, {7: bytes(8)}
    kernel.clear()
    tables.install(kernel)


def counters(kernel: DecisionEngine, number: int = 7) -> tuple[int, ...]:
    """Admitted, refused, overflowed, contended."""
    return struct.unpack("=4Q", kernel.maps["l7_limit_stats"].lookup_raw(struct.pack("=I", number)) or b"")


def take(kernel: DecisionEngine, now: int, **options: object) -> Decided:
    asked = options.pop("asked", Asked.of())
    assert isinstance(asked, Asked)
    return kernel.decide(asked, policy=1, now=now, **options)  # type: ignore[arg-type]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(
    st.builds(Gcra, st.integers(1, 10**7), st.integers(0, 10**8)),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 10**7) | st.integers(0, 50)), max_size=40),
)
def test_as_the_reference(shared: DecisionEngine, limit: Gcra, asked: list[tuple[int, int]]) -> None:
    limited(shared, limit, key=PER_IDENTITY)
    reference, now, admitted = Keyed(limit, room=1000), 10**12, 0
    for workload, gap in asked:
        now += gap
        taken, found = reference.take(workload, now), take(shared, now, workload=workload)
        assert (found.allowed, found.retry_after) == (taken.admitted, taken.wait)
        admitted += taken.admitted
    assert counters(shared) == (admitted, len(asked) - admitted, 0, 0)


def test_what_a_refused_request_is_told(kernel: DecisionEngine) -> None:
    limited(kernel, Gcra.of(2, burst=3))
    found = [take(kernel, SECOND) for _ in range(5)]
    assert [one.allowed for one in found] == [True] * 3 + [False] * 2
    for one in found[3:]:
        assert (one.reason, one.rule, one.reply, one.limit, one.retry_after) == (
            LIMITED,
            101,
            4,
            1,
            SECOND // 2,
        )
    assert not take(kernel, SECOND + SECOND // 2 - 1).allowed
    assert take(kernel, SECOND + SECOND // 2).allowed
    assert counters(kernel) == (4, 3, 0, 0)


def different(kernel: DecisionEngine, first: dict[str, object], second: dict[str, object]) -> bool:
    """Whether two kinds of request have buckets of their own."""
    assert take(kernel, SECOND, **first).allowed and not take(kernel, SECOND, **first).allowed
    return take(kernel, SECOND, **second).allowed


def test_keys(kernel: DecisionEngine) -> None:
    one = Gcra.of(1)
    me, you = {"workload": 1, "address": b"\1" * 16}, {"workload": 2, "address": b"\1" * 15 + b"\2"}
    for key, differ in ((PER_SERVICE, False), (PER_ADDRESS, True), (PER_IDENTITY, True)):
        limited(kernel, one, key=key)
        assert different(kernel, me, you) == differ  # type: ignore[arg-type]
    limited(kernel, one, key=PER_IDENTITY)
    assert different(kernel, {"workload": 0}, {"workload": 1})


def value(text: bytes | int | None, field: int = USER, **options: tuple[int, ...]) -> dict[str, object]:
    others = {} if text is None else {field: text}
    return {"asked": Asked.of(others=others, **options)}


@pytest.mark.parametrize("size", [1, 7, 8, 9, 64, 65, 4000])
def test_values_of_fields(kernel: DecisionEngine, size: int) -> None:
    text = b"v" * size
    for other in (text[:-1] + b"w", b"w" + text[1:], text + b"v", text[:-1], None):
        limited(kernel, Gcra.of(1), key=PER_FIELD, field=USER)
        assert different(kernel, value(text), value(other))


def test_requests_without_a_value_to_go_by_share_a_bucket(kernel: DecisionEngine) -> None:
    unknown = [value(b"v", repeated=(USER,)), value(b"v", truncated=(USER,)), value(None, truncated=(USER,))]
    for one in unknown:
        limited(kernel, Gcra.of(1), key=PER_FIELD, field=USER)
        assert not different(kernel, value(None), one)
        assert take(kernel, SECOND, **value(b"")).allowed  # an empty value is one


def test_a_value_that_is_a_number(kernel: DecisionEngine) -> None:
    limited(kernel, Gcra.of(1), key=PER_FIELD, field=AUTHORIZATION)
    assert different(kernel, value(1 << 60, AUTHORIZATION), value(1 << 61, AUTHORIZATION))
    assert not different(kernel, value(0, AUTHORIZATION), value(1 << 60, AUTHORIZATION))


def test_keys_beyond_the_room_share_one_bucket_and_are_counted(small: DecisionEngine) -> None:
    one = Gcra.of(1, burst=2)
    limited(small, one, key=PER_IDENTITY)
    reference, now = Keyed(one, room=4), 10**12
    for step in range(60):
        workload, now = step * 7 % 9, now + SECOND // 3
        taken, found = reference.take(workload, now), take(small, now, workload=workload)
        assert (found.allowed, found.retry_after) == (taken.admitted, taken.wait), step
    admitted, refused, overflowed, contended = counters(small)
    assert (admitted + refused, contended) == (60, 0)
    assert overflowed == reference.overflowed > 0
    # what the agent removes makes room, and what is there goes on
    small.maps["l7_buckets"].clear()
    assert take(small, now, workload=100).allowed
    assert counters(small)[2] == overflowed


def test_the_overflow_of_one_limit_is_not_anothers(small: DecisionEngine) -> None:
    tables = Tables()
    first, second = (tables.limit(SECOND, 0, key=PER_IDENTITY, number=number) for number in (1, 2))
    tables.add_policy([tables.rule(LIMIT, argument=first)])
    tables.add_policy([tables.rule(LIMIT, argument=second)])
    tables.install(small)
    for workload in range(4):
        assert small.decide(Asked.of(), policy=1, workload=workload, now=1).allowed
    for policy, allowed in ((1, True), (1, False), (2, True), (2, False)):
        assert small.decide(Asked.of(), policy=policy, workload=77, now=1).allowed == allowed


def test_every_limit_that_matches_is_taken_from_until_one_refuses(kernel: DecisionEngine) -> None:
    tables = Tables()
    wide, narrow, last = (tables.limit(SECOND, burst * SECOND, number=burst) for burst in (9, 1, 5))
    tables.add_policy([tables.rule(LIMIT, argument=one, reply=one) for one in (wide, narrow, last)])
    tables.install(kernel)
    found = [kernel.decide(Asked.of(), policy=1, now=1) for _ in range(4)]
    assert [(one.allowed, one.limit, one.reply) for one in found] == [(True, 0, 0)] * 2 + [(False, 2, 2)] * 2
    assert [counters(kernel, number)[:2] for number in (9, 1, 5)] == [(4, 0), (2, 2), (2, 0)]


def test_one_limit_in_several_rules_takes_one_token(kernel: DecisionEngine) -> None:
    tables = Tables()
    limit = tables.limit(SECOND, 9 * SECOND, number=7)
    rules = [tables.rule(LIMIT, argument=limit, number=50, methods=methods) for methods in (2, 1, 1, 3)]
    tables.add_policy(rules)
    tables.install(kernel)
    assert kernel.decide(Asked.of(), policy=1, now=1).allowed
    assert counters(kernel)[:2] == (1, 0)
