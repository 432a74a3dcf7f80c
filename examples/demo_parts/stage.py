"""Where the demo plays: a cgroup, a network namespace and a BPF file system of its own, and the processes on them.

Nothing outside is touched, and leaving the block ends every process by its pid and removes everything else.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ebpfmesh.testing import NetNs, PrivateCgroup, private_bpffs, private_cgroup, private_netns

HERE = Path(__file__).parent
PORTS = {"a": 8001, "b": 8002, "c": 8003}  # the backends, all on 127.0.0.1 of the namespace
SERVICE = "10.96.0.10"


class Load:
    """A client process and the latest count that it printed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.count: dict[str, Any] = {"by": {}, "failed": 0, "slowest_ms": 0.0, "errors": []}
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.count = json.loads(line)

    @property
    def failed(self) -> int:
        """Failed requests; a client that ended by itself has failed as well."""
        return int(self.count["failed"]) + (self.process.poll() is not None)

    @property
    def requests(self) -> int:
        """Answered requests."""
        return sum(self.count["by"].values())


class Agent:
    """The mesh's agent in a process of its own, and the lines it prints."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self.ended = False
        self._printed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._printed:
                self.lines.append(line.rstrip())
                self._printed.notify_all()
        with self._printed:
            self.ended = True
            self._printed.notify_all()

    def wait_for(self, word: str, after: int = 0, timeout: float = 10.0) -> None:
        """Return once a line that begins with `word` is there, not counting the first `after` lines."""
        deadline = time.monotonic() + timeout
        with self._printed:
            while not any(line.startswith(word) for line in self.lines[after:]):
                if self.ended or not self._printed.wait(deadline - time.monotonic()):
                    said = "\n".join(self.lines) or "nothing"
                    raise RuntimeError(f"the agent did not say {word!r}; it said:\n{said}")


class Stage:
    """The places, and ways to start each kind of process."""

    def __init__(self, cgroup: PrivateCgroup, netns: NetNs, bpffs: Path, directory: Path) -> None:
        self.cgroup, self.netns, self.bpffs, self.directory = cgroup, netns, bpffs, directory
        self.file = directory / "mesh.toml"
        self.servers: dict[str, subprocess.Popen[Any]] = {}
        self.processes: list[subprocess.Popen[Any]] = []

    def start_server(self, name: str) -> None:
        """Backend `name`, outside the mesh's cgroup; returns when it answers."""
        command = [sys.executable, str(HERE / "server.py"), name, str(PORTS[name])]
        self.servers[name] = self._keep(self.netns.popen(command, start_new_session=True))
        for _ in range(200):
            if self.request(f"http://127.0.0.1:{PORTS[name]}/", inside=False).stdout.strip() == name:
                return
            time.sleep(0.02)
        raise RuntimeError(f"backend {name} does not answer")

    def stop_server(self, name: str) -> None:
        """End backend `name`: from now on, whoever is sent to it is refused."""
        end(self.servers.pop(name))

    def write_configuration(self, backends: Sequence[str]) -> None:
        """One service over `backends`, in the file that the agent watches; replaced in one step."""
        listed = ", ".join(f'"127.0.0.1:{PORTS[name]}"' for name in backends)
        text = (
            f'name = "demo"\ncgroup = "{self.cgroup.path}"\n\n'
            f'[[services]]\nname = "web"\naddresses = ["{SERVICE}:80"]\nbackends = [{listed}]\n'
        )
        new = self.file.with_suffix(".new")
        new.write_text(text)
        new.rename(self.file)

    def start_agent(self) -> Agent:
        """`ebpfmesh run FILE`, outside the cgroup and the namespace, as a node's agent is."""
        places = ["--run-root", str(self.directory / "run"), "--bpffs", str(self.bpffs)]
        command = [sys.executable, "-m", "ebpfmesh", "run", *places, str(self.file)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        agent = Agent(self._keep(process))
        agent.wait_for("ready")
        return agent

    def start_load(self, *kept: str) -> Load:
        """A client in the mesh's cgroup; with a backend's name, one that keeps its connection to it."""
        command = self._inside([sys.executable, str(HERE / "client.py"), SERVICE, "80", *kept])
        return Load(
            self._keep(self.cgroup.popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True))
        )

    def request(self, url: str, *, inside: bool) -> subprocess.CompletedProcess[str]:
        """One curl, inside the mesh's cgroup or outside it; in the namespace either way."""
        command = ["curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", "2", url]
        options: dict[str, Any] = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL}
        return (
            self.cgroup.run(self._inside(command), **options)
            if inside
            else self.netns.run(command, **options)
        )

    def python(self, code: str) -> str:
        """What an unmodified Python prints, in the mesh's cgroup and the namespace."""
        command = self._inside([sys.executable, "-c", code])
        return str(self.cgroup.run(command, capture_output=True, text=True, check=True, timeout=20).stdout)

    def _inside(self, command: Sequence[str]) -> list[str]:
        return ["nsenter", f"--net={self.netns.path}", "--", *command]

    def _keep(self, process: subprocess.Popen[Any]) -> subprocess.Popen[Any]:
        self.processes.append(process)
        return process


@contextmanager
def stage() -> Iterator[Stage]:
    """Set it up, and take it down again whatever ends the block."""
    with (
        tempfile.TemporaryDirectory(prefix="ebpfmesh-demo-") as directory,
        private_bpffs() as bpffs,
        private_netns() as netns,
        private_cgroup() as cgroup,
    ):
        made = Stage(cgroup, netns, bpffs, Path(directory))
        try:
            yield made
        finally:
            for process in reversed(made.processes):
                end(process)


def end(process: subprocess.Popen[Any]) -> None:
    """Ask a process of ours to end, and insist after some seconds."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()
