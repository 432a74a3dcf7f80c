"""What the kernel counted of requests, read from its maps: by service, backend, route and status class."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable

import msgspec

from ebpfmesh.observe import latency, log
from ebpfmesh.observe.latency import Latency
from ebpfmesh.observe.log import LogCounters
from ebpfmesh.observe.names import MAPS as NAME_MAPS
from ebpfmesh.observe.names import Names
from ebpfmesh.observe.opened import Opened
from ebpfmesh.observe.wire import CLASSES, LOCAL, METRIC, METRIC_KEY
from ebpfmesh.tiers.l7.wire import LIMIT_COUNTERS, SERVICE_STATS, STATS

MAPS = ("l7_metrics", "l7_overflow", "l7_stats", "l7_limit_stats", "l7_log_state", *NAME_MAPS)
ANSWERED_LOCALLY = "local"
"""In place of a backend's address."""
_FAILED = ("none", "5xx")
_OPEN = STATS.index("open")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Requests that are over, of one service, backend, route and status class."""

    backend: str
    """The address, or "local": the kernel answered."""
    route: str
    """"" for requests that are of no route."""
    status_class: str
    """"2xx" …; "none": the connection ended without a response."""
    requests: int
    bytes_sent: int
    """Of requests, heads and payload."""
    bytes_received: int
    latency: Latency


class LimitMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """What a limit admitted and refused."""

    name: str
    admitted: int
    refused: int
    overflowed: int
    """Requests of keys for which there was no room: they share one allowance."""
    contended: int
    """Refused because others of the same key kept coming in between."""


class ServiceMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """A service: sums, the counters of ``enum l7_stat`` by name, its limits, its rows."""

    name: str
    requests: int
    errors: int
    """Of them, those of class 5xx, and those that no response came to."""
    bytes_sent: int
    bytes_received: int
    latency: Latency
    counters: dict[str, int]
    limits: list[LimitMetrics]
    rows: list[Row]


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """Every service whose requests are judged; and ``overflow``: requests of whatever kind that found no row free."""

    services: list[ServiceMetrics]
    overflow: Row | None
    log: LogCounters


def read(opened: Opened) -> Metrics:
    """The metrics in the maps `MAPS`, as they are now; counters that change meanwhile are each right by themselves."""
    names = Names(opened)
    rows: dict[int, list[Row]] = defaultdict(list)
    for key, value in opened.pairs("l7_metrics"):
        service, backend, route, class_ = METRIC_KEY.unpack(key)
        shown = ANSWERED_LOCALLY if backend == LOCAL else names.backend_of_counter(backend)
        rows[service].append(_row(_summed(value), shown, names.text("route", route) or "", class_))
    limits = _limits(opened, names)
    counted = {number: _stats(opened, number) for number in names.services()}
    known = {number for number, values in counted.items() if any(values)} | set(rows) | set(limits)
    services = [
        _service(names.service(number), rows[number], limits.get(number, []), counted.get(number))
        for number in known
    ]
    overflow = _row(_summed(opened.maps["l7_overflow"].lookup_raw(bytes(4)) or b""), "", "", 0)
    return Metrics(
        services=sorted(services, key=lambda one: one.name),
        overflow=overflow if overflow.requests else None,
        log=log.counters(opened),
    )


def _service(
    name: str, rows: list[Row], limits: list[LimitMetrics], counted: tuple[int, ...] | None
) -> ServiceMetrics:
    return ServiceMetrics(
        name=name,
        requests=sum(row.requests for row in rows),
        errors=sum(row.requests for row in rows if row.status_class in _FAILED),
        bytes_sent=sum(row.bytes_sent for row in rows),
        bytes_received=sum(row.bytes_received for row in rows),
        latency=latency.merged([row.latency for row in rows]),
        counters=dict(zip(STATS, counted or [0] * len(STATS), strict=False)),
        limits=limits,
        rows=sorted(rows, key=lambda row: (row.backend, row.route, row.status_class)),
    )


def _row(values: array[int], backend: str, route: str, class_: int) -> Row:
    requests, sent, received, nanoseconds, *buckets = values
    return Row(
        backend=backend,
        route=route,
        status_class=CLASSES[class_] if class_ < len(CLASSES) else CLASSES[0],
        requests=requests,
        bytes_sent=sent,
        bytes_received=received,
        latency=latency.of(buckets, nanoseconds),
    )


def _summed(value: bytes) -> array[int]:
    """The sums over all CPUs of one per-CPU row."""
    words, width = array("Q", value), METRIC.size // 8
    if len(words) == width:
        return words
    return array("Q", (sum(words[at::width]) for at in range(width)))


def _stats(opened: Opened, service: int) -> tuple[int, ...]:
    """The counters of one service; that of open connections may be below 0 for a moment, and is then 0."""
    values = list(SERVICE_STATS.unpack(opened.row("l7_stats", service)))
    values[_OPEN] = values[_OPEN] if values[_OPEN] < 1 << 63 else 0
    return tuple(values)


def _limits(opened: Opened, names: Names) -> dict[int, list[LimitMetrics]]:
    """The limits that have names, by the number of their service."""
    found: dict[int, list[LimitMetrics]] = defaultdict(list)
    for number in _named(opened):
        name = names.find("limit", number)
        if name is None or name.text.startswith("#"):
            continue
        admitted, refused, overflowed, contended = LIMIT_COUNTERS.unpack(opened.row("l7_limit_stats", number))
        found[name.service].append(
            LimitMetrics(
                name=name.text, admitted=admitted, refused=refused, overflowed=overflowed, contended=contended
            )
        )
    for limits in found.values():
        limits.sort(key=lambda one: one.name)
    return found


def _named(opened: Opened) -> Iterable[int]:
    return range(1, min(opened.size("l7_limit_names"), opened.size("l7_limit_stats")))
