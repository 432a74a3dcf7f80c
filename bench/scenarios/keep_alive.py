"""Requests over connections that stay open: the connect tier takes part in connect() only, so nothing may be lost."""

from __future__ import annotations

from bench import plots
from bench.bars import Bar
from bench.compare import MESH, Shape, compare, method, ratio
from bench.result import Result, Scenario, Settings

# One thread of load, one worker: on two cores each has its own. More of either made direct slower and noisier.
SHAPE = Shape(threads=1, connections=32, workers=1)


def measure(settings: Settings) -> Result:
    """Bars: at least 0.97 of direct."""
    data = compare(settings, SHAPE)
    bars = []
    if (of_direct := ratio(data, MESH)) is not None:
        bars.append(Bar.of("keep-alive: requests/s, ebpfmesh to direct", of_direct, "ratio", ">=", 0.97))
    return Result(method(SHAPE, settings), data, bars)


SCENARIO = Scenario("keep_alive", "Keep-alive: 32 connections that stay open", measure, plots.comparison)
