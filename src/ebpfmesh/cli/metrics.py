"""``ebpfmesh metrics [NAME]``: what the kernel counted, as text for Prometheus, the agent alive or dead."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from ebpfmesh.cli.mesh_name import add_name, mesh_name

if TYPE_CHECKING:
    from ebpfmesh.observe import Between, Metrics


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """NAME, --json and --table."""
    add_name(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--json", action="store_true", help="print one JSON object: requests, with whole histograms"
    )
    form.add_argument("--table", action="store_true", help="print a table of requests for people")


def run(arguments: argparse.Namespace) -> int:
    """Print the metrics. HostError if there is no such mesh, or, but for Prometheus, if it judges no requests."""
    from ebpfmesh.cli.output import print_json
    from ebpfmesh.cli.pinned import pins_of
    from ebpfmesh.observe import Observer

    with Observer(pins_of(mesh_name(arguments), arguments)) as observer:
        if arguments.json:
            print_json(observer.metrics())
        elif arguments.table:
            print(_table(observer.metrics()))
        else:
            sys.stdout.write(observer.prometheus())
    return 0


def _table(metrics: Metrics) -> str:
    from ebpfmesh.cli.output import plural, size, table

    rows = [
        [
            service.name, row.backend, row.route or "-", row.status_class, row.requests, size(row.bytes_sent),
            size(row.bytes_received), _between(row.latency.p50), _between(row.latency.p99),
        ]
        for service in metrics.services
        for row in service.rows
    ]  # fmt: skip
    header = ["SERVICE", "BACKEND", "ROUTE", "STATUS", "REQUESTS", "SENT", "RECEIVED", "P50", "P99"]
    lines = [table(header, rows) if rows else "no requests yet"]
    limits = [
        [service.name, limit.name, limit.admitted, limit.refused, limit.overflowed]
        for service in metrics.services
        for limit in service.limits
    ]
    if limits:
        lines += ["", table(["SERVICE", "LIMIT", "ADMITTED", "REFUSED", "WITHOUT ROOM"], limits)]
    if metrics.overflow is not None:
        lines += [
            "",
            f"{plural(metrics.overflow.requests, 'request')} found no row free: raise [capacity] l7_metrics",
        ]
    return "\n".join(lines)


def _between(known: Between | None) -> str:
    """1.02-1.28 ms: the borders of the bucket."""
    from ebpfmesh.cli.output import duration

    if known is None:
        return "-"
    return (
        f"≥ {duration(known.low)}"
        if known.high is None
        else f"{duration(known.low)} - {duration(known.high)}"
    )
