"""Calls shaped as gRPC's, by HTTP/2: nothing in between, the kernel, or Envoy."""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bench import grpc_calls, h2load, l7, plots, servers, sidecars
from bench.bars import Bar
from bench.ground import Ground, ground
from bench.result import Result, Scenario, Settings
from bench.rounds import Spread, ratios
from bench.servers import Address

_CONNECTIONS, _STREAMS, _ROUNDS, _GRPCIO_ROUNDS = 8, 16, 5, 3
_PATH = f"/{grpc_calls.SERVICE}/{grpc_calls.METHOD}"
_BODY = struct.pack(">BI", 0, len(grpc_calls.MESSAGE)) + grpc_calls.MESSAGE
# where the servers are, of nghttpd and of grpcio: without the mesh, and in its cgroup
_PLAIN, _MESHED = (("127.0.0.1", 8001), ("127.0.0.1", 8002)), (("127.0.0.1", 8011), ("127.0.0.1", 8012))
_SERVICES = (("10.96.0.10", 80), ("10.96.0.11", 80))
_SERVICE = """
[[services]]
name = "{name}"
addresses = ["{address[0]}:{address[1]}"]
backends = ["{backend[0]}:{backend[1]}"]
l7 = "grpc"

[services.http]
trace = true

[[services.rules]]
name = "cart"
action = "allow"
grpc = [{{ service = "{service}", method = "{method}" }}]

[[services.limits]]
name = "all"
rate = "{rate}/s"
burst = 100000
key = "service"
"""


def measure(settings: Settings) -> Result:
    """Bars: 0.60 of direct, and 3 x Envoy; grpcio's own client and server have none."""
    with ground() as here, ExitStack() as stack:
        sites, absent = _start(here, stack)
        turns = l7.in_turn(
            {name: partial(_streams, sites[0], peer) for name, peer in _everybody(sites[0])},
            settings,
            _ROUNDS,
            _say_streams,
        )
        unary = l7.in_turn(
            {name: partial(_unary, sites[1], peer) for name, peer in _everybody(sites[1])},
            settings,
            _GRPCIO_ROUNDS,
            "{:>10,.0f} calls/s".format,
        ).samples
    calls = turns.samples
    rates = {name: [one.requests_per_second for one in runs] for name, runs in calls.items()}
    data = {
        "baseline": l7.DIRECT,
        "absent": absent,
        "variants": _variants(rates),
        "mean_us": {name: Spread.of([one.mean_us for one in runs]).json(1) for name, runs in calls.items()},
        "failures": {name: sum(one.failures for one in runs) for name, runs in calls.items()},
        "grpcio": _variants(unary),
    } | turns.json()
    of_direct = Spread.of(ratios(rates[l7.MESH], rates[l7.DIRECT])).median
    bars = [Bar.of("L7 HTTP/2 as gRPC: requests/s, ebpfmesh to direct", of_direct, "ratio", ">=", 0.60)]
    if l7.ENVOY in rates:
        of_envoy = Spread.of(ratios(rates[l7.MESH], rates[l7.ENVOY])).median
        bars.append(Bar.of("L7 HTTP/2 as gRPC: requests/s, ebpfmesh to Envoy", of_envoy, "ratio", ">=", 3))
    return Result(_method(settings), data, bars)


def _method(settings: Settings) -> str:
    return (
        f"h2load -t1 -c{_CONNECTIONS} -m{_STREAMS}, POST of {len(_BODY)} bytes with content-type application/grpc, to "
        "nghttpd with one thread and a file of 5 bytes (nghttpd was faster here than nginx with `return 200`); "
        f"{min(settings.rounds, _ROUNDS)} rounds of 1 s, ratios within a round, their median. ebpfmesh: l7 grpc, a rule "
        "that allows the method (all else is denied), a limit that never refuses, traceparent, metrics; h2load and the "
        "server are in its cgroup. Envoy: HTTP/2 on both sides, as many workers as cores, rbac, local_ratelimit, a "
        "header as in l7_keep_alive. grpcio: its own client and server (Python, one call at a time, bytes without "
        f"protobuf), {min(settings.rounds, _GRPCIO_ROUNDS)} rounds of 1 s."
    )


def _start(here: Ground, stack: ExitStack) -> tuple[list[l7.Site], dict[str, str]]:
    """Two sites, of nghttpd and of grpcio, in one mesh."""
    for cgroup, (nghttpd, grpcio) in {"plain": _PLAIN, "mesh": _MESHED}.items():
        stack.enter_context(_nghttpd(here, nghttpd, cgroup))
        stack.enter_context(_grpcio(here, grpcio, cgroup))
    stack.enter_context(l7.mesh(here, services()))
    sites = []
    envoy = partial(sidecars.envoy, concurrency=len(os.sched_getaffinity(0)), http2=True)
    for number, (plain, service) in enumerate(zip(_PLAIN, _SERVICES, strict=True)):
        site = l7.Site(here, {l7.DIRECT: l7.Peer(plain, "plain"), l7.MESH: l7.Peer(service, "mesh")})
        l7.add(site, stack, l7.ENVOY, envoy, plain, port=9101 + number)
        sites.append(site)
    _check(sites[1])
    return sites, sites[0].absent


def services() -> str:
    """The mesh's services, in TOML."""
    return "".join(
        _SERVICE.format(
            name=name, address=address, backend=backend, rate=sidecars.RATE,
            service=grpc_calls.SERVICE, method=grpc_calls.METHOD,
        )
        for name, address, backend in zip(("h2load", "grpcio"), _SERVICES, _MESHED, strict=True)
    )  # fmt: skip


@contextmanager
def _nghttpd(here: Ground, at: Address, cgroup: str) -> Iterator[None]:
    """nghttp2's server, one thread, HTTP/2 by prior knowledge: every POST is answered with a small file."""
    room = here.room("nghttpd")
    file = room / _PATH[1:]
    file.parent.mkdir()
    file.write_text("hello")
    command = [servers.program("nghttpd"), "--no-tls", f"--address={at[0]}", "-d", str(room), str(at[1])]
    with servers.running(here, command, room, cgroup, [at]):
        yield


@contextmanager
def _grpcio(here: Ground, at: Address, cgroup: str) -> Iterator[None]:
    command = [sys.executable, "-m", "bench.grpc_calls", "serve", str(at[1])]
    with servers.running(here, command, here.room("grpcio"), cgroup, [at]):
        yield


def _everybody(site: l7.Site) -> Iterator[tuple[str, l7.Peer]]:
    yield from site.peers.items()
    yield l7.AGAIN, site.peers[l7.DIRECT]


def _streams(site: l7.Site, peer: l7.Peer, seconds: float) -> h2load.Streams:
    command = h2load.command(
        servers.program("h2load"),
        f"http://{peer.address[0]}:{peer.address[1]}{_PATH}",
        connections=_CONNECTIONS,
        streams=_STREAMS,
        seconds=seconds,
        body=_body(site.here),
    )
    return h2load.parse(site.here.run(command, cgroup=peer.cgroup, timeout=seconds + 20))


def _body(here: Ground) -> Path:
    path = here.directory / "message"
    path.write_bytes(_BODY)
    return path


def _unary(site: l7.Site, peer: l7.Peer, seconds: float) -> float:
    arguments = ("call", peer.address[0], str(peer.address[1]), str(seconds))
    printed = site.here.python("bench.grpc_calls", *arguments, cgroup=peer.cgroup, timeout=60)
    return float(json.loads(printed)["calls_per_second"])


def _check(site: l7.Site) -> None:
    """Nobody but direct lets a call through that it is to refuse. RuntimeError who does."""
    for name, peer in site.peers.items():
        arguments = ("refusal", peer.address[0], str(peer.address[1]))
        said = site.here.python("bench.grpc_calls", *arguments, cgroup=peer.cgroup, timeout=60).strip()
        if said != ("UNIMPLEMENTED" if name == l7.DIRECT else "PERMISSION_DENIED"):
            raise RuntimeError(
                f"{name} does not do what is compared: a call to be refused is answered {said}"
            )


def _say_streams(run: h2load.Streams) -> str:
    failed = f", {run.failures} failed" if run.failures else ""
    return f"{run.requests_per_second:>10,.0f} requests/s, mean {run.mean_us:,.0f} us{failed}"


def _variants(rates: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    return {
        name: {
            "requests_per_second": Spread.of(values).json(1),
            "ratio_to_direct": Spread.of(ratios(values, rates[l7.DIRECT])).json(),
            "rounds": [round(value, 1) for value in values],
        }
        for name, values in rates.items()
    }


def _draw(axes: Any, data: dict[str, Any]) -> None:
    spreads = {name: one["ratio_to_direct"] for name, one in data["variants"].items()}
    notes = {
        name: f"{one['requests_per_second']['median'] / 1e3:.1f} k/s"
        for name, one in data["variants"].items()
    }
    plots.bars(
        axes, spreads, "requests per second, ratio to direct in the same round (higher is better)", notes
    )


SCENARIO = Scenario("l7_http2", "gRPC-shaped HTTP/2: 8 connections, 16 streams each", measure, _draw)
