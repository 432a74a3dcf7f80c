"""Requests that are refused: what the kernel answers, against what each sidecar answers itself."""

from __future__ import annotations

from functools import partial
from typing import Any

from bench import l7, plots, wrk
from bench.bars import Bar
from bench.compare import ratio, variants
from bench.result import Result, Scenario, Settings

REFUSALS = {"403": l7.DENIED, "429": l7.LIMITED}
_CONNECTIONS, _ROUNDS = 16, 5
_THREADS = 2  # of wrk: one is busy all the time before the kernel is


def measure(settings: Settings) -> Result:
    """Bars: 4 x the best sidecar's requests/s, for 403 and for 429."""
    data: dict[str, Any] = {"baseline": l7.MESH}
    bars = []
    with l7.site() as site:
        for status, path in REFUSALS.items():
            turns = l7.in_turn(
                {name: partial(_refused, site, name, path) for name in (l7.MESH, *site.sidecars)},
                settings,
                _ROUNDS,
                l7.requests,
            )
            found = variants(turns.samples, l7.MESH)
            data[status] = {"variants": found} | turns.json()
            best = l7.best(
                {name: one["requests_per_second"]["median"] for name, one in found.items()}, site.sidecars
            )
            if best and (of_best := ratio(data[status], l7.MESH, best)) is not None:
                name = f"L7 local reply {status}: requests/s, ebpfmesh to the best sidecar"
                bars.append(Bar.of(name, of_best, "ratio", ">=", 4))
        data["absent"] = site.absent
    method = (
        f"wrk -t{_THREADS} -c{_CONNECTIONS}, every answer is the refusal (of 429 all but one a minute), each one's own "
        f"text, and connections stay open; {min(settings.rounds, _ROUNDS)} rounds of 1 s; ratios within a round, median. "
        "The mesh's clients are connected to the backend, which sees nothing. " + l7.METHOD
    )
    return Result(method, data, bars)


def _refused(site: l7.Site, name: str, path: str, seconds: float) -> wrk.Load:
    load = site.load(name, path, _CONNECTIONS, seconds, _THREADS)
    if load.socket_errors or load.requests - load.bad_responses > 2:
        raise RuntimeError(f"{name} does not refuse {path} on open connections: {load}")
    return load


def _draw(axes: Any, data: dict[str, Any]) -> None:
    spreads = {
        f"{name} {status}": one["requests_per_second"]
        for status in REFUSALS
        for name, one in data[status]["variants"].items()
    }
    plots.bars(axes, spreads, "refused requests per second (higher is better)")


SCENARIO = Scenario("l7_local_reply", "L7 refusals: 16 connections", measure, _draw)
