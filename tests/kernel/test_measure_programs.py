"""What measure/{latency,count,log}.h do in the kernel."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random
from struct import Struct
from typing import get_args

import measuring
import pytest
from measuring import Measuring, changed

from ebpfmesh import maps, objects
from ebpfmesh.observe import latency, wire
from ebpfmesh.observe.decision import Kind, Reason
from ebpfmesh.policy import render
from ebpfmesh.testing import compile_bpf
from ebpfmesh.tiers.connect.wire import BACKEND
from ebpfmesh.tiers.l7.metric_rows import forget

pytestmark = pytest.mark.kernel


@pytest.fixture
def programs() -> Iterator[Measuring]:
    with Measuring() as made:
        yield made


def rows(programs: Measuring) -> dict[tuple[int, ...], list[int]]:
    """Every row of l7_metrics, its words summed over the CPUs."""
    width = wire.METRIC.size // 8
    return {
        tuple(key): [
            sum(getattr(one, name) for one in values)
            for name in ("requests", "sent", "received", "nanoseconds")
        ]
        + [sum(column) for column in zip(*(one.buckets for one in values), strict=True)][: width - 4]
        for key, values in programs.maps["l7_metrics"].items()
    }


def log_state(programs: Measuring) -> tuple[int, ...]:
    return tuple(programs.maps["l7_log_state"][0])


def test_they_load_in_every_type_of_program() -> None:
    with objects.load(measuring.spec()) as loaded:
        assert set(loaded.programs) == {"measured_tc", "measured_msg", "measured_skb", "measured_ops"}


def test_buckets_begin_where_python_says(programs: Measuring) -> None:
    for bucket in range(wire.BUCKETS):
        assert programs.bucket(latency.lower(bucket)) == bucket
        if bucket:
            assert programs.bucket(latency.lower(bucket) - 1) == bucket - 1
    assert programs.bucket(2**64 - 1) == wire.BUCKETS - 1


def test_every_latency_is_in_its_bucket(programs: Measuring) -> None:
    random = Random(4)
    for nanoseconds in (random.getrandbits(random.randint(1, 64)) for _ in range(2000)):
        bucket = programs.bucket(nanoseconds)
        high = latency.upper(bucket)
        assert latency.lower(bucket) <= nanoseconds
        assert high is None or nanoseconds < high


def test_a_request_is_counted_in_its_row(programs: Measuring) -> None:
    programs.count(1, 10, 3, 200, sent=5, received=7, nanoseconds=2000)
    programs.count(1, 10, 3, 204, sent=1, received=1, nanoseconds=3_000_000)
    programs.count(1, wire.LOCAL, 0, 403)
    programs.count(2, 20, 0, 0)
    programs.count(2, 20, 0, 999)
    found = rows(programs)
    assert set(found) == {(1, 10, 3, 2), (1, wire.LOCAL, 0, 4), (2, 20, 0, 0)}
    assert found[1, 10, 3, 2][:4] == [2, 6, 8, 3_002_000]
    assert [number for number, count in enumerate(found[1, 10, 3, 2][4:]) if count] == [
        programs.bucket(2000), programs.bucket(3_000_000),
    ]  # fmt: skip
    assert found[2, 20, 0, 0][0] == 2


def test_what_finds_no_row_is_counted_in_the_overflow() -> None:
    with Measuring(max_entries={"l7_metrics": 4}) as programs:
        for number in range(10):
            programs.count(number, 0, 0, 200, repeat=3)
        assert len(rows(programs)) == 4
        assert sum(row[0] for row in rows(programs).values()) == 12
        overflow, template = (programs.maps["l7_overflow"][index] for index in range(2))
        assert sum(one.requests for one in overflow) == 18
        assert sum(sum(one.buckets) for one in overflow) == 18
        assert not any(one.requests or any(one.buckets) for one in template)
        assert log_state(programs)[5] == 18


def test_a_row_that_was_deleted_is_made_anew(programs: Measuring) -> None:
    programs.count(1, 0, 0, 200)
    programs.maps["l7_metrics"].clear()
    programs.count(1, 0, 0, 200)
    assert [row[0] for row in rows(programs).values()] == [1]


LOST, IN_RESPONSE = 8, 256


def test_what_is_not_answered_when_a_connection_closes(programs: Measuring) -> None:
    programs.close_connection(
        [(3, 50), (4, 60), (4, 70)], answered=62, status=200, received=900, flags=IN_RESPONSE
    )
    found = rows(programs)
    assert {key: row[:3] for key, row in found.items()} == {
        (1, 10, 3, 2): [1, 50, 900],
        (1, 10, 4, 0): [2, 130, 0],
    }
    assert all(0 < row[3] < 10**9 for row in found.values())


def test_a_full_pipeline_and_an_empty_one(programs: Measuring) -> None:
    programs.close_connection([], answered=5)
    assert rows(programs) == {}
    programs.close_connection([(0, 1)] * 64, answered=1000)
    assert rows(programs)[1, 10, 0, 0][0] == 64


def test_responses_that_were_not_followed_are_not_missing(programs: Measuring) -> None:
    programs.close_connection([(0, 1)], answered=0, flags=LOST)
    assert rows(programs) == {}


def test_denials_are_told_whatever_the_bounds(programs: Measuring) -> None:
    programs.settings(interval=10**12, burst=0, sample=0)
    programs.tell(repeat=50)
    written, _, dropped, ring_full, samples, _ = log_state(programs)
    assert (written, dropped, ring_full, samples) == (50, 0, 0, 0)
    assert len(programs.maps["l7_log"].drain()) == 50


def test_allowed_requests_are_sampled(programs: Measuring) -> None:
    programs.settings(sample=0)
    programs.tell(allowed=True, repeat=100)
    assert log_state(programs)[0] == 0
    programs.settings(sample=1)
    programs.tell(allowed=True, repeat=100)
    assert log_state(programs)[0] == 100
    programs.settings(sample=10)
    programs.tell(allowed=True, repeat=20_000)
    drawn = log_state(programs)[4] - 100
    assert 1700 < drawn < 2300  # 2000, and seven standard deviations


def test_what_is_no_denial_is_bounded_in_rate(programs: Measuring) -> None:
    programs.settings(interval=1000, burst=4000, sample=1)
    programs.tell(allowed=True, now=10**9, repeat=20)
    assert log_state(programs)[0] == 5
    assert log_state(programs)[2] == 15
    programs.tell(allowed=True, now=10**9 + 2000, repeat=20)
    assert log_state(programs)[0] == 7
    programs.tell(allowed=True, audited=True, now=10**9 + 2000)
    assert log_state(programs)[0] == 7
    programs.tell(allowed=False, now=10**9 + 2000)
    assert log_state(programs)[0] == 8


def test_an_audit_is_told_without_being_drawn(programs: Measuring) -> None:
    programs.settings(sample=0)
    programs.tell(allowed=True, audited=True)
    assert programs.maps["l7_recent"][0].kind == 3


@pytest.mark.parametrize(("allowed", "reason", "kind"), [(False, 1, 2), (False, 7, 5), (True, 2, 1)])
def test_the_kind_follows_from_the_decision(
    programs: Measuring, allowed: bool, reason: int, kind: int
) -> None:
    programs.settings(sample=1)
    programs.tell(allowed=allowed, reason=reason)
    assert programs.maps["l7_recent"][0].kind == kind


def test_a_full_ring_is_counted_and_the_recent_ones_go_on(programs: Measuring) -> None:
    programs.tell(repeat=20_000, path=b"/a")
    written, _, _, ring_full, _, _ = log_state(programs)
    told = len(programs.maps["l7_log"].drain())
    assert written == 20_000
    assert ring_full == 20_000 - told
    assert 3000 < told < 20_000
    sequences = sorted(entry.sequence for entry in programs.maps["l7_recent"].values())
    assert sequences == [2 * number + 2 for number in range(20_000 - wire.RECENT, 20_000)]


def test_a_place_that_is_being_written_is_left_alone(programs: Measuring) -> None:
    """A writer that was preempted holds it: its sequence is odd."""
    recent = programs.maps["l7_recent"]
    recent[0] = changed(recent[0], sequence=1, rule=77)
    programs.tell(rule=5)
    assert (recent[0].sequence, recent[0].rule) == (1, 77)
    assert (recent[1].sequence, recent[1].rule) == (4, 5)
    for number in range(2, 6):
        recent[number] = changed(recent[number], sequence=1)
    programs.tell(rule=6)
    assert log_state(programs)[2] == 1
    assert len(programs.maps["l7_log"].drain()) == 1


@pytest.mark.parametrize("length", [0, 1, 7, 8, 79, 80, 81, 500])
def test_texts_are_cut_and_padded(programs: Measuring, length: int) -> None:
    programs.tell(path=b"x" * 300, host=b"y" * 60, method=b"m" * 16, traceparent=b"t" * 55)
    programs.maps["l7_recent"][1] = changed(
        programs.maps["l7_recent"][0], sequence=0
    )  # what was there shines not through
    path = bytes(33 + number % 90 for number in range(length))
    programs.tell(method=b"GET", host=b"a.example", path=path)
    entry = programs.maps["l7_recent"][1]
    assert bytes(entry.path) == path[:80].ljust(80, b"\0")
    assert entry.path_length == length
    assert bytes(entry.host) == b"a.example".ljust(40, b"\0")
    assert bytes(entry.method) == b"GET".ljust(16, b"\0")
    assert bytes(entry.traceparent) == bytes(56)


def test_a_connection_is_told_without_a_request(programs: Measuring) -> None:
    programs.tell(path=b"/old", rule=9, status=403)
    recent = programs.maps["l7_recent"]
    recent[1] = changed(recent[0], sequence=0)
    programs.tell_connection(4, service=3, cookie=77)
    entry = recent[1]
    assert (entry.kind, entry.allowed, entry.reason, entry.service, entry.cookie) == (4, 0, 9, 3, 77)
    assert (entry.rule, entry.status, entry.path_length, bytes(entry.path)) == (0, 0, 0, bytes(80))
    programs.settings(interval=10**12)
    programs.tell_connection(4, repeat=10)
    assert log_state(programs)[2] == 9


def test_sizes_are_those_of_python(programs: Measuring) -> None:
    sizes = {name: programs.maps[name].value_size for name in ("l7_recent", "l7_log_state", "backends")}
    assert sizes == {
        "l7_recent": wire.LOG_ENTRY.size, "l7_log_state": wire.LOG_STATE.size, "backends": BACKEND.size,
    }  # fmt: skip
    assert programs.maps["l7_metrics"].key_size == wire.METRIC_KEY.size
    assert len(programs.maps["l7_metrics"].value.pack(programs.maps["l7_overflow"][1][0])) == (
        wire.METRIC.size * maps.possible_cpus()
    )
    assert programs.maps["l7_recent"].max_entries == wire.RECENT


def test_what_it_costs(programs: Measuring) -> None:
    """A guard against a blunder, on a machine that others use too: some 0.1 and 0.3 us are usual."""
    assert min(programs.count(1, 0, 0, 200, repeat=20_000) for _ in range(3)) < 2000
    assert min(programs.tell(path=b"/a", method=b"GET", repeat=20_000) for _ in range(3)) < 5000


def test_nothing_is_lost_between_cpus_and_tasks(programs: Measuring) -> None:
    """Four tasks at once: counts are exact, and no entry is half one request's and half another's."""
    with ThreadPoolExecutor(4) as pool:
        programs.count(1, 0, 0, 200)
        run = programs.loaded.programs["measured_tc"].test_run
        list(pool.map(lambda _: run(bytes(64), room=0, repeat=50_000), range(4)))
        assert [row[0] for row in rows(programs).values()] == [200_001]
        assert sum(rows(programs)[1, 0, 0, 2][4:]) == 200_001
        programs.tell(path=b"/a")
        list(pool.map(lambda _: run(bytes(64), room=0, repeat=50_000), range(4)))
    written, _, dropped, ring_full, _, _ = log_state(programs)
    told = programs.maps["l7_log"].drain()
    assert len(told) == 200_001 - ring_full - dropped
    numbers = [int.from_bytes(entry[:8], "little") for entry in told]
    assert len(set(numbers)) == len(numbers)
    assert {number & 1 for number in numbers} == {1}
    recent = [entry.sequence for entry in programs.maps["l7_recent"].values()]
    assert len(set(recent)) == wire.RECENT
    assert {number & 1 for number in recent} == {0}
    assert max(recent) <= 2 * written


def test_numbers_and_names_are_those_of_the_header() -> None:
    """The compiler compares them."""
    enumerators = {
        **{f"L7_LOG_{name.upper()}": number for number, name in enumerate(get_args(Kind), 1)},
        **{f"L7_{name.upper()}": number for number, name in enumerate(get_args(Reason))},
        "L7_BUCKETS": wire.BUCKETS, "L7_CLASSES": len(wire.CLASSES), "L7_LOCAL": wire.LOCAL, "L7_RECENT": wire.RECENT,
        "sizeof(((struct l7_log_entry *)0)->path)": wire.PATH_ROOM,
        "sizeof(((struct l7_log_entry *)0)->host)": wire.HOST_ROOM,
    }  # fmt: skip
    for name, offset in zip(
        ("sequence", "time", "cookie", "stream", "retry_after", "service", "backend", "workload", "policy", "list", "rule",
         "route", "limit", "address", "kind", "allowed", "reason", "protocol", "status", "path_length", "method", "host",
         "traceparent", "path"),
        offsets(wire.LOG_ENTRY), strict=True,
    ):  # fmt: skip
        enumerators[f"__builtin_offsetof(struct l7_log_entry, {name})"] = offset
    for name, offset in zip(
        ("written", "told", "dropped", "ring_full", "samples", "metrics_full"),
        offsets(wire.LOG_STATE),
        strict=True,
    ):
        enumerators[f"__builtin_offsetof(struct l7_log_state, {name})"] = offset
    for name, value in {
        "l7_reply": render.REPLY, "l7_insert": render.INSERT, "l7_metric": wire.METRIC, "l7_metric_key": wire.METRIC_KEY,
        "l7_log_entry": wire.LOG_ENTRY, "l7_log_state": wire.LOG_STATE,
    }.items():  # fmt: skip
        enumerators[f"sizeof(struct {name})"] = value.size
    asserts = [f'_Static_assert({name} == {number}u, "");' for name, number in enumerators.items()]
    compile_bpf(measuring.SOURCE + "#include <ebpfmesh/reply/reply.h>\n" + "\n".join(asserts) + "\n")


def offsets(packed: Struct) -> list[int]:
    """Where each value of a format begins; "16s" and "16Q" are one."""
    found, at = [], 0
    for count, code in re.findall(r"(\d*)([a-zA-Z])", packed.format):
        size = Struct(f"={count}{code}").size
        if code == "s" or not count:
            found.append(at)
        else:
            found += range(at, at + size, size // int(count))
        at += size
    return found


def test_rows_of_numbers_that_are_given_up_are_deleted(programs: Measuring) -> None:
    for service in range(3):
        for backend in (10, 11):
            for route in (0, 5, 6):
                programs.count(service, backend, route, 200)
    table = programs.maps["l7_metrics"]
    assert forget(table) == 0
    assert forget(table, services={1}) == 6
    assert forget(table, backends={11}, routes={6}) == 8
    assert set(rows(programs)) == {(service, 10, route, 2) for service in (0, 2) for route in (0, 5)}
