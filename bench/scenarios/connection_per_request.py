"""A connection for each request: every request pays for the balancing, for the counters and for the lifetime."""

from __future__ import annotations

from bench import plots
from bench.bars import Bar
from bench.compare import HAPROXY, MESH, Shape, compare, method, ratio
from bench.result import Result, Scenario, Settings

# Two of each: a connection costs the client as much as the server, and direct reached most this way.
SHAPE = Shape(threads=2, connections=16, workers=2, headers=("Connection: close",))


def measure(settings: Settings) -> Result:
    """Bars: at least 0.90 of direct, and at least twice HAProxy in TCP mode."""
    data = compare(settings, SHAPE)
    bars = []
    if (of_direct := ratio(data, MESH)) is not None:
        bars.append(
            Bar.of("connection per request: requests/s, ebpfmesh to direct", of_direct, "ratio", ">=", 0.90)
        )
    if (of_haproxy := ratio(data, MESH, HAPROXY)) is not None:
        bars.append(
            Bar.of(
                "connection per request: requests/s, ebpfmesh to HAProxy tcp", of_haproxy, "ratio", ">=", 2.0
            )
        )
    return Result(method(SHAPE, settings), data, bars)


SCENARIO = Scenario(
    "connection_per_request", "A connection per request: 16 at a time", measure, plots.comparison
)
