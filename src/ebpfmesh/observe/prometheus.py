"""Metrics as text for Prometheus, exposition format 0.0.4.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/. A family is one name with one HELP and one TYPE, and
all of its samples follow it; counters end in ``_total``; a histogram has cumulative buckets up to ``+Inf``, a sum, a count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from ebpfmesh.observe import latency
from ebpfmesh.observe.wire import BUCKETS

if TYPE_CHECKING:
    from ebpfmesh.observe.latency import Latency
    from ebpfmesh.observe.metrics import Metrics, Row, ServiceMetrics
    from ebpfmesh.tiers.connect.status import Status

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_EVERY = 4  # buckets of ours to one of Prometheus: a power of two
_SECOND = 1_000_000_000
_QUOTE, _ESCAPED_QUOTE = '"', '\\"'
_BYTES = {"swallowed": "swallowed_bytes", "resent": "resent_bytes", "not_filled": "unseen_bytes"}
_GAUGES = {"open": "open_connections"}
_HELP = {
    "open": "connections that are followed now",
    "connections": "connections whose requests are judged",
    "requests": "heads of requests that were judged",
}


class Sample(NamedTuple):
    """``suffix`` is of the family's name; labels in the order in which they are written."""

    suffix: str
    labels: tuple[tuple[str, str], ...]
    value: int | float


Labels = tuple[tuple[str, str], ...]


def exposition(mesh: str, metrics: Metrics | None, connections: Status | None = None) -> str:
    """The text for mesh ``mesh``: ``metrics`` of its requests, and its ``connections``, as far as they are given."""
    lines: list[str] = []
    label = (("mesh", mesh),)
    if connections is not None:
        lines += _connections(connections, label)
    if metrics is not None:
        lines += _requests(metrics, label)
    return "".join(line + "\n" for line in lines)


def _requests(metrics: Metrics, mesh: Labels) -> Iterator[str]:
    rows = [(_row_labels(mesh, service, row), row) for service in metrics.services for row in service.rows]
    for name, help_, field in (
        ("requests_total", "requests that are over", "requests"),
        ("request_bytes_total", "bytes of requests, heads and payload", "bytes_sent"),
        ("response_bytes_total", "bytes of responses, heads and payload", "bytes_received"),
    ):
        yield from _family(
            name, "counter", help_, (Sample("", labels, getattr(row, field)) for labels, row in rows)
        )
    yield from _family(
        "request_duration_seconds", "histogram",
        "time from a request's head to its response's",
        (sample for labels, row in rows for sample in _histogram(labels, row.latency)),
    )  # fmt: skip
    yield from _services(metrics, mesh)
    yield from _limits(metrics, mesh)
    yield from _log(metrics, mesh)


def _services(metrics: Metrics, mesh: Labels) -> Iterator[str]:
    names = dict.fromkeys(name for service in metrics.services for name in service.counters)
    for name in names:
        samples = (
            Sample("", (*mesh, ("service", service.name)), service.counters[name])
            for service in metrics.services
        )
        if name in _GAUGES:
            yield from _family(f"l7_{_GAUGES[name]}", "gauge", _HELP[name], samples)
        else:
            help_ = _HELP.get(name, f"{name.replace('_', ' ')}, as docs/observe.md explains it")
            yield from _family(f"l7_{_BYTES.get(name, name)}_total", "counter", help_, samples)


def _limits(metrics: Metrics, mesh: Labels) -> Iterator[str]:
    for name, help_ in (
        ("admitted", "requests that a limit admitted"),
        ("refused", "requests that a limit refused"),
        ("overflowed", "requests of keys for which there was no room"),
        ("contended", "requests refused because others of their key kept coming in between"),
    ):
        yield from _family(
            f"limit_{name}_total", "counter", help_,
            (
                Sample("", (*mesh, ("service", service.name), ("limit", limit.name)), getattr(limit, name))
                for service in metrics.services
                for limit in service.limits
            ),
        )  # fmt: skip


def _log(metrics: Metrics, mesh: Labels) -> Iterator[str]:
    for name, value, help_ in (
        ("log_entries_total", metrics.log.told, "decisions that were told"),
        ("log_sampled_total", metrics.log.sampled, "allowed requests that were drawn to be told"),
        ("log_rate_dropped_total", metrics.log.rate_dropped, "decisions that were beyond the log's rate"),
        ("log_ring_full_total", metrics.log.ring_full, "decisions that found the ring full"),
        (
            "overflow_requests_total",
            metrics.overflow.requests if metrics.overflow else 0,
            "requests that found no row of metrics free",
        ),
    ):
        yield from _family(name, "counter", help_, [Sample("", mesh, value)])


def _connections(status: Status, mesh: Labels) -> Iterator[str]:
    """Those of the connect tier, which balances every service."""
    for field, kind, help_ in (
        ("opened", "counter", "connections that were opened"),
        ("failed", "counter", "connections that a backend refused, or that did not come about"),
        ("closed", "counter", "connections that ended"),
        ("bytes_sent", "counter", "bytes to backends, of connections that ended"),
        ("bytes_received", "counter", "bytes from backends, of connections that ended"),
        ("active", "gauge", "connections that are open"),
    ):
        suffix = "_total" if kind == "counter" else ""
        yield from _family(
            f"connections_{field}{suffix}", kind, help_,
            (
                Sample("", (*mesh, ("service", service.name), ("backend", backend.address)), getattr(backend, field))
                for service in status.services
                for backend in service.backends
            ),
        )  # fmt: skip
    for field, help_ in (
        ("refused", "connections that no backend was left for"),
        ("errors", "look-ups that failed in the kernel"),
    ):
        yield from _family(
            f"connections_{field}_total", "counter", help_,
            (Sample("", (*mesh, ("service", one.name)), getattr(one, field)) for one in status.services),
        )  # fmt: skip


def _row_labels(mesh: Labels, service: ServiceMetrics, row: Row) -> Labels:
    return (
        *mesh, ("service", service.name), ("backend", row.backend), ("route", row.route),
        ("status_class", row.status_class),
    )  # fmt: skip


def _histogram(labels: Labels, counted: Latency) -> Iterator[Sample]:
    """Buckets at powers of two. ``le`` is inclusive and latencies are whole nanoseconds: the border is one below ours."""
    cumulative = list(accumulate(counted.buckets))
    for bucket in range(0, BUCKETS - 1, _EVERY):
        border = (latency.lower(bucket + 1) - 1) / _SECOND
        yield Sample("_bucket", (*labels, ("le", repr(border))), cumulative[bucket])
    yield Sample("_bucket", (*labels, ("le", "+Inf")), counted.count)
    yield Sample("_sum", labels, counted.total / _SECOND)
    yield Sample("_count", labels, counted.count)


def _family(name: str, kind: str, help_: str, samples: Iterable[Sample]) -> Iterator[str]:
    """Nothing for a family without samples."""
    written = [_line(f"ebpfmesh_{name}", sample) for sample in samples]
    if written:
        yield f"# HELP ebpfmesh_{name} {_escaped(help_)}"
        yield f"# TYPE ebpfmesh_{name} {kind}"
        yield from written


def _line(name: str, sample: Sample) -> str:
    labels = ",".join(
        f'{key}="{_escaped(value).replace(_QUOTE, _ESCAPED_QUOTE)}"' for key, value in sample.labels
    )
    return f"{name}{sample.suffix}{{{labels}}} {sample.value!r}"


def _escaped(text: str) -> str:
    """Backslashes and line ends, as HELP and labels have them."""
    return text.replace("\\", "\\\\").replace("\n", "\\n")
