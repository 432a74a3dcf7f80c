"""nginx as the backends, HAProxy and Envoy as what the mesh is compared with; all of them on loopback addresses.

Every process stays in the foreground, so that the pid we started is the one that we end; nothing is daemonised.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from bench.machine import find

if TYPE_CHECKING:
    from bench.ground import Ground

Address = tuple[str, int]


class MissingError(Exception):
    """A program that a variant needs is not installed; the variant is left out, and the result says so."""


def program(name: str) -> str:
    """The path of `name`, or MissingError."""
    path = find(name)
    if path is None:
        raise MissingError(f"{name} is not installed")
    return path


@contextmanager
def nginx(
    ground: Ground, addresses: Sequence[Address], *, workers: int, cgroup: str = "plain", locations: str = ""
) -> Iterator[None]:
    """One nginx whose `workers` serve every address alike, so that one address has as much behind it as all.

    ``locations``: of its configuration, beside the one that answers everything.
    """
    directory = ground.room("nginx")
    servers = "\n".join(
        f'  server {{ listen {host}:{port} backlog=4096; {locations} location / {{ return 200 "hello\\n"; }} }}'
        for host, port in addresses
    )
    paths = "\n".join(
        f"  {kind}_temp_path {directory}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = directory / "nginx.conf"
    configuration.write_text(
        f"daemon off; worker_processes {workers}; pid {directory}/pid; error_log {directory}/error.log;\n"
        "events { worker_connections 8192; }\n"
        f"http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 300;\n{paths}\n{servers}\n}}\n"
    )
    command = [
        program("nginx"),
        "-p",
        str(directory),
        "-e",
        f"{directory}/error.log",
        "-c",
        str(configuration),
    ]
    with running(ground, command, directory, cgroup, addresses):
        yield


@contextmanager
def haproxy(ground: Ground, at: Address, backends: Sequence[Address]) -> Iterator[None]:
    """HAProxy in TCP mode, round robin, as many threads as cores (its default)."""
    directory = ground.room("haproxy")
    servers = "\n".join(f"  server s{number} {host}:{port}" for number, (host, port) in enumerate(backends))
    configuration = directory / "haproxy.cfg"
    configuration.write_text(
        "global\n  maxconn 2000\n"
        "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n"
        f"frontend front\n  bind {at[0]}:{at[1]}\n  default_backend back\n"
        f"backend back\n  balance roundrobin\n{servers}\n"
    )
    with running(ground, [program("haproxy"), "-db", "-f", str(configuration)], directory, "plain", [at]):
        yield


@contextmanager
def envoy(ground: Ground, at: Address, backends: Sequence[Address], *, concurrency: int) -> Iterator[None]:
    """Envoy with one tcp_proxy listener and a static round-robin cluster; no admin port, no hot restart."""
    directory = ground.room("envoy")
    configuration = directory / "envoy.json"
    configuration.write_text(json.dumps(_envoy_bootstrap(at, backends)))
    command = [program("envoy"), "-c", str(configuration), "--concurrency", str(concurrency)]
    command += ["--disable-hot-restart", "-l", "error"]
    with running(ground, command, directory, "plain", [at]):
        yield


def _envoy_bootstrap(at: Address, backends: Sequence[Address]) -> dict[str, object]:
    def socket_address(address: Address) -> dict[str, object]:
        return {"socket_address": {"address": address[0], "port_value": address[1]}}

    proxy = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "bench",
        "cluster": "backends",
    }
    endpoints = [{"endpoint": {"address": socket_address(backend)}} for backend in backends]
    listener = {
        "name": "front",
        "address": socket_address(at),
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]}],
    }
    # the default limits (1024 connections) suffice for the connection counts here
    cluster = {
        "name": "backends",
        "type": "STATIC",
        "connect_timeout": "5s",
        "lb_policy": "ROUND_ROBIN",
        "load_assignment": {"cluster_name": "backends", "endpoints": [{"lb_endpoints": endpoints}]},
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


@contextmanager
def running(
    ground: Ground, command: Sequence[str], directory: Path, cgroup: str, listens: Sequence[Address]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` until the block ends: wait until it listens, and end it by its pid afterwards."""
    with (directory / "output").open("wb") as output:
        process = ground.popen(command, cgroup=cgroup, output=output)
        try:
            for address in listens:
                _wait_listening(ground, process, address, directory, output)
            yield process
        finally:
            end(process)


def _wait_listening(
    ground: Ground, process: subprocess.Popen[bytes], address: Address, directory: Path, output: IO[bytes]
) -> None:
    deadline = time.monotonic() + 20
    while not ground.listening(address):
        if process.poll() is not None or time.monotonic() > deadline:
            output.flush()
            said = (directory / "output").read_text(errors="replace")[-2000:]
            state = f"ended with {process.returncode}" if process.poll() is not None else "does not listen"
            raise RuntimeError(f"{process.args!r} {state} at {address[0]}:{address[1]}: {said}")
        time.sleep(0.02)


def end(process: subprocess.Popen[Any], patience: float = 5.0) -> None:
    """Ask the process to end, and insist after `patience` seconds."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
