"""The mesh of a scenario: models of any size, and a Mesh on the ground's `mesh` cgroup."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.servers import end
from ebpfmesh import Backend, Balance, Capacity, Config, Mesh, Service

if TYPE_CHECKING:
    from bench.ground import Ground
    from bench.servers import Address

NAME = "bench"


def service(
    name: str,
    addresses: Sequence[Address],
    backends: Sequence[Address],
    balance: str = "round-robin",
    *,
    table: int | None = None,
    protocol: Literal["tcp", "udp"] = "tcp",
) -> Service:
    """One service from pairs of host and port."""
    return Service(
        name=name,
        protocol=protocol,
        addresses=tuple(f"{host}:{port}" for host, port in addresses),
        backends=tuple(Backend(address=f"{host}:{port}") for host, port in backends),
        balance=Balance(name=balance, table=table),
    )


def services(
    count: int, backends: int, balance: str = "round-robin", first: int = 0, table: int | None = None
) -> tuple[Service, ...]:
    """`count` services at 10.96.0.0/12, each with `backends` addresses of 10.128.0.0/9 of its own."""
    return tuple(
        service(
            f"s{number}",
            [(f"10.{96 + (number >> 16)}.{number >> 8 & 255}.{number & 255}", 80)],
            [(_pod(number * backends + index), 8080) for index in range(backends)],
            balance,
            table=table,
        )
        for number in range(first, first + count)
    )


def _pod(number: int) -> str:
    return f"10.{128 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def config(here: Ground, some: Sequence[Service], capacity: Capacity | None = None, **more: Any) -> Config:
    """The configuration of a mesh that serves `some` on the ground's `mesh` cgroup."""
    return Config(
        name=NAME,
        cgroup=str(here.cgroups["mesh"].path),
        services=tuple(some),
        capacity=capacity or Capacity(),
        **more,
    )


@contextmanager
def mesh(here: Ground, *some: Service, **more: Any) -> Iterator[Mesh]:
    """A running mesh; everything it attached is gone at the end. ``more``: other fields of the configuration."""
    with Mesh(config(here, some, **more), run_root=here.directory / "run", bpffs=here.bpffs) as running:
        yield running


def opened_by_backend(running: Mesh) -> dict[str, int]:
    """Connections opened per backend address, as the kernel counted them."""
    return {backend.address: backend.opened for one in running.status().services for backend in one.backends}


def write_toml(path: Path, here: Ground, some: Sequence[Service]) -> None:
    """The same services as a configuration file."""
    lines = [f'name = "{NAME}"', f'cgroup = "{here.cgroups["mesh"].path}"', 'memory_budget = "2GiB"']
    for one in some:
        addresses = ", ".join(f'"{address}"' for address in one.addresses)
        backends = ", ".join(f'"{backend.address}"' for backend in one.backends)
        lines += ["[[services]]", f'name = "{one.name}"', f'balance = "{one.balance.name}"']
        lines += [f"addresses = [{addresses}]", f"backends = [{backends}]"]
    path.write_text("\n".join(lines) + "\n")


@contextmanager
def process(here: Ground, file: Path) -> Iterator[subprocess.Popen[str]]:
    """`ebpfmesh run FILE` in a process of its own, from ready until the end of the block."""
    places = ["--run-root", str(here.directory / "run"), "--bpffs", str(here.bpffs)]
    running = subprocess.Popen(
        [sys.executable, "-m", "ebpfmesh", "run", *places, str(file)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        assert running.stdout is not None
        said = []
        for line in running.stdout:
            said.append(line)
            if line.startswith("ready"):
                break
        else:
            raise RuntimeError(f"the agent ended with {running.wait()}: {''.join(said)}")
        yield running
    finally:
        end(running)
        if running.stdout is not None:
            running.stdout.close()
