"""HTTP load through nothing, through the mesh, through HAProxy and through Envoy, interleaved in one run.

Fairness: one nginx serves both backend addresses with the same workers, so "direct", which goes to one address only,
has the same capacity behind it as everybody who balances over two. The mesh's nginx and wrk both run inside the
mesh's cgroup, so its programs run for client and server sockets alike, as on a real node. "direct again" is a second,
identical direct run in each round: its distance from 1 is the noise of this machine.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from bench import agent, servers, turns, wrk
from bench.ground import Ground, ground
from bench.quiet import Patience
from bench.result import Settings
from bench.rounds import Spread, ratios

DIRECT, MESH, HAPROXY, ENVOY, AGAIN = "direct", "ebpfmesh", "haproxy tcp", "envoy tcp_proxy", "direct again"

PLAIN_BACKENDS = [("127.0.0.1", 8001), ("127.0.0.1", 8002)]
MESH_BACKENDS = [("127.0.0.1", 8011), ("127.0.0.1", 8012)]
SERVICE = ("10.96.0.10", 80)


@dataclass(frozen=True)
class Shape:
    """The load: wrk's threads and connections, its headers, and the workers of nginx."""

    threads: int
    connections: int
    workers: int
    headers: tuple[str, ...] = ()

    def sentence(self) -> str:
        """The shape in words."""
        return (
            f"wrk -t{self.threads} -c{self.connections} {' '.join(self.headers)}".rstrip()
            + f", nginx with {self.workers} worker(s) behind two addresses"
        )


@dataclass(frozen=True)
class Target:
    """Where one variant's load goes, from which cgroup."""

    url: str
    cgroup: str


def compare(settings: Settings, shape: Shape) -> dict[str, Any]:
    """Measure every variant; the data of a scenario."""
    with ground() as here, ExitStack() as stack:
        targets, absent, mesh = _set_up(here, stack, shape)
        measurements = {name: _measurement(here, target, shape) for name, target in targets.items()}
        for measure in measurements.values():  # a first second each: caches, connection tables, CPU frequency
            measure(1.0)
        patience = Patience(2.0 if settings.quick else 90.0)
        taken = turns.take(
            {name: partial(measure, settings.seconds) for name, measure in measurements.items()},
            settings.rounds,
            patience,
            _report,
        )
        spread_over = agent.opened_by_backend(mesh)
    return _summary(taken.samples, absent, spread_over, shape) | taken.json()


def method(shape: Shape, settings: Settings) -> str:
    """What was done, in words, for the result."""
    return (
        f"{shape.sentence()}; {DIRECT}, {MESH}, {HAPROXY}, {ENVOY}, {AGAIN} in turn, {settings.rounds} rounds of "
        f"{settings.seconds:g} s. Ratios are taken within each round; the figure is their median. {DIRECT} goes to one "
        "of the two addresses, which the same workers serve. " + turns.METHOD
    )


def _set_up(here: Ground, stack: ExitStack, shape: Shape) -> tuple[dict[str, Target], dict[str, str], Any]:
    stack.enter_context(servers.nginx(here, PLAIN_BACKENDS, workers=shape.workers))
    stack.enter_context(servers.nginx(here, MESH_BACKENDS, workers=shape.workers, cgroup="mesh"))
    mesh = stack.enter_context(agent.mesh(here, agent.service("web", [SERVICE], MESH_BACKENDS)))
    direct = Target(_url(PLAIN_BACKENDS[0]), "plain")
    targets = {DIRECT: direct, MESH: Target(_url(SERVICE), "mesh")}
    absent: dict[str, str] = {}
    for name, address, start in _proxies(here):
        try:
            stack.enter_context(start())
        except servers.MissingError as missing:
            absent[name] = str(missing)
            print(f"  {name} is left out: {missing}", file=sys.stderr)
        else:
            targets[name] = Target(_url(address), "plain")
    return targets | {AGAIN: direct}, absent, mesh


def _proxies(here: Ground) -> Iterator[tuple[str, servers.Address, Callable[[], Any]]]:
    cores = len(os.sched_getaffinity(0))
    haproxy, envoy = ("127.0.0.1", 9001), ("127.0.0.1", 9002)
    yield HAPROXY, haproxy, lambda: servers.haproxy(here, haproxy, PLAIN_BACKENDS)
    yield ENVOY, envoy, lambda: servers.envoy(here, envoy, PLAIN_BACKENDS, concurrency=cores)


def _measurement(here: Ground, target: Target, shape: Shape) -> Callable[[float], wrk.Load]:
    program = servers.program("wrk")

    def measure(seconds: float) -> wrk.Load:
        command = wrk.command(
            program,
            target.url,
            threads=shape.threads,
            connections=shape.connections,
            seconds=seconds,
            headers=shape.headers,
        )
        return wrk.parse(here.run(command, cgroup=target.cgroup, timeout=seconds + 20))

    return measure


def _url(address: servers.Address) -> str:
    return f"http://{address[0]}:{address[1]}/"


def _report(number: int, name: str, load: wrk.Load) -> None:
    failed = f", {load.failures} failed" if load.failures else ""
    print(
        f"  round {number + 1}  {name:<16} {load.requests_per_second:>10,.0f} requests/s{failed}", flush=True
    )


def _summary(
    samples: dict[str, list[wrk.Load]], absent: dict[str, str], spread_over: dict[str, int], shape: Shape
) -> dict[str, Any]:
    return {
        "shape": shape.sentence(),
        "baseline": DIRECT,
        "absent": absent,
        "mesh_opened_by_backend": spread_over,
        "variants": variants(samples),
    }


def variants(samples: Mapping[str, Sequence[wrk.Load]], baseline: str = DIRECT) -> dict[str, dict[str, Any]]:
    """What the rounds say of each variant."""
    rates = {name: [load.requests_per_second for load in loads] for name, loads in samples.items()}
    slow = {name: [load.p99_us for load in loads] for name, loads in samples.items()}
    return {
        name: {
            "requests_per_second": Spread.of(rates[name]).json(1),
            f"ratio_to_{baseline}": Spread.of(ratios(rates[name], rates[baseline])).json(),
            "p50_us": Spread.of([load.p50_us for load in loads]).json(1),
            "p99_us": Spread.of(slow[name]).json(1),
            f"p99_ratio_to_{baseline}": Spread.of(ratios(slow[name], slow[baseline])).json(),
            "failures": sum(load.failures for load in loads),
            "rounds": [round(rate, 1) for rate in rates[name]],
        }
        for name, loads in samples.items()
    }


def ratio(data: dict[str, Any], name: str, to: str = DIRECT) -> float | None:
    """The median over the rounds of `name` divided by `to`; None if either was left out."""
    known = data["variants"]
    if name not in known or to not in known:
        return None
    return Spread.of(ratios(known[name]["rounds"], known[to]["rounds"])).median
