"""What an agent keeps: its own resident memory, and the kernel's for its maps, by the number of services."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from bench import agent
from bench.bars import Bar
from bench.ground import Ground, ground
from bench.result import Result, Scenario, Settings

_BACKENDS = 10


def measure(settings: Settings) -> Result:
    """Bars: the agent's RSS is at most 60 MB with 1,000 services."""
    sizes = (0, 100) if settings.quick else (0, 1_000, 10_000)
    with ground() as here:
        data = {str(size): _agent(here, size) for size in sizes}
    method = (
        "the agent, `ebpfmesh run FILE`, in a process of its own, two seconds after it was ready: VmRSS and RssAnon of "
        "/proc/PID/status (1 MB = 10^6 bytes); for the kernel, the memlock of each BPF map that the process has open, "
        f"each once, from /proc/PID/fdinfo. {_BACKENDS} backends a service, round robin, default capacities."
    )
    rss = data[str(sizes[1])]["rss_mb"]
    bar = Bar.of(f"agent RSS with {sizes[1]:,} services", rss, "MB", "<=", 60)
    return Result(method, {"by_services": data}, [bar])


def _agent(here: Ground, size: int) -> dict[str, Any]:
    file = here.room(f"memory-{size}") / "mesh.toml"
    agent.write_toml(file, here, agent.services(size, _BACKENDS))
    with agent.process(here, file) as running:
        time.sleep(2)  # start-up garbage is collected, or it is not: what stays is what counts
        status = Path(f"/proc/{running.pid}/status").read_text()
        sample = {
            "rss_mb": _megabytes(status, "VmRSS"),
            "rss_anonymous_mb": _megabytes(status, "RssAnon"),
            "kernel_maps_mb": round(_map_bytes(running.pid) / 1e6, 2),
        }
    print(f"  {size:>6} services: {sample}", flush=True)
    return sample


def _megabytes(status: str, field: str) -> float:
    for line in status.splitlines():
        if line.startswith(f"{field}:"):
            return round(int(line.split()[1]) * 1024 / 1e6, 2)
    raise ValueError(f"/proc/PID/status has no {field}")


def _map_bytes(pid: int) -> int:
    """The kernel's own figure for every map behind a descriptor of the process."""
    by_id: dict[str, int] = {}
    for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
        fields = dict(line.split(":\t", 1) for line in entry.read_text().splitlines() if ":\t" in line)
        if "map_id" in fields:
            by_id[fields["map_id"]] = int(fields["memlock"])
    return sum(by_id.values())


SCENARIO = Scenario("memory", "Memory of an agent", measure)
