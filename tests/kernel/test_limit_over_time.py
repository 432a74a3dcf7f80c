"""Limits over time: keys refill, are forgotten once they are as if never seen, and leave their room to others.

The clock is given to the programs, so that hours pass in no time; a mesh on the real clock is the last test.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator

import pytest
from decisions import LIMIT, PER_IDENTITY, Tables
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from l7_site import L7Site

from ebpfmesh.engine.limit import Gcra, Keyed
from ebpfmesh.engine.limit.gcra import expired
from ebpfmesh.harness import decision
from ebpfmesh.harness.decision import Asked, DecisionEngine
from ebpfmesh.policy import Capacity, Limit
from ebpfmesh.tiers.l7 import tier

pytestmark = pytest.mark.kernel(feature="loop")
SITE = L7Site

ROOM = 4
_WORD = struct.Struct("=Q")


@pytest.fixture(scope="module")
def small() -> Iterator[DecisionEngine]:
    """With room for four keys."""
    with decision.load(capacities={"l7_buckets": ROOM}) as loaded:
        yield loaded


def install(kernel: DecisionEngine, limit: Gcra) -> None:
    tables = Tables()
    element = tables.limit(limit.interval, limit.burst, key=PER_IDENTITY, number=7)
    tables.add_policy([tables.rule(LIMIT, argument=element)])
    tables.rows["l7_limit_stats"], tables.rows["l7_limit_full"] = {7: bytes(32)}, {7: bytes(8)}
    kernel.clear()
    tables.install(kernel)


def sweep(kernel: DecisionEngine, now: int) -> int:
    """As the agent does: what is due is removed."""
    table = kernel.maps["l7_buckets"]
    keys, values = table.lookup_batch_raw()
    size = table.key_size
    gone = [
        keys[at * size : (at + 1) * size]
        for at, (due,) in enumerate(_WORD.iter_unpack(values))
        if expired(due, now)
    ]
    for key in gone:
        kernel.maps["l7_buckets"].delete_raw(key)
    return len(gone)


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(0, 9), st.integers(0, 2 * 10**6)),
        st.tuples(st.just("sweep"), st.just(0), st.integers(0, 10**8)),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(st.builds(Gcra, st.integers(1, 10**7), st.integers(0, 10**8)), _STEPS)
def test_keys_come_go_and_come_again_as_the_reference_says(
    small: DecisionEngine, limit: Gcra, steps: list[tuple[str, int, int]]
) -> None:
    """More keys than there is room for; the agent's walk comes in between, at any time."""
    install(small, limit)
    reference, now = Keyed(limit, room=ROOM), 10**12
    for what, workload, gap in steps:
        now += gap
        if what == "sweep":
            assert sweep(small, now) == reference.sweep(now)
            continue
        taken = reference.take(workload, now)
        found = small.decide(Asked.of(), policy=1, workload=workload, now=now)
        assert (found.allowed, found.retry_after) == (taken.admitted, taken.wait)
    counted = struct.unpack("=4Q", small.maps["l7_limit_stats"].lookup_raw(struct.pack("=I", 7)) or b"")
    assert counted[2:] == (reference.overflowed, 0)


def test_a_mesh_forgets_keys_that_are_idle_and_gives_their_room_to_others(
    site: L7Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While all rooms are taken a new key shares one allowance with all that find none; it has its own once one is free."""
    monkeypatch.setattr(tier, "_IDLE", 0)  # a minute, which a test does not wait for
    monkeypatch.setattr(tier, "_BUCKETS_EVERY", 0.0)
    rate, keys = 4, 16
    limit = Limit("each-user", rate=f"{rate}/s", burst=2, key="header:x-user")
    mesh = site.start(site.http(limits=(limit,)), capacity=Capacity(l7_limit_keys=keys))
    assert mesh.l7 is not None
    connection = site.connect()

    def ask(user: str) -> int:
        return site.get(connection, headers={"x-user": user}).status

    room = mesh.l7.tables.maps["l7_buckets"].max_entries
    users = [f"user-{number}" for number in range(4 * room)]
    first = [ask(user) for user in users]
    held = dict(mesh.l7.tables.buckets())
    assert len(held) <= room
    refused = first.count(429)
    assert refused > 0, "those without room share one allowance"
    assert first[: keys // 2].count(200) == keys // 2, "those with room have their own"
    time.sleep(2 / rate + 1 / rate)  # all that anybody took is refilled
    mesh.l7.collect()
    assert not dict(mesh.l7.tables.buckets())
    assert [ask(user) for user in users[-3:] for _ in range(3)] == [200, 200, 429] * 3
    assert len(dict(mesh.l7.tables.buckets())) == 3
