"""What a request costs by the number of a service's rules: the decision alone in the kernel, and requests of wrk."""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from bench import agent, decisions, l7, plots, servers
from bench.bars import Bar
from bench.compare import variants
from bench.ground import ground
from bench.result import Result, Scenario, Settings
from bench.rounds import Spread, interleave, ratios
from bench.turns import Turns

SIZES = (10, 100, 1_000, 10_000)
EACH, MANY = 8, 32
_ROUNDS, _SAMPLES, _CONNECTIONS = 5, 8, 16
_TARGET = "/api/v1/users"

# wrk asks every node in an order of its own; as many different requests whatever the size is, so that wrk does the same
_SCRIPT = """
local requests, at, count = {{}}, 0, 1250
init = function(args)
  for number = 0, count - 1 do
    local path = "/tenant" .. (number * 7919 % {nodes}) .. "{target}"
    requests[number] = wrk.format("GET", path, {{["User-Agent"] = "{agent}"}})
  end
end
request = function()
  at = (at + 1) % count
  return requests[at]
end
"""


def measure(settings: Settings) -> Result:
    """Bars: 10,000 rules cost at most 1.3 times what 10 do, the decision alone and whole requests."""
    alone = _decisions(settings)
    turns, starts = _requests(settings)
    requests = turns.samples
    first, last = str(SIZES[0]), str(SIZES[-1])
    rates = {name: [load.requests_per_second for load in loads] for name, loads in requests.items()}
    data = {
        "decision_ns": {name: Spread.of(values).json(1) for name, values in alone.items()},
        "requests": {"variants": variants(requests, first)} | turns.json(),
        **starts,
    }
    bars = [
        Bar.of(
            f"L7 rules: one decision, {SIZES[-1]:,} rules to {SIZES[0]}",
            Spread.of(ratios(alone[f"{last} rules"], alone[f"{first} rules"])).median, "x", "<=", 1.3,
        ),
        Bar.of(
            f"L7 rules: time of a request, {SIZES[-1]:,} rules to {SIZES[0]}",
            Spread.of(ratios(rates[first], rates[last])).median, "x", "<=", 1.3,
        ),
    ]  # fmt: skip
    method = (
        f"Services of {', '.join(f'{size:,}' for size in SIZES)} rules, {EACH} at each path prefix ({MANY} where it is "
        "said): all but the last deny, by a header or a method that does not match, so that all are looked at; the last "
        f"allows. decision_ns: {_SAMPLES} paths all over the rules, each decided many times over in one BPF_PROG_TEST_RUN "
        "of the kernel's own decision (path normalised, hashed and walked, rules, no limit), its clock; their mean is a "
        f"sample; rounds in turn. requests: wrk -t1 -c{_CONNECTIONS} through a mesh with all four services, 1,250 "
        "different requests that go to all nodes in turn, so that the tables are no warmer than they are; "
        f"{min(settings.rounds, _ROUNDS)} rounds of 1 s, ratios within a round."
    )
    return Result(method, data, bars)


def _decisions(settings: Settings) -> dict[str, list[float]]:
    repeat = 1_000 if settings.quick else 50_000
    kinds = {f"{size} rules": (size, EACH) for size in SIZES}
    kinds[f"{SIZES[-1]} rules, {MANY} a node"] = (SIZES[-1], MANY)
    with ExitStack() as stack:
        measured = {}
        for name, (size, each) in kinds.items():
            one = decisions.service(size, each, "web", l7.SERVICE, l7.MESH_BACKEND)
            found = stack.enter_context(decisions.installed(one))
            measured[name] = partial(_decision, found, decisions.nodes(size, each), repeat)
        return interleave(measured, settings.rounds, _say)


def _say(number: int, name: str, nanoseconds: float) -> None:
    print(f"  round {number + 1}  {name:<24} {nanoseconds:>6.0f} ns a decision", flush=True)


def _decision(found: decisions.Decisions, nodes: int, repeat: int) -> float:
    paths = [decisions.node(number * nodes // _SAMPLES) + _TARGET for number in range(_SAMPLES)]
    return sum(found.nanoseconds(path, repeat) for path in paths) / len(paths)


def _requests(settings: Settings) -> tuple[Turns[Any], dict[str, float]]:
    addresses = {size: (f"10.96.0.{20 + number}", 80) for number, size in enumerate(SIZES)}
    some = [
        decisions.service(size, EACH, f"web{size}", address, l7.MESH_BACKEND)
        for size, address in addresses.items()
    ]
    with ground() as here, ExitStack() as stack:
        stack.enter_context(servers.nginx(here, [l7.MESH_BACKEND], workers=1, cgroup="mesh"))
        begin = time.perf_counter()
        stack.enter_context(agent.mesh(here, *some, memory_budget="1GiB"))
        took = {"start_seconds": round(time.perf_counter() - begin, 2)}
        scripts = here.room("scripts")
        runs = {}
        for size, address in addresses.items():
            site = l7.Site(here, {l7.MESH: l7.Peer(address, "mesh")}, script=str(_script(scripts, size)))
            if site.get(l7.MESH, "/elsewhere")[0][0] != 403:
                raise RuntimeError(f"{size} rules let through what none of them allows")
            runs[str(size)] = partial(site.load, l7.MESH, "/", _CONNECTIONS)
        turns = l7.in_turn(runs, settings, _ROUNDS, l7.requests)
    if failed := {
        name: loads for name, loads in turns.samples.items() if any(load.failures for load in loads)
    }:
        raise RuntimeError(f"requests failed that the rules allow: {failed}")
    return turns, took


def _script(directory: Path, size: int) -> Path:
    path = directory / f"{size}.lua"
    nodes = decisions.nodes(size, EACH)
    path.write_text(_SCRIPT.format(nodes=nodes, target=_TARGET, agent=decisions.AGENT))
    return path


def _draw(axes: Any, data: dict[str, Any]) -> None:
    plots.bars(axes, data["decision_ns"], "nanoseconds for one decision in the kernel (lower is better)")


SCENARIO = Scenario("l7_rules", "L7 rules: one decision by their number", measure, _draw)
