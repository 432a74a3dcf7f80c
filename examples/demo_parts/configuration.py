"""The file that the agent follows: first connections only, then who may ask what, and how often."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

SERVICE, STOCK = (
    "10.96.0.10",
    "10.96.0.20",
)  # no route leads there: whoever connects reaches a backend or nothing
PORTS = {"a": 8001, "b": 8002, "c": 8003, "stock": 8004}  # who listens on 127.0.0.1 of the namespace
CRAWLER, WEB = (
    "crawler",
    "web",
)  # cgroups below the mesh's; a workload each, and all other processes are the shopper

POLICY = """\
l7 = "http1"
http = { trace = true }
rules = [{ name = "no-admin", action = "deny", paths = ["/admin/**"] }]
limits = [{ name = "slow-crawler", from = ["crawler"], rate = "2/s", burst = 4, key = "identity" }]

[[services]]
name = "stock"
addresses = ["10.96.0.20:80"]
backends = ["127.0.0.1:8004"]
l7 = "http1"
http = { trace = true }
rules = [{ name = "only-web", action = "allow", from = ["web"] }]
"""


def text(cgroup: Path, backends: Iterable[str], policy: str = "") -> str:
    """One service over `backends`; with a `policy`, what follows in the file."""
    listed = ", ".join(f'"127.0.0.1:{PORTS[name]}"' for name in backends)
    workloads = "".join(
        f'[[workloads]]\nname = "{name}"\ncgroup = "{path}"\n\n'
        for name, path in (("shopper", cgroup), (CRAWLER, cgroup / CRAWLER), (WEB, cgroup / WEB))
    )
    return (
        f'name = "demo"\ncgroup = "{cgroup}"\n\n{workloads if policy else ""}'
        f'[[services]]\nname = "web"\naddresses = ["{SERVICE}:80"]\nbackends = [{listed}]\n{policy}'
    )
