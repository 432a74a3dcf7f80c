"""What policy on each request takes: processor time of everybody who has a part in it, and memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from bench import l7, plots, processors
from bench.result import Result, Scenario, Settings
from bench.rounds import Spread, ratios

_CONNECTIONS, _ROUNDS = 16, 5


@dataclass(frozen=True)
class Run:
    """One run of wrk: requests, and microseconds of processor time a request."""

    requests: int
    total_us: float
    own_us: float
    machine_us: float
    softirq_us: float


def measure(settings: Settings) -> Result:
    """No bar: the figures are reported."""
    with l7.site() as site:
        turns = l7.in_turn({name: partial(_run, site, name) for name in site.peers}, settings, _ROUNDS, _say)
        taken = {name: _memory(site, name) for name in (l7.MESH, *site.sidecars)}
        absent = site.absent
    samples = turns.samples
    base = [run.total_us for run in samples[l7.DIRECT]]
    data = {
        "baseline": l7.DIRECT,
        "absent": absent,
        "cpu_us_per_request": {
            name: Spread.of([run.total_us for run in runs]).json(2) for name, runs in samples.items()
        },
        "added_us_per_request": {
            name: Spread.of([run.total_us - bare for run, bare in zip(runs, base, strict=True)]).json(2)
            for name, runs in samples.items()
            if name != l7.DIRECT
        },
        "cpu_ratio_to_direct": {
            name: Spread.of(ratios([run.total_us for run in runs], base)).json() for name, runs in samples.items()
        },
        "own_processes_us_per_request": {
            name: Spread.of([run.own_us for run in runs]).json(2) for name, runs in samples.items()
        },
        "machine_us_per_request": {
            name: Spread.of([run.machine_us for run in runs]).json(2) for name, runs in samples.items()
        },
        "softirq_share_of_machine": {
            name: Spread.of([run.softirq_us / run.machine_us for run in runs]).json() for name, runs in samples.items()
        },
        "memory": taken,
    } | turns.json()  # fmt: skip
    return Result(_method(settings), data)


def _method(settings: Settings) -> str:
    return (
        f"wrk -t1 -c{_CONNECTIONS}, {min(settings.rounds, _ROUNDS)} rounds of 1 s. cpu: usage_usec of cpu.stat of both "
        "cgroups, in which everybody runs (wrk, sidecar, backend), divided by wrk's requests; on this kernel (no "
        "IRQ_TIME_ACCOUNTING) it contains the programs of the mesh and the softirqs, which for loopback run within the "
        "process that sends. machine: what /proc/stat counts of the whole machine, others included, in ticks; "
        "softirq_share is the share of irq and softirq in it. own_processes: the sidecar's, or the agent's, from "
        "/proc/PID/stat, in ticks. added is the difference to direct within a round. Memory: PSS and RSS of all processes "
        "of a sidecar, or of the agent (`ebpfmesh run`), behind the load; memlock of all maps and programs that the agent "
        "holds, from /proc/PID/fdinfo, default capacities: most of it is for connections that are not there. "
        + l7.METHOD
    )


def _run(site: l7.Site, name: str, seconds: float) -> Run:
    cgroups = [one.path for one in site.here.cgroups.values()]
    process = site.peers[name].process
    own = l7.processes(process) if process else []
    before, own_before = processors.account(cgroups), processors.process_us(own)
    load = site.load(name, l7.ALLOWED, _CONNECTIONS, seconds)
    used = processors.account(cgroups).since(before)
    spent = processors.process_us(own) - own_before
    if load.failures:
        raise RuntimeError(f"{name}: {load.failures} requests failed")
    amounts = (used.cgroups_us, spent, used.machine_us, used.softirq_us)
    return Run(load.requests, *(amount / load.requests for amount in amounts))


def _say(run: Run) -> str:
    return f"{run.requests:>8,} requests, {run.total_us:6.1f} us each, {run.own_us:.1f} of its own"


def _memory(site: l7.Site, name: str) -> dict[str, float]:
    process = site.peers[name].process
    if process is None:
        raise RuntimeError(f"{name} has no process")
    taken = processors.memory(l7.processes(process))
    if name != l7.MESH:
        return taken
    kernel = processors.kernel_bytes(process.pid)
    return taken | {f"kernel_{kind}_mb": round(size / 1e6, 2) for kind, size in kernel.items()}


def _draw(axes: Any, data: dict[str, Any]) -> None:
    notes = {
        name: f"us, {one['pss_mb'] + one.get('kernel_maps_mb', 0) + one.get('kernel_programs_mb', 0):.0f} MB"
        for name, one in data["memory"].items()
    }
    plots.bars(
        axes,
        data["cpu_us_per_request"],
        "microseconds of processor time a request, client and server included (lower is better)",
        notes,
    )


SCENARIO = Scenario("l7_cpu_memory", "L7 policy: processor time and memory", measure, _draw)
