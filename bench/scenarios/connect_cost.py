"""What the programs add to one connect(), in nanoseconds: without programs, past a service, and by each balancer."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from bench import agent, plots
from bench.ground import Ground, ground
from bench.result import Result, Scenario, Settings
from bench.rounds import Spread, interleave

_BACKENDS = [("127.0.0.1", port) for port in range(8001, 8011)]
_BALANCERS = ("random", "weighted-random", "round-robin", "weighted-round-robin", "maglev")
_OTHER = ("127.0.0.1", 9999)  # no service has this address
BASELINE = "no programs"


def measure(settings: Settings) -> Result:
    """No bar of its own: connection_per_request judges what this adds up to."""
    rounds = 2 if settings.quick else settings.rounds
    calls = 2_000 if settings.quick else 20_000
    addresses = {name: (f"10.96.1.{number}", 53) for number, name in enumerate(_BALANCERS, 1)}
    some = [
        agent.service(name, [address], _BACKENDS, name, protocol="udp") for name, address in addresses.items()
    ]
    with ground() as here, agent.mesh(here, *some):
        variants = {
            BASELINE: _loop(here, _BACKENDS[0], "plain", calls),
            "not a service": _loop(here, _OTHER, "mesh", calls),
            **{name: _loop(here, address, "mesh", calls) for name, address in addresses.items()},
        }
        samples = interleave(variants, rounds)
    base = samples[BASELINE]
    added = {
        name: Spread.of([value - without for value, without in zip(values, base, strict=True)]).json(1)
        for name, values in samples.items()
        if name != BASELINE
    }
    data = {
        "connect_ns": {name: Spread.of(values).json(1) for name, values in samples.items()},
        "added_ns": added,
    }
    method = (
        f"connect() on one UDP socket, {calls} calls a batch, the median of 5 batches of one process; the variants in "
        f"turn, {rounds} rounds; added is the difference within a round. Ten backends a service; each repeated "
        "connect() also ends the record of the one before, which a first connect() does not. The loop itself (a "
        "ctypes call) is in every variant alike."
    )
    return Result(method, data)


def _loop(here: Ground, address: tuple[str, int], cgroup: str, calls: int) -> Callable[[], float]:
    arguments = (address[0], str(address[1]), str(calls), "5")

    def once() -> float:
        printed = here.python("bench.connect_loop", *arguments, cgroup=cgroup, timeout=60)
        return float(json.loads(printed)["median"])

    return once


def _draw(axes: Any, data: dict[str, Any]) -> None:
    plots.bars(axes, data["connect_ns"], "nanoseconds per connect() of a UDP socket (lower is better)")


SCENARIO = Scenario("connect_cost", "One connect(): what the programs add", measure, _draw)
