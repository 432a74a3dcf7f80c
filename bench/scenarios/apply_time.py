"""How long a change takes to become the kernel's: 10,000 services at once, Maglev tables among them, and one service."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import Any

import msgspec

from bench import agent, plots
from bench.bars import Bar
from bench.ground import Ground, ground
from bench.result import Result, Scenario, Settings
from bench.rounds import Spread
from ebpfmesh import Backend, Capacity, Mesh, Service
from ebpfmesh.lowlevel.bpf import rcu_grace_period

_BACKENDS = 10
_MAGLEV = 100
_TABLE = 16381
_runs = count(1)


def measure(settings: Settings) -> Result:
    """Bars: 1.5 s for everything, 1.5 s more with Maglev, 5 ms for one change (20 ms where it waits)."""
    size = 500 if settings.quick else 10_000
    repeats = 1 if settings.quick else 3
    models, build = _models(size)
    with ground() as here:
        first = {name: _first_apply(here, some, size, repeats) for name, some in models.items()}
        changes = _changes(here, models, size, settings)
        toml = _toml(here, models["random"])
    applied = {name: one["apply"]["median"] for name, one in first.items()}
    plain = max(applied["random"], applied["round-robin"])
    more = applied["random, 100 maglev"] - applied["random"]
    grace = statistics.median(_timed(rcu_grace_period) for _ in range(5))
    data = {
        "services": size,
        "backends_each": _BACKENDS,
        "first_seconds": first,
        "one_change_ms": changes,
        "toml_read_seconds": toml,
        "model_build_seconds": build,
        "rcu_grace_period_ms": round(grace * 1e3, 2),
    }
    method = (
        f"{size} services of {_BACKENDS} backends, all addresses different, {repeats} fresh mesh(es) each: `start` "
        "loads and attaches with no service; `apply` takes the model from memory to the kernel, checks included; "
        "medians. One change: Mesh.put() of one service among them, of a different service each time. The bars take "
        "the median; the highest is in the data."
    )
    return Result(method, data, _bars(size, plain, more, changes))


def _bars(size: int, plain: float, more: float, changes: dict[str, dict[str, float]]) -> list[Bar]:
    bars = [
        Bar.of(f"apply: {size} services x {_BACKENDS} backends", plain, "s", "<=", 1.5),
        Bar.of(f"apply: {_MAGLEV} services with Maglev {_TABLE} among them, more", more, "s", "<=", 1.5),
    ]
    for name, one in changes.items():
        bars.append(Bar.of(f"apply: one change, {name}", one["median"], "ms", "<=", _LIMITS.get(name, 5)))
    return bars


# A swap of a table may wait until no program reads the old one; the others are one element each.
_LIMITS = {"maglev table swapped": 20}


def _models(size: int) -> tuple[dict[str, tuple[Service, ...]], float]:
    begin = time.perf_counter()
    random = agent.services(size, _BACKENDS, "random")
    build = time.perf_counter() - begin
    maglev = agent.services(_MAGLEV, _BACKENDS, "maglev", first=size - _MAGLEV, table=_TABLE)
    return {
        "random": random,
        "round-robin": agent.services(size, _BACKENDS, "round-robin"),
        "random, 100 maglev": random[: size - _MAGLEV] + maglev,
    }, round(build, 3)


@contextmanager
def _empty_mesh(here: Ground, size: int) -> Iterator[Mesh]:
    """A started mesh with room for `size` services and for what changes add."""
    slots = 2 * size * _BACKENDS * 4 + 4 * _MAGLEV * 2 * 16384
    room = Capacity(
        services=2 * size, addresses=2 * size, backends=2 * size * _BACKENDS, slots=slots, udp_flows=1024
    )
    model = agent.config(here, (), room, memory_budget="2GiB")
    with Mesh(model, run_root=here.directory / f"run{next(_runs)}", bpffs=here.bpffs) as mesh:
        yield mesh


def _first_apply(
    here: Ground, some: Sequence[Service], size: int, repeats: int
) -> dict[str, dict[str, float]]:
    starts, applies = [], []
    for _ in range(repeats):
        begin = time.perf_counter()
        with _empty_mesh(here, size) as mesh:
            starts.append(time.perf_counter() - begin)
            model = msgspec.structs.replace(mesh.config, services=tuple(some))
            applies.append(_timed(partial(mesh.apply, model)))
        print(
            f"  {some[-1].balance.name:<12} start {starts[-1]:.3f} s, apply {applies[-1]:.3f} s", flush=True
        )
    return {"start": Spread.of(starts).json(), "apply": Spread.of(applies).json()}


def _changes(
    here: Ground, models: dict[str, tuple[Service, ...]], size: int, settings: Settings
) -> dict[str, dict[str, float]]:
    some = models["random, 100 maglev"]
    repeats = 5 if settings.quick else 21
    with _empty_mesh(here, size) as mesh:
        mesh.apply(msgspec.structs.replace(mesh.config, services=some))
        changes: dict[str, Callable[[int], Service]] = {
            "one backend removed": lambda number: _fewer(some[number]),
            "one backend added": lambda number: _more(some[number + repeats], number),
            "balancer changed": lambda number: _round_robin(some[number + 2 * repeats]),
            "service added": lambda number: agent.services(1, 1, first=size + number)[0],
            "maglev table swapped": lambda number: _fewer(some[size - _MAGLEV + number]),
        }
        return {name: Spread.of(_put_times(mesh, make, repeats)).json(3) for name, make in changes.items()}


def _put_times(mesh: Mesh, make: Callable[[int], Service], repeats: int) -> list[float]:
    """Milliseconds of each put; the service is made before the clock starts."""
    changed = [make(number) for number in range(repeats)]
    return [_timed(partial(mesh.put, one)) * 1e3 for one in changed]


def _fewer(one: Service) -> Service:
    return msgspec.structs.replace(one, backends=one.backends[1:])


def _more(one: Service, number: int) -> Service:
    return msgspec.structs.replace(one, backends=(*one.backends, Backend(address=f"10.95.0.{number}:8080")))


def _round_robin(one: Service) -> Service:
    return msgspec.structs.replace(one, balance=msgspec.structs.replace(one.balance, name="round-robin"))


def _toml(here: Ground, some: Sequence[Service]) -> float:
    """Seconds to read and check the same services as a TOML file."""
    from ebpfmesh.policy import toml

    path = here.room("toml") / "mesh.toml"
    agent.write_toml(path, here, some)
    return round(_timed(partial(toml.read, path)), 3)


def _timed(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def _draw(axes: Any, data: dict[str, Any]) -> None:
    spreads = {f"first apply, {name}": one["apply"] for name, one in data["first_seconds"].items()}
    plots.bars(
        axes,
        spreads,
        f"seconds for {data['services']} services x {data['backends_each']} backends (lower is better)",
    )


SCENARIO = Scenario("apply_time", "Apply: from a model in memory to the kernel", measure, _draw)
