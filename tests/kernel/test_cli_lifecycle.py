"""The command line on the real kernel: started, looked at, changed, killed, stopped, and nothing left."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import ebpfmesh.errors
from ebpfmesh.lowlevel.mount import mounts, unmount
from ebpfmesh.ownership import PinDirectory
from ebpfmesh.ownership.pinned import pin
from ebpfmesh.testing import PrivateCgroup

pytestmark = pytest.mark.kernel

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(ebpfmesh.errors.__file__).parents[1])}
ADDRESS = ("127.96.0.10", 80)  # nobody listens there, and nothing leaves the host


class Host:
    """A cgroup, a bpffs, a run root and a configuration file of one test, and the agents started on them."""

    def __init__(self, cgroup: PrivateCgroup, bpffs: Path, directory: Path) -> None:
        self.cgroup, self.bpffs = cgroup, bpffs
        self.root, self.file = directory / "run", directory / "mesh.toml"
        self.options = ["--run-root", str(self.root), "--bpffs", str(self.bpffs)]
        self.agents: list[subprocess.Popen[str]] = []
        self.server = socket.create_server(("127.0.0.1", 0))
        self.backend = f"127.0.0.1:{self.server.getsockname()[1]}"
        self.write()

    def write(self, name: str = "demo", service: str = "web", backends: list[str] | None = None) -> None:
        listed = json.dumps([self.backend] if backends is None else backends)
        text = f'name = "{name}"\ncgroup = "{self.cgroup.path}"\n[[services]]\nname = "{service}"\n'
        text += f'addresses = ["{ADDRESS[0]}:{ADDRESS[1]}"]\nbackends = {listed}\n'
        other = self.file.with_suffix(".new")
        other.write_text(text)
        other.replace(self.file)

    def start(self, *words: str) -> Agent:
        agent = Agent(self, words)
        self.agents.append(agent.process)
        return agent

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "ebpfmesh", *words, *self.options],
            env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    def reaches(self) -> bool:
        """Whether connect() to the service address, from inside the cgroup, reaches the listener."""
        with self.cgroup.enter(), socket.socket() as client:
            client.settimeout(2)
            try:
                client.connect(ADDRESS)
            except OSError:
                return False
            self.server.settimeout(2)
            self.server.accept()[0].close()
            return True

    def left(self) -> list[str]:
        """What is in the run root and, apart from the kernel's own files, in the bpffs."""
        pins = [path for path in self.bpffs.rglob("*") if "." not in path.name]
        return [str(path) for path in (*self.root.rglob("*"), *pins)]

    def close(self) -> None:
        for process in self.agents:
            if process.poll() is None:
                process.kill()
            process.wait()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        self.server.close()
        for mount in mounts(
            "bpf"
        ):  # a test that failed must not leave its agent's own bpffs, and with it the links
            if mount.point.is_relative_to(self.root):
                unmount(mount.point)


class Agent:
    """An `ebpfmesh run` of the test."""

    def __init__(self, host: Host, words: tuple[str, ...]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ebpfmesh", "run", str(host.file), *words, *host.options],
            env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def line(self, timeout: float = 20) -> str:
        """The next line on standard output; what it wrote on standard error, if it ended."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], timeout)
        assert ready, "the agent says nothing"
        line = self.process.stdout.readline()
        if not line:
            assert self.process.stderr is not None
            pytest.fail(f"the agent ended with {self.process.wait()}: {self.process.stderr.read()}")
        return line

    def wait_for(self, beginning: str) -> str:
        line = self.line()
        assert line.startswith(beginning), line
        return line

    def after(self, delay: float) -> None:
        """Wait until the command has begun (it has loaded msgspec), however busy the machine is, and ``delay`` more."""
        while (
            self.process.poll() is None
            and "msgspec" not in Path(f"/proc/{self.process.pid}/maps").read_text()
        ):
            time.sleep(0.001)
        time.sleep(delay)

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


@pytest.fixture
def host(cgroup: PrivateCgroup, bpffs: Path, tmp_path: Path) -> Iterator[Host]:
    made = Host(cgroup, bpffs, tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_makes_the_service_reachable_and_a_signal_leaves_nothing(host: Host, number: int) -> None:
    assert not host.reaches()
    agent = host.start()
    line = agent.wait_for("ready: mesh demo, 1 service, 1 backend")
    assert f"process {agent.process.pid}" in line
    assert host.reaches()
    assert agent.end(number) == 0
    agent.wait_for("stopped")
    assert host.left() == []
    assert not host.reaches()


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3])
def test_ctrl_c_in_the_middle_of_the_start_leaves_nothing(host: Host, delay: float) -> None:
    agent = host.start()
    agent.after(delay)
    assert agent.end(signal.SIGINT) in (0, 130, -signal.SIGINT)
    assert host.left() == []
    assert agent.process.stderr is not None
    assert "Traceback" not in agent.process.stderr.read()


def test_a_second_run_of_the_same_name_is_refused_and_says_who_holds_it(host: Host) -> None:
    agent = host.start()
    agent.wait_for("ready")
    second = host.run("run", str(host.file))
    assert second.returncode == 1
    assert f"process {agent.process.pid} holds it since" in second.stderr
    assert second.stderr.count("\n") == 1
    assert host.reaches()
    agent.end()


def test_a_change_of_the_file_is_applied_and_a_wrong_one_refused(host: Host) -> None:
    agent = host.start()
    agent.wait_for("ready")
    host.write(backends=[])
    agent.wait_for("applied")
    assert not host.reaches()
    host.write(backends=[host.backend, "nonsense"])
    refused = agent.wait_for("refused, what ran before keeps running")
    assert "backends[1]" in refused
    host.file.write_text("half [")
    agent.wait_for("refused")
    host.write()
    agent.wait_for("applied")
    assert host.reaches()
    host.file.unlink()
    agent.wait_for("refused")
    assert host.reaches()
    assert agent.end() == 0


def test_sighup_reads_the_file_now(host: Host) -> None:
    agent = host.start()
    agent.wait_for("ready")
    host.write(backends=[])
    agent.process.send_signal(signal.SIGHUP)
    agent.wait_for("applied")
    agent.end()


def test_what_a_change_would_need_a_restart_for_is_refused(host: Host) -> None:
    agent = host.start()
    agent.wait_for("ready")
    host.write(name="other")
    assert "$.name" in agent.wait_for("refused")
    agent.end()


def test_events_as_json_are_an_object_a_line(host: Host) -> None:
    agent = host.start("--json")
    assert json.loads(agent.line())["event"] == "ready"
    host.write(backends=[])
    assert json.loads(agent.line())["event"] == "applied"
    agent.end()
    assert json.loads(agent.line()) == {"event": "stopped", "kept": False}


def test_status_counts_and_names_the_agent(host: Host) -> None:
    agent = host.start()
    agent.wait_for("ready")
    assert host.reaches()
    text = host.run("status").stdout
    assert f"mesh demo: the agent runs: process {agent.process.pid}" in text
    assert "web/tcp" in text
    assert host.backend in text
    report = json.loads(host.run("status", "demo", "--json").stdout)
    assert report["agent"]["state"] == "running"
    assert report["status"]["services"][0]["backends"][0]["opened"] == 1
    agent.end()


def test_status_works_while_the_agent_is_dead_and_stop_collects_what_it_left(host: Host) -> None:
    agent = host.start()
    agent.wait_for("ready")
    assert agent.end(signal.SIGKILL) == -signal.SIGKILL
    assert host.reaches(), "the data path ended with the agent"
    report = json.loads(host.run("status", "--json").stdout)
    assert report["agent"]["state"] == "dead"
    assert report["status"]["services"][0]["opened"] == 1
    stopped = host.run("stop")
    assert stopped.returncode == 0, stopped.stderr
    assert "no agent of demo runs" in stopped.stdout
    assert host.left() == []
    assert not host.reaches()


def test_a_killed_agent_is_taken_over_with_its_counters(host: Host) -> None:
    first = host.start()
    first.wait_for("ready")
    assert host.reaches()
    first.end(signal.SIGKILL)
    second = host.start()
    second.wait_for("ready")
    assert host.reaches()
    report = json.loads(host.run("status", "--json").stdout)
    assert report["agent"]["pid"] == second.process.pid
    assert report["status"]["services"][0]["opened"] == 2
    assert second.end() == 0
    assert host.left() == []


def test_keep_leaves_the_data_path_and_cleanup_removes_it(host: Host) -> None:
    agent = host.start("--keep")
    agent.wait_for("ready")
    stopped = host.run("stop", "demo")
    assert stopped.returncode == 0, stopped.stderr
    assert f"stopped demo (process {agent.process.pid})" in stopped.stdout
    assert "ebpfmesh cleanup demo" in stopped.stdout
    assert agent.process.wait(10) == 0
    assert host.reaches()
    assert json.loads(host.run("status", "--json").stdout)["agent"]["state"] == "kept"
    cleaned = host.run("cleanup")
    assert cleaned.returncode == 0, cleaned.stderr
    assert host.left() == []
    assert not host.reaches()


def test_cleanup_refuses_while_the_agent_lives_unless_it_is_stopped_first(host: Host) -> None:
    agent = host.start()
    agent.wait_for("ready")
    refused = host.run("cleanup")
    assert refused.returncode == 1
    assert f"process {agent.process.pid} holds it" in refused.stderr
    assert host.reaches()
    assert host.run("cleanup", "--stop").returncode == 0
    assert agent.process.wait(10) == 0
    assert host.left() == []


def test_stop_ends_the_agent_and_leaves_nothing(host: Host) -> None:
    agent = host.start()
    agent.wait_for("ready")
    stopped = host.run("stop")
    assert stopped.returncode == 0, stopped.stderr
    assert agent.process.wait(10) == 0
    assert host.left() == []


def test_cleanup_leaves_what_is_not_ours_and_says_so(host: Host) -> None:
    agent = host.start()
    agent.wait_for("ready")
    agent.end(signal.SIGKILL)
    pins = PinDirectory(host.bpffs, "demo")
    theirs = pins.map_path("theirs")
    with socket.socket():
        from ebpfmesh.ownership.pinned import open_pin

        descriptor = open_pin(pins.map_path(next(iter(pins.maps()))))
        pin(descriptor, theirs)
        os.close(descriptor)
    pins.close()
    cleaned = host.run("cleanup")
    assert cleaned.returncode == 1
    assert f"left alone, not ours: {theirs}" in cleaned.stderr
    assert theirs.exists()
    assert not host.reaches()


def test_plan_compares_with_what_runs(host: Host) -> None:
    agent = host.start()
    agent.wait_for("ready")
    assert "nothing to change" in host.run("plan", str(host.file)).stdout
    other = host.file.with_name("other.toml")
    other.write_text(host.file.read_text().replace('name = "web"', 'name = "api"'))
    planned = host.run("plan", str(other)).stdout
    assert "api" in planned
    assert "web" in planned
    agent.end(signal.SIGKILL)
    assert "nothing to change" in host.run("plan", str(host.file)).stdout, (
        "what runs is known while the agent is dead"
    )
    host.run("stop")


def test_a_file_that_cannot_start_leaves_nothing(host: Host) -> None:
    host.file.write_text(f'name = "demo"\ncgroup = "{host.cgroup.path}/absent"\n')
    done = host.run("run", str(host.file))
    assert done.returncode == 1
    assert "there is no cgroup" in done.stderr
    assert done.stderr.count("\n") == 1
    assert host.left() == []


@pytest.mark.parametrize("delay", [0.02, 0.05, 0.1, 0.15, 0.25])
def test_a_start_that_is_killed_at_any_moment_is_followed_by_a_good_one(host: Host, delay: float) -> None:
    first = host.start()
    first.after(delay)
    first.end(signal.SIGKILL)
    second = host.start()
    second.wait_for("ready")
    assert host.reaches()
    assert second.end() == 0
    assert host.left() == []


@pytest.mark.parametrize("delay", [0.02, 0.05, 0.1, 0.15, 0.25])
def test_cleanup_after_a_start_that_was_killed_at_any_moment_leaves_nothing(host: Host, delay: float) -> None:
    first = host.start()
    first.after(delay)
    first.end(signal.SIGKILL)
    cleaned = host.run("cleanup", "demo")
    assert cleaned.returncode == 0, cleaned.stderr
    assert host.left() == []
    assert not host.reaches()


def test_of_two_starts_at_once_one_runs_and_the_other_is_refused(host: Host) -> None:
    agents = [host.start(), host.start()]
    deadline = time.monotonic() + 20
    while (
        not (ended := [one for one in agents if one.process.poll() is not None])
        and time.monotonic() < deadline
    ):
        time.sleep(0.02)
    assert len(ended) == 1
    assert ended[0].process.returncode == 1
    running = next(one for one in agents if one not in ended)
    running.wait_for("ready")
    assert ended[0].process.stderr is not None
    assert f"process {running.process.pid} holds it" in ended[0].process.stderr.read()
    assert host.reaches()
    assert running.end() == 0
    assert host.left() == []


def test_an_agent_that_does_not_end_in_time_is_said_so_and_not_harmed(host: Host) -> None:
    agent = host.start()
    agent.wait_for("ready")
    agent.process.send_signal(signal.SIGSTOP)
    stopped = host.run("stop", "--timeout", "0.3")
    assert stopped.returncode == 1
    assert f"process {agent.process.pid} did not end in 0.3 s" in stopped.stderr
    assert host.reaches(), "the kernel goes on while the agent hangs"
    agent.process.send_signal(signal.SIGCONT)
    assert agent.process.wait(10) == 0
    assert host.left() == []


def test_a_reader_that_goes_away_does_not_end_the_mesh(host: Host) -> None:
    agent = host.start()
    agent.wait_for("ready")
    assert agent.process.stdout is not None
    agent.process.stdout.close()
    for backends in ([], [host.backend]):
        host.write(backends=backends)
        deadline = time.monotonic() + 5
        while host.reaches() != bool(backends) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert host.reaches() == bool(backends)
    agent.process.send_signal(signal.SIGTERM)
    assert agent.process.wait(10) == 0
    assert host.left() == []


@pytest.mark.skipif(
    Path("/sys/fs/bpf") in [mount.point for mount in mounts("bpf")], reason="the host has a bpffs"
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_without_a_bpffs_the_mesh_mounts_its_own_and_takes_it_away_again(host: Host, number: int) -> None:
    host.options = ["--run-root", str(host.root)]
    agent = host.start()
    agent.wait_for("ready")
    own = host.root / "bpffs"
    assert own in [mount.point for mount in mounts("bpf")]
    assert host.run("status").returncode == 0
    agent.end(number)
    if number == signal.SIGKILL:
        assert host.reaches()
        assert host.run("cleanup").returncode == 0
    assert own not in [mount.point for mount in mounts("bpf")]
    assert not host.root.exists()
