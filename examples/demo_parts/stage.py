"""Where the demo plays: a cgroup, a network namespace and a BPF file system of its own, and the processes on them.

Nothing outside is touched, and leaving the block ends every process by its pid and removes everything else.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from demo_parts import configuration
from demo_parts.configuration import CRAWLER, PORTS, SERVICE, WEB
from demo_parts.load import Load
from demo_parts.program import Program, end
from ebpfmesh.testing import NetNs, PrivateCgroup, private_bpffs, private_cgroup, private_netns

HERE = Path(__file__).parent
PATIENCE = 60.0  # seconds that a command may take which ends by itself
_PIPED: dict[str, Any] = {"stdout": subprocess.PIPE, "text": True, "start_new_session": True}


class Stage:
    """The places, and ways to start each kind of process."""

    def __init__(self, cgroup: PrivateCgroup, netns: NetNs, bpffs: Path, directory: Path) -> None:
        self.cgroup, self.netns, self.bpffs, self.directory = cgroup, netns, bpffs, directory
        self.crawler, self.web = cgroup.child(CRAWLER), cgroup.child(WEB)
        self.file = directory / "mesh.toml"
        self.servers: dict[str, Program] = {}
        self.processes: list[subprocess.Popen[Any]] = []

    def start_server(self, name: str) -> None:
        """Server `name`, of the workload web; stock is none of the mesh's clients. Returns when it answers."""
        command = [sys.executable, str(HERE / "server.py"), name, str(PORTS[name])]
        start = self.netns.popen if name == "stock" else self.web.popen
        words = command if name == "stock" else self._inside(command)
        self.servers[name] = Program(self._keep(start(words, **_PIPED)))
        for _ in range(200):
            if self.request(f"http://127.0.0.1:{PORTS[name]}/", inside=False).stdout.strip() == name:
                return
            time.sleep(0.02)
        raise RuntimeError(f"server {name} does not answer")

    def stop_server(self, name: str) -> None:
        """End server `name`: from now on, whoever is sent to it is refused."""
        end(self.servers.pop(name).process)

    def write_configuration(self, backends: Iterable[str], policy: str = "") -> None:
        """The file that the agent watches, replaced in one step."""
        new = self.file.with_suffix(".new")
        new.write_text(configuration.text(self.cgroup.path, backends, policy))
        new.rename(self.file)

    def start_agent(self) -> Program:
        """`ebpfmesh run FILE`, outside the cgroup and the namespace, as a node's agent is."""
        agent = self.start_command("run", str(self.file))
        agent.wait_for("ready")
        return agent

    def start_command(self, *words: str) -> Program:
        """One `ebpfmesh` command, which goes on."""
        command = [sys.executable, "-m", "ebpfmesh", *words, *self._places]
        return Program(self._keep(subprocess.Popen(command, stderr=subprocess.STDOUT, **_PIPED)))

    def command(self, *words: str) -> str:
        """What one `ebpfmesh` command prints."""
        line = [sys.executable, "-m", "ebpfmesh", *words, *self._places]
        return subprocess.run(
            line, capture_output=True, text=True, check=True, timeout=PATIENCE
        ).stdout.rstrip()

    def start_load(self, *kept: str) -> Load:
        """A client in the mesh's cgroup; with a backend's name, one that keeps its connection to it."""
        command = [sys.executable, str(HERE / "client.py"), SERVICE, "80", *kept]
        return Load(self._keep(self.cgroup.popen(self._inside(command), **_PIPED)))

    def request(self, url: str, *options: str, inside: bool) -> subprocess.CompletedProcess[str]:
        """One curl, inside the mesh's cgroup or outside it; in the namespace either way."""
        command = ["curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", "2", *options, url]
        return self._run(command, self.cgroup if inside else None)

    def ask(self, *paths: str, host: str = SERVICE, crawler: bool = False) -> list[list[str]]:
        """Requests on one connection: status, local port, Retry-After and body of each; of an unmodified program."""
        command = [sys.executable, str(HERE / "asking.py"), host, *paths]
        done = self._run(command, self.crawler if crawler else self.cgroup)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
        return [line.split(" ", 3) for line in done.stdout.splitlines()]

    def python(self, code: str) -> str:
        """What an unmodified Python prints, in the mesh's cgroup and the namespace."""
        return self._run([sys.executable, "-c", code], self.cgroup).stdout

    @property
    def _places(self) -> list[str]:
        return ["--run-root", str(self.directory / "run"), "--bpffs", str(self.bpffs)]

    def _run(self, command: Sequence[str], cgroup: PrivateCgroup | None) -> subprocess.CompletedProcess[str]:
        options: dict[str, Any] = {
            "capture_output": True,
            "text": True,
            "stdin": subprocess.DEVNULL,
            "timeout": PATIENCE,
        }
        return cgroup.run(self._inside(command), **options) if cgroup else self.netns.run(command, **options)

    def _inside(self, command: Sequence[str]) -> list[str]:
        return ["nsenter", f"--net={self.netns.path}", "--", *command]

    def _keep(self, process: subprocess.Popen[str]) -> subprocess.Popen[str]:
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
