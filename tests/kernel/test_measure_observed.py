"""What the kernel counted and told, as it is seen from outside: by pins alone, no agent anywhere."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from measuring import Measuring

from ebpfmesh.cli.main import main
from ebpfmesh.errors import ClosedError, HostError
from ebpfmesh.observe import Observer, wire
from ebpfmesh.ownership import PinDirectory
from ebpfmesh.testing.wait import eventually

pytestmark = pytest.mark.kernel

ALLOW, DENY, LIMIT, ROUTE = 2, 1, 5, 4
TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def kernel() -> Iterator[Measuring]:
    with Measuring() as made:
        made.service(0, "catalogue", "10.0.0.5:80")
        made.service(7, "orders", "10.0.0.1:8080", "[fd00::1]:8080")
        made.name("rule", 3, "no-admin", service=7, action=DENY)
        made.name("rule", 4, "slow-down", service=7, action=LIMIT)
        made.name("limit", 2, "slow-down", service=7, action=LIMIT)
        made.name("route", 9, "order", service=7, action=ROUTE)
        made.name("source", 5, "checkout")
        made.settings(sample=1)
        yield made


@pytest.fixture
def observer(kernel: Measuring, bpffs: Path) -> Iterator[Observer]:
    with kernel.pin(bpffs) as made:
        yield made


def deny(kernel: Measuring, **more) -> None:
    given = {
        "service": 7,
        "rule": 3,
        "status": 403,
        "method": b"GET",
        "path": b"/admin",
        "now": time.monotonic_ns(),
    }
    kernel.tell(**{**given, **more})


# --- metrics ----------------------------------------------------------------------------------------------------------


def test_rows_have_names_and_sums(kernel: Measuring, observer: Observer) -> None:
    kernel.count(7, 70, 9, 200, sent=100, received=1000, nanoseconds=2_000_000, repeat=3)
    kernel.count(7, 71, 0, 503, nanoseconds=5_000)
    kernel.count(7, wire.LOCAL, 0, 403, nanoseconds=1_500)
    kernel.count(7, 70, 9, 0)
    kernel.count(0, 0, 0, 200)
    kernel.count(3, 44, 77, 200)
    found = observer.metrics()
    assert [service.name for service in found.services] == ["#3", "catalogue", "orders"]
    gone, catalogue, orders = found.services
    assert [(row.backend, row.route) for row in gone.rows] == [("#44", "#77")]
    assert [(row.backend, row.route, row.requests) for row in catalogue.rows] == [("10.0.0.5:80", "", 1)]
    assert [(row.backend, row.route, row.status_class, row.requests) for row in orders.rows] == [
        ("10.0.0.1:8080", "order", "2xx", 3), ("10.0.0.1:8080", "order", "none", 1),
        ("[fd00::1]:8080", "", "5xx", 1), ("local", "", "4xx", 1),
    ]  # fmt: skip
    assert (orders.requests, orders.errors, orders.bytes_sent, orders.bytes_received) == (6, 2, 600, 3600)
    latency = orders.rows[0].latency
    assert (latency.count, latency.total) == (3, 6_000_000)
    assert latency.p50 is not None
    assert latency.p50.low <= 2_000_000 < (latency.p50.high or 0) <= latency.p50.low * 1.25
    assert orders.latency.count == 6
    assert found.overflow is None


def test_counters_limits_and_the_overflow_row(bpffs: Path) -> None:
    with Measuring(max_entries={"l7_metrics": 2}) as kernel:
        kernel.service(7, "orders")
        kernel.name("limit", 2, "slow-down", service=7, action=LIMIT)
        stats = kernel.maps["l7_stats"]
        stats.update_raw(
            (7).to_bytes(4, "little"), b"".join(number.to_bytes(8, "little") for number in range(48))
        )
        kernel.maps["l7_limit_stats"].update_raw(
            (2).to_bytes(4, "little"), b"".join(number.to_bytes(8, "little") for number in (90, 10, 3, 1))
        )
        for number in range(5):
            kernel.count(7, 70, number, 200)
        with kernel.pin(bpffs) as observer:
            found = observer.metrics()
    orders = found.services[0]
    assert orders.counters["requests"] == 0
    assert (orders.counters["denied"], orders.counters["streams_refused"]) == (2, 31)
    [limit] = orders.limits
    assert (limit.name, limit.admitted, limit.refused, limit.overflowed, limit.contended) == (
        "slow-down", 90, 10, 3, 1,
    )  # fmt: skip
    assert found.overflow is not None
    assert (found.overflow.requests, found.log.metrics_overflow) == (3, 3)


def test_a_service_of_which_nothing_was_counted_is_left_out(observer: Observer) -> None:
    assert [service.name for service in observer.metrics().services] == ["orders"]  # it has a limit


# --- decisions --------------------------------------------------------------------------------------------------------


def test_a_decision_in_words(kernel: Measuring, observer: Observer) -> None:
    before = datetime.now(UTC)
    deny(
        kernel, workload=5, client="192.168.7.1", cookie=99, stream=4, backend=2, route=9, host=b"a.example",
        path=b"/admin/" + b"x" * 100, traceparent=TRACE,
    )  # fmt: skip
    [decision] = observer.recent()
    assert before - timedelta(seconds=1) < decision.at < datetime.now(UTC) + timedelta(seconds=1)
    assert (decision.kind, decision.allowed, decision.reason, decision.status) == (
        "denied",
        False,
        "by_rule",
        403,
    )
    assert (decision.service, decision.workload, decision.rule, decision.route) == (
        "orders", "checkout", "no-admin", "order",
    )  # fmt: skip
    assert (decision.client, decision.backend) == ("192.168.7.1", "[fd00::1]:8080")
    assert (decision.cookie, decision.stream, decision.protocol, decision.policy, decision.list) == (
        99, 4, "http1", 3, 7,
    )  # fmt: skip
    assert (decision.method, decision.host, decision.traceparent) == ("GET", "a.example", TRACE.decode())
    assert decision.path == "/admin/" + "x" * 73
    assert decision.path_length == 107
    assert decision.path_cut


def test_a_refusal_by_a_limit_says_when_to_come_again(kernel: Measuring, observer: Observer) -> None:
    deny(kernel, rule=4, reason=5, status=429, retry_after=1_500_000_000)
    [decision] = observer.recent()
    assert (decision.reason, decision.rule, decision.retry_after) == ("limited", "slow-down", 1.5)


def test_recent_ones_are_in_order_and_bounded(kernel: Measuring, observer: Observer) -> None:
    for number in range(wire.RECENT + 50):
        deny(kernel, cookie=number)
    found = observer.recent()
    assert [one.cookie for one in found] == list(range(50, wire.RECENT + 50))
    assert [one.number for one in found] == list(range(51, wire.RECENT + 51))


def test_an_entry_that_is_being_written_is_left_out(kernel: Measuring, observer: Observer) -> None:
    deny(kernel, cookie=1)
    deny(kernel, cookie=2)
    entry = bytearray(kernel.maps["l7_recent"].lookup_raw(bytes(4)))
    entry[0] |= 1
    kernel.maps["l7_recent"].update_raw(bytes(4), bytes(entry))
    assert [one.cookie for one in observer.recent()] == [2]


def test_the_stream_begins_now(kernel: Measuring, observer: Observer) -> None:
    deny(kernel, cookie=1)
    with observer.stream() as stream:
        deny(kernel, cookie=2)
        deny(kernel, cookie=3)
        found = [stream.read(1), stream.read(1), stream.read(0)]
        assert [one.cookie if one else None for one in found] == [2, 3, None]
    deny(kernel, cookie=4)
    with observer.stream(earlier=True) as stream:
        assert stream.read(1).cookie == 4


def test_a_stream_wakes_up_and_ends(kernel: Measuring, observer: Observer) -> None:
    stream = observer.stream()
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.extend(one.cookie for one in stream))
    thread.start()
    for number in range(3):
        time.sleep(0.02)
        deny(kernel, cookie=number)
    assert eventually(lambda: len(seen) == 3)
    stream.close()
    thread.join(5)
    assert not thread.is_alive()
    assert seen == [0, 1, 2]
    with pytest.raises(ClosedError):
        stream.read(0)


def test_a_stream_for_asyncio(kernel: Measuring, observer: Observer) -> None:
    async def follow() -> list[int]:
        found = []
        with observer.stream() as stream:
            asyncio.get_running_loop().call_later(0.05, deny, kernel)
            async for decision in stream:
                found.append(decision.number)
                if len(found) == 3:
                    break
                deny(kernel)
        return found

    assert asyncio.run(asyncio.wait_for(follow(), 5)) == [1, 2, 3]


def test_what_a_stream_lacks_is_counted(kernel: Measuring, observer: Observer) -> None:
    kernel.settings(interval=10**12, sample=1)
    with observer.stream() as stream:
        assert stream.dropped == 0
        kernel.tell(allowed=True, service=7, repeat=5, now=time.monotonic_ns())
        assert (stream.dropped, stream.counters.sampled, stream.counters.rate_dropped) == (4, 5, 4)
        deny(kernel, repeat=6000)
        behind = stream.counters
        assert behind.ring_full == 0
        assert 2000 < behind.told < 3000  # three quarters of the ring, then the bound in rate
        assert behind.told + behind.rate_dropped == 6005
        assert stream.dropped == behind.rate_dropped
        kernel.settings(interval=0, sample=1)  # no bound
        deny(kernel, repeat=2000)
        assert stream.counters.ring_full > 0
        assert stream.dropped == behind.rate_dropped + stream.counters.ring_full


# --- what is not there ------------------------------------------------------------------------------------------------


def test_no_mesh_and_no_l7(bpffs: Path, kernel: Measuring) -> None:
    with Observer(PinDirectory(bpffs, "nix")) as observer, pytest.raises(HostError, match="no mesh nix"):
        observer.metrics()
    pins = PinDirectory(bpffs, "plain")
    pins.create()
    pins.pin_map("services", kernel.maps["services"], "")
    with Observer(pins) as observer:
        for look in (observer.metrics, observer.recent, observer.stream):
            with pytest.raises(HostError, match="judges no requests") as caught:
                look()
            assert "l7 =" in caught.value.remedy
    with pytest.raises(HostError, match="no mesh gone"):
        Observer.of("gone", bpffs=bpffs)


# --- the commands -----------------------------------------------------------------------------------------------------


def command(bpffs: Path, tmp_path: Path, *words: str) -> int:
    return main(["--run-root", str(tmp_path), "--bpffs", str(bpffs), *words])


def test_metrics_in_json_and_as_a_table(
    kernel: Measuring, observer: Observer, bpffs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kernel.count(7, 70, 9, 200, nanoseconds=2_000_000)
    assert command(bpffs, tmp_path, "metrics", "shop", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["services"][0]["rows"][0]["latency"]["p50"] == {"low": 1835008, "high": 2097152}
    assert command(bpffs, tmp_path, "metrics", "shop", "--table") == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.split(r"\s{2,}", lines[1]) == [
        "orders", "10.0.0.1:8080", "order", "2xx", "1", "100 B", "200 B", "1.84 ms - 2.1 ms", "1.84 ms - 2.1 ms",
    ]  # fmt: skip
    assert "slow-down" in lines[-1]


def test_recent_decisions_by_filter(
    kernel: Measuring, observer: Observer, bpffs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deny(kernel, workload=5, cookie=11, path=b"/admin\x1b[31m")
    deny(kernel, cookie=12, rule=4, reason=5, status=429, retry_after=10**9, path=b"/orders/1")
    kernel.tell(allowed=True, reason=2, service=7, cookie=12, path=b"/orders/2", now=time.monotonic_ns())

    def shown(*words: str) -> list[str]:
        assert command(bpffs, tmp_path, "explain", "--recent", "shop", *words) == 0
        return capsys.readouterr().out.splitlines()

    assert len(shown()) == 6
    first, details = shown("--rule", "no-admin")
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d\.\d{6} denied     checkout -> orders GET /admin\\x1b\[31m: rule no-admin, 403", first
    )
    assert "socket 11" in details
    assert "limit slow-down, 429, again in 1 s" in shown("--cookie", "12", "--denied")[0]
    assert len(shown("--path", "/orders")) == 4
    assert command(bpffs, tmp_path, "explain", "--recent", "shop", "--rule", "nix") == 1
    assert "no such decision" in capsys.readouterr().err
    assert command(bpffs, tmp_path, "explain", "--recent", "shop", "--rule", "no-admin", "--json") == 0
    [found] = json.loads(capsys.readouterr().out)
    assert (found["rule"], found["workload"], found["cookie"]) == ("no-admin", "checkout", 11)


def test_observe_prints_what_comes_and_what_is_missing(
    kernel: Measuring, observer: Observer, bpffs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deny(kernel, repeat=6000)
    timer = threading.Timer(0.3, lambda: deny(kernel, workload=5))
    timer.start()
    assert command(bpffs, tmp_path, "observe", "shop", "--count", "1", "--seconds", "10") == 0
    timer.join()
    [line] = capsys.readouterr().out.splitlines()
    assert "checkout -> orders GET /admin: rule no-admin, 403" in line
    deny(kernel)
    assert command(bpffs, tmp_path, "observe", "shop", "--json", "--earlier", "--seconds", "0.2") == 0
    assert [json.loads(line)["rule"] for line in capsys.readouterr().out.splitlines()] == ["no-admin"]
