"""The ground of a lifecycle test: a cgroup, a namespace with servers, clients in both, agents with their own run root."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import pytest
from traffic import PORTS, Client

import ebpfmesh.errors
from ebpfmesh.lowlevel.mount import mounts, unmount
from ebpfmesh.mesh import Mesh
from ebpfmesh.policy.model import Backend, Config, Service
from ebpfmesh.testing import NetNs, PrivateCgroup, compile_bpf

HERE = Path(__file__).parent
SOURCES = Path(ebpfmesh.errors.__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SOURCES)}
ADDRESS = ("10.96.0.10", 80)  # no route leads there: who connects to it reaches a backend or nothing
_INTO_CGROUP = 'echo 0 > "$1/cgroup.procs" || exit 125; shift; exec "$@"'


def backend(port: int, **fields: Any) -> Backend:
    """The server at ``port`` as a backend."""
    return Backend(f"127.0.0.1:{port}", **fields)


def web(*ports: int, name: str = "web", address: str = "10.96.0.10:80", **fields: Any) -> Service:
    """A service at ``address`` with the servers at ``ports`` behind it."""
    return Service(name, addresses=(address,), backends=tuple(backend(port) for port in ports), **fields)


class Place:
    """Everything that a lifecycle test needs; ended and removed at its end, also when it failed."""

    def __init__(self, cgroup: PrivateCgroup, netns: NetNs, bpffs: Path, directory: Path) -> None:
        self.cgroup, self.netns, self.bpffs, self.directory = cgroup, netns, bpffs, directory
        self.root = directory / "run"
        self.file = directory / "mesh.toml"
        self.options = ["--run-root", str(self.root), "--bpffs", str(self.bpffs)]
        self._meshes: list[Mesh] = []
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        words = [sys.executable, "-S", str(HERE / "traffic.py"), "serve", *map(str, PORTS)]
        server = self.netns.popen(words, stdout=subprocess.PIPE, text=True)
        self._processes.append(server)
        assert server.stdout is not None
        assert server.stdout.readline() == "serving\n"
        return self

    def __exit__(self, *_: object) -> None:
        for mesh in self._meshes:
            mesh.close()
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        for mount in mounts("bpf"):
            if mount.point.is_relative_to(self.directory):
                unmount(mount.point)

    # --- clients ----------------------------------------------------------------------------------------------

    def client(
        self, address: tuple[str, int] = ADDRESS, *, cgroup: PrivateCgroup | None = None, udp: bool = False
    ) -> Client:
        """A process in the cgroup and in the namespace that connects to ``address`` again and again."""
        client = Client(self.directory / f"client-{len(self._processes)}")
        verb = "ask" if udp else "call"
        words = ["traffic.py", verb, client.path, address[0], address[1], 0.0005]
        self._processes.append(self.inside([sys.executable, "-S", *map(str, words)], cgroup=cgroup, cwd=HERE))
        return client

    def inside(
        self, words: Sequence[str], *, cgroup: PrivateCgroup | None = None, **options: Any
    ) -> subprocess.Popen[str]:
        """Start ``words`` in the cgroup and in the namespace; the caller ends the process."""
        inside = str((cgroup or self.cgroup).path)
        command = ["/bin/sh", "-c", _INTO_CGROUP, "sh", inside, *words]
        return self.netns.popen(command, text=True, **options)

    def connect(
        self, address: tuple[str, int] = ADDRESS, *, cgroup: PrivateCgroup | None = None
    ) -> socket.socket:
        """A TCP connection of this process, as a client in the cgroup and in the namespace makes it; 5 s time-out."""

        def dial() -> socket.socket:
            return socket.create_connection(address, timeout=5)

        with (cgroup or self.cgroup).enter():
            return self.netns.call(dial)

    def reached(
        self, address: tuple[str, int] = ADDRESS, *, cgroup: PrivateCgroup | None = None
    ) -> int | None:
        """The port of the server that answers at ``address``; None if nobody does."""
        try:
            with self.connect(address, cgroup=cgroup) as connection:
                return int(connection.recv(64))
        except OSError:
            return None

    # --- meshes and agents ----------------------------------------------------------------------------------------

    def config(
        self, *services: Service, name: str = "life", cgroup: Path | None = None, **fields: Any
    ) -> Config:
        """A configuration for this cgroup; without services, one service with two backends."""
        return Config(
            name, cgroup=str(cgroup or self.cgroup.path), services=services or (web(8001, 8002),), **fields
        )

    def mesh(self, config: Config | None = None) -> Mesh:
        """A mesh of this process, not started; closed at the end of the test."""
        mesh = Mesh(config or self.config(), run_root=self.root, bpffs=self.bpffs)
        self._meshes.append(mesh)
        return mesh

    def write(self, config: Config, file: Path | None = None) -> Path:
        """``config`` as a file of TOML, replaced at once as editors do."""
        target = file or self.file
        fresh = target.with_suffix(".new")
        fresh.write_text(toml(config))
        return fresh.replace(target)

    def agent(self, config: Config | None = None, *words: str) -> Agent:
        """An `ebpfmesh run` of ``config``, ready."""
        file = self.write(config or self.config())
        agent = Agent(self.start([sys.executable, "-m", "ebpfmesh", "run", str(file), *words, *self.options]))
        agent.wait_for("ready")
        return agent

    def dying_agent(self, first: Config, second: Config, write: int) -> Agent:
        """An agent of ``first`` that applies ``second`` when told to, and dies in its write number ``write``."""
        files = [
            self.write(first, self.directory / "first.toml"),
            self.write(second, self.directory / "second.toml"),
        ]
        words = [HERE / "dying_agent.py", *files, self.root, self.bpffs, write]
        agent = Agent(self.start([sys.executable, *map(str, words)], stdin=subprocess.PIPE))
        agent.wait_for("ready")
        return agent

    def start(self, words: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        """A process outside of the cgroup, ended with the test."""
        process = subprocess.Popen(
            words, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
        )
        self._processes.append(process)
        return process

    def run(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """One `ebpfmesh` command, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "ebpfmesh", *words, *self.options],
            env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=60, **options,
        )  # fmt: skip

    # --- what is there ------------------------------------------------------------------------------------------

    def left(self) -> list[str]:
        """What is in the run root and, apart from the kernel's own files, in the bpffs."""
        pins = [path for path in self.bpffs.rglob("*") if "." not in path.name]
        return sorted(str(path) for path in (*self.root.rglob("*"), *pins))

    def attached(self, cgroup: PrivateCgroup | None = None) -> dict[str, list[int]]:
        """The ids of the programs that are attached to the cgroup, in their order, by hook."""
        from ebpfmesh import hooks
        from ebpfmesh.tiers.connect.tier import HOOKS

        path = (cgroup or self.cgroup).path
        found = {hook: getattr(hooks, hook).attached(path) for hook in HOOKS.values()}
        return {hook: [one.program_id for one in there] for hook, there in found.items() if there}


class Agent:
    """A process that holds a mesh."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    @property
    def pid(self) -> int:
        return self.process.pid

    def line(self, timeout: float = 20) -> str:
        """The next line on standard output; the test fails if the process ends instead."""
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], timeout)[0], "the agent says nothing"
        if not (line := self.process.stdout.readline()):
            pytest.fail(f"the agent ended with {self.process.wait()}: {self.errors()}")
        return line

    def wait_for(self, beginning: str) -> str:
        line = self.line()
        assert line.startswith(beginning), line
        return line

    def errors(self) -> str:
        """What it wrote on standard error, after its end."""
        assert self.process.stderr is not None
        return self.process.stderr.read()

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)

    def kill(self) -> None:
        assert self.end(signal.SIGKILL) == -signal.SIGKILL


def toml(config: Config) -> str:
    """``config`` as TOML, for the fields that these tests use."""
    lines = [f"name = {json.dumps(config.name)}", f"cgroup = {json.dumps(config.cgroup)}"]
    for service in config.services:
        backends = ", ".join(
            f'{{address = "{one.address}", weight = {one.weight}, draining = {json.dumps(one.draining)}}}'
            for one in service.backends
        )
        lines += ["[[services]]", f"name = {json.dumps(service.name)}", f"protocol = {json.dumps(service.protocol)}",
                  f"addresses = {json.dumps(service.addresses)}", f"backends = [{backends}]",
                  f"balance = {json.dumps(service.balance.name)}",
                  f"removed_backends = {json.dumps(service.removed_backends)}"]  # fmt: skip
    return "\n".join(lines) + "\n"


def another_version(**changes: str) -> bytes:
    """The connect object, compiled from its source with each KEY of ``changes`` ("ENOMEM") defined as its value."""
    source = (SOURCES / "ebpfmesh/bpf/connect.bpf.c").read_text()
    for name, value in changes.items():
        before = next(line for line in source.splitlines() if line.startswith(f"#define {name} "))
        source = source.replace(before, f"#define {name} {value}")
    return compile_bpf(source)
