"""What the kernel counted of requests, by route: `sudo python examples/slow_routes.py MESH`; the agent may be dead."""

from __future__ import annotations

import sys

from ebpfmesh.observe import Observer
from ebpfmesh.observe.metrics import Metrics


def show(metrics: Metrics) -> None:
    for service in metrics.services:
        judged, denied, limited = (service.counters[name] for name in ("requests", "denied", "limited"))
        print(f"{service.name}: {judged} requests judged, {denied} denied, {limited} over a limit")
        for row in service.rows:  # a service, a backend, a route and a class of status
            p99 = row.latency.p99  # lies between two borders, at most 25 % apart; nothing is guessed
            slow = f", 99 of 100 within {p99.high / 1e6:.3g} ms" if p99 and p99.high else ""
            print(f"  {row.route or 'no route':<10} {row.backend} {row.status_class}: {row.requests}{slow}")
        for limit in service.limits:
            print(f"  limit {limit.name}: {limit.admitted} admitted, {limit.refused} refused")
    if metrics.overflow:
        print(f"{metrics.overflow.requests} found no row: raise capacity.l7_metrics")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: sudo python examples/slow_routes.py MESH (its name)")
    with Observer.of(sys.argv[1]) as observer:
        show(observer.metrics())
