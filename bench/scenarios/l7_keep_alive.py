"""Requests on connections that stay open, with policy on each: nothing in between, the kernel, or a sidecar."""

from __future__ import annotations

from functools import partial
from typing import Any

from bench import l7, plots
from bench.bars import Bar
from bench.compare import ratio, variants
from bench.result import Result, Scenario, Settings

CONNECTIONS = (1, 16, 64)
_ROUNDS = 7


def measure(settings: Settings) -> Result:
    """Bars: 0.80 of direct and 2 x the best sidecar, p99 1.3 x direct; with one connection 0.70 of direct."""
    data: dict[str, Any] = {"baseline": l7.DIRECT}
    with l7.site() as site, l7.floor(site):
        everybody = {name: name for name in site.peers} | {l7.AGAIN: l7.DIRECT}
        for connections in CONNECTIONS:
            turns = l7.in_turn(
                {
                    name: partial(site.load, target, l7.ALLOWED, connections)
                    for name, target in everybody.items()
                },
                settings,
                _ROUNDS,
                l7.requests,
            )
            data[str(connections)] = {"variants": variants(turns.samples)} | turns.json()
        data["absent"] = site.absent
    method = (
        f"wrk -t1 with {', '.join(map(str, CONNECTIONS))} connections: {', '.join(everybody)} in turn, "
        f"{min(settings.rounds, _ROUNDS)} rounds of 1 s for each number. Ratios are taken within each round; the figure is "
        "their median. The best sidecar is the one with the highest median. sockmap alone: the clients' sockets are in a "
        "sockmap whose programs pass everything, which no sk_msg program outdoes. " + l7.METHOD
    )
    bars = [bar for connections in CONNECTIONS for bar in _bars(data, connections)]
    return Result(method, data, bars)


def _bars(data: dict[str, Any], connections: int) -> list[Bar]:
    one = data[str(connections)]
    name = f"L7 keep-alive, {connections} connection{'s' if connections > 1 else ''}"
    bars = []
    if (of_direct := ratio(one, l7.MESH)) is not None:
        limit = 0.70 if connections == 1 else 0.80
        bars.append(Bar.of(f"{name}: requests/s, ebpfmesh to direct", of_direct, "ratio", ">=", limit))
    if connections == 1:
        return bars
    medians = {peer: each["requests_per_second"]["median"] for peer, each in one["variants"].items()}
    best = l7.best(medians, l7.SIDECARS)
    if best and (of_best := ratio(one, l7.MESH, best)) is not None:
        bars.append(Bar.of(f"{name}: requests/s, ebpfmesh to the best sidecar", of_best, "ratio", ">=", 2))
    slow = one["variants"][l7.MESH]["p99_ratio_to_direct"]["median"]
    bars.append(Bar.of(f"{name}: p99, ebpfmesh to direct", slow, "ratio", "<=", 1.3))
    return bars


def _draw(axes: Any, data: dict[str, Any]) -> None:
    plots.comparison(axes, data["16"])


SCENARIO = Scenario("l7_keep_alive", "L7 policy on every request: 16 connections", measure, _draw)
