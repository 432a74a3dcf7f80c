"""The text for Prometheus: read back by a parser that knows the format's rules."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from pathlib import Path

import pytest

from ebpfmesh.observe import latency, prometheus
from ebpfmesh.observe.log import LogCounters
from ebpfmesh.observe.metrics import LimitMetrics, Metrics, Row, ServiceMetrics
from ebpfmesh.observe.wire import BUCKETS
from ebpfmesh.tiers.connect.status import BackendStatus, ServiceStatus, Status
from ebpfmesh.tiers.l7.wire import STATS

ODD = 'a "quoted" \\ name\nof two lines'
_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\{(.*)\} (\S+)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')

Samples = dict[str, list[tuple[str, dict[str, str], float]]]


def read(text: str) -> tuple[dict[str, str], Samples]:
    """Types and samples by family. A family is in one piece: HELP, TYPE, its samples."""
    types: dict[str, str] = {}
    samples: Samples = defaultdict(list)
    assert text == "" or text.endswith("\n")
    family, expected = "", "help"
    for line in text.splitlines():
        if line.startswith("# HELP "):
            family = line.split(" ", 3)[2]
            assert family not in types
            expected = "type"
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert (name, expected) == (family, "type")
            types[name], expected = kind, "samples"
        else:
            match = _SAMPLE.fullmatch(line)
            assert match, line
            assert expected == "samples"
            name = match[1]
            suffix = name.removeprefix(family)
            assert suffix in (("_bucket", "_sum", "_count") if types[family] == "histogram" else ("",))
            labels, end = {}, 0
            for label in _LABEL.finditer(match[2]):
                assert label.start() == end
                end = label.end()
                labels[label[1]] = re.sub(
                    r"\\(.)", lambda found: "\n" if found[1] == "n" else found[1], label[2]
                )
            assert end == len(match[2])
            samples[family].append((suffix, labels, float(match[3])))
    for name, kind in types.items():
        assert (kind == "counter") == name.endswith("_total")
    return types, samples


def row(status_class: str, *values: int, backend: str = "10.0.0.1:80", route: str = "") -> Row:
    buckets = [0] * BUCKETS
    for value in values:
        buckets[max(bucket for bucket in range(BUCKETS) if latency.lower(bucket) <= value)] += 1
    return Row(
        backend=backend, route=route, status_class=status_class, requests=len(values), bytes_sent=10, bytes_received=20,
        latency=latency.of(buckets, sum(values)),
    )  # fmt: skip


def metrics(*rows: Row, name: str = "orders") -> Metrics:
    service = ServiceMetrics(
        name=name, requests=sum(one.requests for one in rows), errors=0, bytes_sent=0, bytes_received=0,
        latency=latency.merged([one.latency for one in rows]),
        counters={stat: number for number, stat in enumerate(STATS)},
        limits=[LimitMetrics(name=ODD, admitted=5, refused=2, overflowed=0, contended=1)], rows=list(rows),
    )  # fmt: skip
    log = LogCounters(told=4, sampled=3, rate_dropped=2, ring_full=1, metrics_overflow=0)
    return Metrics(services=[service], overflow=row("none", 1, 2, 3), log=log)


def test_counters_and_their_labels() -> None:
    types, samples = read(prometheus.exposition("shop", metrics(row("2xx", 1000), row("none"), name=ODD)))
    assert types["ebpfmesh_requests_total"] == "counter"
    assert samples["ebpfmesh_requests_total"] == [
        (
            "",
            {"mesh": "shop", "service": ODD, "backend": "10.0.0.1:80", "route": "", "status_class": "2xx"},
            1,
        ),
        (
            "",
            {"mesh": "shop", "service": ODD, "backend": "10.0.0.1:80", "route": "", "status_class": "none"},
            0,
        ),
    ]
    assert samples["ebpfmesh_limit_refused_total"] == [
        ("", {"mesh": "shop", "service": ODD, "limit": ODD}, 2)
    ]
    assert samples["ebpfmesh_overflow_requests_total"] == [("", {"mesh": "shop"}, 3)]
    assert types["ebpfmesh_l7_open_connections"] == "gauge"
    assert samples["ebpfmesh_l7_denied_total"][0][2] == STATS.index("denied")
    assert samples["ebpfmesh_log_ring_full_total"][0][2] == 1


def test_every_counter_of_the_kernel_is_there() -> None:
    types, _ = read(prometheus.exposition("shop", metrics(row("2xx"))))
    assert len([name for name in types if name.startswith("ebpfmesh_l7_")]) == len(STATS)


def test_every_counter_of_the_kernel_is_explained() -> None:
    page = (Path(__file__).parents[2] / "docs/observe.md").read_text()
    table = page.partition("### Counters of a service")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\| (.*?) \|", table, re.M)))) == sorted(
        STATS
    )


def test_histograms_are_cumulative_and_their_borders_true() -> None:
    values = [1, 1023, 1024, 2047, 2048, 50_000, 10**9, 10**11]
    _, samples = read(prometheus.exposition("shop", metrics(row("2xx", *values))))
    found = samples["ebpfmesh_request_duration_seconds"]
    buckets = [(float(labels["le"]), value) for suffix, labels, value in found if suffix == "_bucket"]
    assert buckets == sorted(buckets)
    assert buckets[-1] == (math.inf, len(values))
    for le, value in buckets[:-1]:
        assert value == sum(1 for one in values if one / 1e9 <= le)
    assert [(suffix, value) for suffix, _, value in found[-2:]] == [
        ("_sum", sum(values) / 1e9), ("_count", len(values)),
    ]  # fmt: skip
    assert len(buckets) == BUCKETS // 4 + 1


def test_connections_are_there_without_requests() -> None:
    backend = BackendStatus(
        address="10.0.0.1:80", id=1, weight=1, leaving=False, opened=5, active=1, failed=0, closed=4, bytes_sent=7,
        bytes_received=8, datagrams=0,
    )  # fmt: skip
    service = ServiceStatus(
        name="orders", protocol="tcp", addresses=[], balancer="random", backends=[backend], opened=5, active=1, failed=0,
        closed=4, bytes_sent=7, bytes_received=8, datagrams=0, refused=3, errors=0, reply_misses=0,
    )  # fmt: skip
    status = Status(generation=1, memory=1, services=[service])
    types, samples = read(prometheus.exposition("shop", None, status))
    labels = {"mesh": "shop", "service": "orders", "backend": "10.0.0.1:80"}
    assert samples["ebpfmesh_connections_opened_total"] == [("", labels, 5)]
    assert samples["ebpfmesh_connections_active"] == [("", labels, 1)]
    assert types["ebpfmesh_connections_active"] == "gauge"
    assert samples["ebpfmesh_connections_refused_total"][0][2] == 3


def test_nothing_is_an_empty_text() -> None:
    assert prometheus.exposition("shop", None) == ""


def test_prometheus_own_client_reads_the_same() -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    text = prometheus.exposition("shop", metrics(row("2xx", 5, 5000, 10**12), row("5xx", 7), name=ODD))
    _, ours = read(text)
    theirs = {
        family.name: [(one.name, dict(one.labels), one.value) for one in family.samples]
        for family in parser.text_string_to_metric_families(text)
    }
    assert sum(map(len, theirs.values())) == sum(map(len, ours.values()))
    for family, samples in ours.items():
        found = theirs[family.removesuffix("_total") if family not in theirs else family]
        assert [(labels, value) for _, labels, value in samples] == [
            (labels, value) for _, labels, value in found
        ]
