"""Two processors at one key admit what the rate allows, and no more. Time is the kernel's own: what else the machine does
makes no difference to the bounds."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator

import pytest
from decisions import LIMIT, PER_ADDRESS, PER_SERVICE, Tables

from ebpfmesh.engine.limit import Gcra
from ebpfmesh.harness import decision
from ebpfmesh.harness.decision import Asked, DecisionEngine, Trials

pytestmark = pytest.mark.kernel(feature="loop")

SECOND = 10**9


@pytest.fixture
def kernel(_leaks_fail: None) -> Iterator[DecisionEngine]:
    with decision.load() as loaded:
        yield loaded


def hammer(kernel: DecisionEngine, place: int, processor: int, nanoseconds: int, found: list[Trials]) -> None:
    """Requests without a pause from one processor, for so long by the kernel's clock."""
    os.sched_setaffinity(threading.get_native_id(), {processor})
    since = 0
    while True:
        trials = kernel.measure(Asked.of(), repeat=20_000, policy=1, place=place)
        found.append(trials)
        since = since or trials.first
        if trials.last - since >= nanoseconds:
            return


def pressed(kernel: DecisionEngine, nanoseconds: int) -> tuple[int, int]:
    """Requests admitted to two processors, and the nanoseconds between the first and the last request of all."""
    processors = sorted(os.sched_getaffinity(0))
    found: list[Trials] = []
    threads = [
        threading.Thread(
            target=hammer, args=(kernel, place, processors[place % len(processors)], nanoseconds, found)
        )
        for place in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = max(one.last for one in found) - min(one.first for one in found)
    return sum(one.allowed for one in found), elapsed


@pytest.mark.parametrize(("key", "rate"), [(PER_SERVICE, 100_000), (PER_ADDRESS, 1_000_000)])
def test_two_processors_admit_the_rate_and_the_burst(kernel: DecisionEngine, key: int, rate: int) -> None:
    # a burst of half a second: only if both stood still for longer would tokens be lost
    limit = Gcra.of(rate, burst=rate // 2)
    tables = Tables()
    tables.add_policy([tables.rule(LIMIT, argument=tables.limit(limit.interval, limit.burst, key=key))])
    tables.install(kernel)
    admitted, elapsed = pressed(kernel, SECOND)
    most = limit.most(elapsed)
    assert admitted <= most
    assert admitted >= 0.99 * (rate * elapsed / SECOND + rate // 2)
    found = struct.unpack("=4Q", kernel.maps["l7_limit_stats"].lookup_raw(struct.pack("=I", 1)) or b"")
    assert found[0] == admitted and found[2] == 0
    print(
        f"admitted {admitted} of at most {most} in {elapsed} ns; refused {found[1]}, of them contended {found[3]}"
    )


def test_two_processors_at_the_overflow_bucket(_leaks_fail: None) -> None:
    limit = Gcra.of(100_000, burst=50_000)
    with decision.load(capacities={"l7_buckets": 1}) as kernel:
        tables = Tables()
        tables.add_policy(
            [tables.rule(LIMIT, argument=tables.limit(limit.interval, limit.burst, key=PER_ADDRESS))]
        )
        tables.install(kernel)
        kernel.decide(Asked.of(), policy=1, address=b"\1" * 16)
        admitted, elapsed = pressed(kernel, SECOND // 2)
        assert 0.99 * (100_000 * elapsed / SECOND + 50_000) <= admitted <= limit.most(elapsed)
        found = struct.unpack("=4Q", kernel.maps["l7_limit_stats"].lookup_raw(struct.pack("=I", 1)) or b"")
        assert found[0] == admitted + 1 and found[2] == found[0] + found[1] - 1
