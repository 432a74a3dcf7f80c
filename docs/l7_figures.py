"""The tables of what was measured of the L7 tier, from bench/results; a scenario that was not run yet is named instead."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "bench" / "results"

Rows = tuple[Sequence[str], list[Sequence[str]]]


def section(name: str, results: Path = RESULTS) -> str:
    """Markdown for the scenario `l7_NAME`: its tables, the machine and the method."""
    path = results / f"l7_{name}.json"
    if not path.exists():
        return f"Not measured yet: `bench/run.py --only l7_{name}`.\n"
    document = json.loads(path.read_text())
    tables = "\n".join(_markdown(*table) for table in _SECTIONS[name](document["data"]))
    machine = document["machine"]
    where = f"Linux {machine['kernel']}, {machine['cpu']}, {machine['cores']} cores, {machine['date'][:10]}"
    prose = textwrap.fill(
        f"{where}. {document['method']}", 140, break_long_words=False, break_on_hyphens=False
    )
    return f"{tables}\n{prose}\n"


def keep_alive(data: dict[str, Any]) -> list[Rows]:
    """Requests per second, of direct, and latency, by the number of connections."""
    header = ("connections", "through", "requests/s", "to direct", "p50", "p99")
    rows: list[Sequence[str]] = [
        (
            connections,
            name,
            f"{_median(one, 'requests_per_second'):,.0f}",
            f"{_median(one, 'ratio_to_direct'):.2f}",
            f"{_median(one, 'p50_us'):,.0f} us",
            f"{_median(one, 'p99_us'):,.0f} us",
        )
        for connections, measured in data.items()
        if connections.isdigit()
        for name, one in measured["variants"].items()
    ]
    return [(header, rows)]


def local_reply(data: dict[str, Any]) -> list[Rows]:
    """Refused requests per second, and the mesh's to the others'."""
    header = ("refusal", "by", "requests/s", "to ebpfmesh", "p99")
    rows: list[Sequence[str]] = [
        (
            status,
            name,
            f"{_median(one, 'requests_per_second'):,.0f}",
            f"{_median(one, 'ratio_to_ebpfmesh'):.2f}",
            f"{_median(one, 'p99_us'):,.0f} us",
        )
        for status, measured in data.items()
        if status.isdigit()
        for name, one in measured["variants"].items()
    ]
    return [(header, rows)]


def rules(data: dict[str, Any]) -> list[Rows]:
    """The decision alone, and requests through the tier."""
    alone: list[Sequence[str]] = [
        (name, f"{one['median']:,.0f} ns") for name, one in data["decision_ns"].items()
    ]
    whole: list[Sequence[str]] = [
        (
            f"{int(name):,}",
            f"{_median(one, 'requests_per_second'):,.0f}",
            f"{_median(one, 'ratio_to_10'):.2f}",
        )
        for name, one in data["requests"]["variants"].items()
    ]
    return [(("rules", "one decision"), alone), (("rules", "requests/s", "to 10 rules"), whole)]


def http2(data: dict[str, Any]) -> list[Rows]:
    """h2load and grpcio."""

    def rows(variants: dict[str, Any]) -> list[Sequence[str]]:
        return [
            (name, f"{_median(one, 'requests_per_second'):,.0f}", f"{_median(one, 'ratio_to_direct'):.2f}")
            for name, one in variants.items()
        ]

    return [
        (("h2load through", "requests/s", "to direct"), rows(data["variants"])),
        (("grpcio through", "calls/s", "to direct"), rows(data["grpcio"])),
    ]


def cpu_memory(data: dict[str, Any]) -> list[Rows]:
    """Processor time of a request, and memory."""
    time: list[Sequence[str]] = [
        (name, f"{one['median']:.1f} us", f"{data['cpu_ratio_to_direct'][name]['median']:.2f}")
        for name, one in data["cpu_us_per_request"].items()
    ]
    memory: list[Sequence[str]] = [
        (
            name,
            f"{one['pss_mb']:.1f} MB",
            f"{one['rss_mb']:.1f} MB",
            f"{one['kernel_maps_mb']:.1f} MB" if "kernel_maps_mb" in one else "",
        )
        for name, one in data["memory"].items()
    ]
    return [
        (("through", "processor time a request, client and server included", "to direct"), time),
        (("of", "PSS of its processes", "RSS", "maps in the kernel"), memory),
    ]


_SECTIONS: dict[str, Callable[[dict[str, Any]], list[Rows]]] = {
    "keep_alive": keep_alive,
    "local_reply": local_reply,
    "rules": rules,
    "http2": http2,
    "cpu_memory": cpu_memory,
}


def _median(one: dict[str, Any], figure: str) -> float:
    return float(one[figure]["median"])


def _markdown(header: Sequence[str], rows: list[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(line)} |\n" for line in (header, ["---"] * len(header), *rows))
