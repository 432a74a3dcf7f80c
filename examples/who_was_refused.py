"""Who was refused, as it happens, and how slow the rest is: `sudo python examples/who_was_refused.py MESH [COUNT]`."""

from __future__ import annotations

import sys
from itertools import islice

from ebpfmesh.observe import Observer


def main(mesh: str, count: int) -> None:
    with Observer.of(mesh) as observer, observer.stream() as decisions:
        print("listening", flush=True)
        for decision in islice((one for one in decisions if not one.allowed), count):
            who = decision.workload or decision.client
            print(
                f"{who} asked {decision.service} for {decision.path}: {decision.rule or decision.reason}",
                flush=True,
            )
        for service in observer.metrics().services:
            p99 = service.latency.p99
            slow = f"99 of 100 took less than {p99.high} ns" if p99 and p99.high else "no latency is known"
            print(f"{service.name}: {service.requests} requests, {service.errors} errors, {slow}")
        print(f"not told: {decisions.dropped}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: sudo python examples/who_was_refused.py MESH [COUNT]")
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1000)
