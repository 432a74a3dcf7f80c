"""The ground of the L7 scenarios: a backend, a mesh with policies, three sidecars in front of the same kind of backend.

Fairness: two nginx with one worker and one configuration; the mesh's and its clients run inside the mesh's cgroup, so that
its programs run for both ends, as on a node. Everything else runs in a cgroup without programs. Who takes part is asked
before anything is measured whether it does what it is there for: see `Site.check`.
"""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from subprocess import Popen
from typing import Any, TypeVar

from bench import agent, servers, sidecars, sockmap_alone, turns, wrk
from bench.ground import Ground, ground
from bench.quiet import Patience
from bench.result import Settings
from bench.servers import Address

DIRECT, MESH, AGAIN, FLOOR = "direct", "ebpfmesh", "direct again", "sockmap alone"
NGINX, HAPROXY, ENVOY = "nginx", "haproxy", "envoy"
SIDECARS = (NGINX, HAPROXY, ENVOY)

PLAIN_BACKEND, MESH_BACKEND, FLOOR_BACKEND = ("127.0.0.1", 8001), ("127.0.0.1", 8011), ("127.0.0.1", 8021)
SERVICE = ("10.96.0.10", 80)
ALLOWED, DENIED, LIMITED, TRACED = "/api/v1/users", "/admin/users", "/limited", "/traced"

POLICY = f"""
[[services]]
name = "web"
addresses = ["{SERVICE[0]}:{SERVICE[1]}"]
backends = ["{MESH_BACKEND[0]}:{MESH_BACKEND[1]}"]
l7 = "http1"

[services.http]
trace = true

[[services.rules]]
name = "no-admin"
action = "deny"
paths = ["/admin/**"]

[[services.rules]]
name = "the-rest"
action = "allow"
methods = ["GET"]
paths = ["/api/**", "{LIMITED}", "{TRACED}"]

[[services.limits]]
name = "all"
rate = "{sidecars.RATE}/s"
burst = 100000
key = "service"

[[services.limits]]
name = "tight"
rate = "1/m"
burst = 1
key = "service"
paths = ["{LIMITED}"]
"""

METHOD = (
    "One nginx with one worker behind each. ebpfmesh: an allow and a deny rule with paths, a limit that "
    "never refuses, traceparent, metrics; wrk and the backend are in the mesh's cgroup. "
    + sidecars.METHOD
    + " "
    + turns.METHOD
)

Sample = TypeVar("Sample")


@dataclass(frozen=True)
class Peer:
    """Where the load of a variant goes, from which cgroup, and what runs for it alone."""

    address: Address
    cgroup: str
    process: Popen[Any] | None = None


@dataclass
class Site:
    """Everybody who takes part, by name, and who could not."""

    here: Ground
    peers: dict[str, Peer]
    absent: dict[str, str] = field(default_factory=dict)
    script: str = ""

    @property
    def sidecars(self) -> list[str]:
        """Those that are here."""
        return [name for name in SIDECARS if name in self.peers]

    def load(self, name: str, path: str, connections: int, seconds: float, threads: int = 1) -> wrk.Load:
        """One run of wrk."""
        peer = self.peers[name]
        command = wrk.command(
            servers.program("wrk"),
            f"http://{peer.address[0]}:{peer.address[1]}{path}",
            threads=threads,
            connections=connections,
            seconds=seconds,
            script=self.script,
        )
        return wrk.parse(self.here.run(command, cgroup=peer.cgroup, timeout=seconds + 20))

    def get(self, name: str, *paths: str) -> list[tuple[int, bytes]]:
        """Status and body of GETs on one connection."""
        peer = self.peers[name]
        connection = http.client.HTTPConnection(*peer.address, timeout=10)
        with closing(connection), self.here.cgroups[peer.cgroup].enter():
            self.here.netns.call(connection.connect)
            answers = []
            for path in paths:
                connection.request("GET", path)
                response = connection.getresponse()
                answers.append((response.status, response.read()))
        return answers

    def check(self) -> None:
        """Everybody but direct refuses, limits and traces, and all that on one connection. RuntimeError who does not."""
        for name in (MESH, *self.sidecars):
            answers = self.get(name, ALLOWED, DENIED, LIMITED, LIMITED, LIMITED, TRACED)
            statuses = [status for status, _ in answers]
            traced = answers[-1][1].startswith(b"00-")
            if statuses != [200, 403, 200, 429, 429, 200] or not traced:
                raise RuntimeError(f"{name} does not do what is compared: {statuses}, {answers[-1][1]!r}")


@contextmanager
def site() -> Iterator[Site]:
    """Start everybody; all of them and the ground are gone at the end."""
    with ground() as here, ExitStack() as stack:
        echo = f'location = {TRACED} {{ return 200 "$http_traceparent\\n"; }}'
        stack.enter_context(servers.nginx(here, [PLAIN_BACKEND], workers=1, locations=echo))
        stack.enter_context(servers.nginx(here, [MESH_BACKEND], workers=1, cgroup="mesh", locations=echo))
        running = stack.enter_context(mesh(here, POLICY))
        made = Site(here, {DIRECT: Peer(PLAIN_BACKEND, "plain"), MESH: Peer(SERVICE, "mesh", running)})
        cores = len(os.sched_getaffinity(0))
        starts: dict[str, Callable[..., Any]] = {
            NGINX: partial(sidecars.nginx, workers=cores),
            HAPROXY: sidecars.haproxy,
            ENVOY: partial(sidecars.envoy, concurrency=cores),
        }
        for port, (name, start) in enumerate(starts.items(), 9101):
            add(made, stack, name, start, PLAIN_BACKEND, port=port)
        made.check()
        yield made


@contextmanager
def floor(made: Site) -> Iterator[None]:
    """Programs that pass everything take part too, between their own backend and their own clients."""
    with (
        servers.nginx(made.here, [FLOOR_BACKEND], workers=1, cgroup=sockmap_alone.CGROUP),
        sockmap_alone.attached(made.here) as seen,
    ):
        made.peers[FLOOR] = Peer(FLOOR_BACKEND, sockmap_alone.CGROUP)
        status = made.get(FLOOR, ALLOWED)[0][0]
        if status != 200 or (seen[0], seen[1]) != (1, 1):
            raise RuntimeError(f"{FLOOR} does not do what is compared: {status}, {seen[0]}, {seen[1]}")
        yield


def add(
    made: Site, stack: ExitStack, name: str, start: Callable[..., Any], backend: Address, *, port: int
) -> None:
    """Start a sidecar and let it take part; without its program it is left out and named."""
    at = ("127.0.0.1", port)
    try:
        process = stack.enter_context(start(made.here, at, backend))
    except servers.MissingError as missing:
        made.absent[name] = str(missing)
        print(f"  {name} is left out: {missing}", file=sys.stderr)
    else:
        made.peers[name] = Peer(at, "plain", process)


@contextmanager
def mesh(here: Ground, services: str, more: str = "") -> Iterator[Popen[str]]:
    """`ebpfmesh run` with these services in TOML, ready; ``more``: other fields of the configuration."""
    file = here.room("mesh") / "mesh.toml"
    file.write_text(f'name = "{agent.NAME}"\ncgroup = "{here.cgroups["mesh"].path}"\n{more}\n{services}')
    with agent.process(here, file) as running:
        yield running


def in_turn(
    variants: Mapping[str, Callable[[float], Sample]],
    settings: Settings,
    rounds: int,
    say: Callable[[Sample], str],
) -> turns.Turns[Sample]:
    """Interleaved rounds of a second each, behind one that warms up.

    ``rounds`` is how many at most: the L7 scenarios have many variants, and all of them together are to take minutes.
    """

    def report(number: int, name: str, sample: Sample) -> None:
        print(f"  round {number + 1}  {name:<24} {say(sample)}", flush=True)

    if not settings.quick:
        for measure in variants.values():
            measure(1.0)
    chosen = min(settings.rounds, rounds)
    patience = Patience(1.0 if settings.quick else 8.0)
    return turns.take({name: partial(one, 1.0) for name, one in variants.items()}, chosen, patience, report)


def requests(load: wrk.Load) -> str:
    """A run of wrk in a line."""
    failed = f", {load.failures} other than 2xx" if load.failures else ""
    return f"{load.requests_per_second:>10,.0f} requests/s, p99 {load.p99_us:,.0f} us{failed}"


def best(medians: Mapping[str, float], names: Sequence[str]) -> str | None:
    """Of these names the one with the highest median; None if none of them took part."""
    known = [name for name in names if name in medians]
    return max(known, key=lambda name: medians[name]) if known else None


def processes(process: Popen[Any]) -> list[int]:
    """Its pid, and those of its children and theirs."""
    found = [process.pid]
    for pid in found:  # grows while it is read
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found
