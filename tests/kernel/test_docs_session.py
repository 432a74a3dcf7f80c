"""The guide as a session on the kernel, the documented errors as they are raised, and the examples that pages quote."""

from __future__ import annotations

import os
import re
import select
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from errors_shown import MAKERS, Place

from documentation import ALL, ROOT, Block, alike
from ebpfmesh.errors import EbpfMeshError
from ebpfmesh.testing import NetNs, PrivateCgroup

pytestmark = pytest.mark.kernel

SESSION = [block for block in ALL if block.origin in ("session", "agent")]
SHOWN = [block for block in ALL if block.origin.startswith("error: ")]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1"}


class Shell:
    """What the guide's reader has: a directory, a cgroup that may be made, servers that go on, and one agent."""

    def __init__(self, cgroup: PrivateCgroup, netns: NetNs, bpffs: Path, directory: Path) -> None:
        self.cgroup, self.netns, self.directory = cgroup, netns, directory
        self.going: list[subprocess.Popen[str]] = []
        self.agent: subprocess.Popen[str] | None = None
        tools = directory / "tools"
        tools.mkdir()
        options = f"--run-root {directory / 'run'} --bpffs {bpffs}"
        for name, command in (
            ("sudo", 'exec "$@"'),
            ("python3", f'exec {sys.executable} "$@"'),
            ("ebpfmesh", f'exec {sys.executable} -m ebpfmesh {options} "$@"'),
        ):
            (tools / name).write_text(f"#!/bin/sh\n{command}\n")
            (tools / name).chmod(0o755)
        self.environment = {**ENVIRONMENT, "PATH": f"{tools}:{ENVIRONMENT['PATH']}"}

    def here(self, text: str) -> str:
        """The guide's cgroup becomes one below the test's own."""
        return text.replace("/sys/fs/cgroup/shop", f"{self.cgroup.path}/shop")

    def start(self, command: str) -> subprocess.Popen[str]:
        inside = ["nsenter", f"--net={self.netns.path}", "--", "bash", "-c", f"exec {self.here(command)}"]
        process = subprocess.Popen(
            inside, cwd=self.directory, env=self.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.going.append(process)
        return process

    def run(self, command: str, shown: str, where: str) -> None:
        if command.endswith("&"):
            self.start(command.removesuffix("&"))
            if port := re.search(r"http\.server.* (\d+)", command):
                self.netns.call(lambda: _wait(lambda: _listens(int(port[1]))))
        elif "ebpfmesh run" in command:
            self.agent = self.start(command)
            self.says(shown, where)
        else:
            process = self.start(f"bash -c {shlex.quote(command)}")
            said, _ = process.communicate(timeout=30)
            assert alike(said, shown), f"{where}: {command}: {said}"

    def says(self, shown: str, where: str) -> None:
        """The agent's next lines are these."""
        assert self.agent is not None
        assert self.agent.stdout is not None
        for line in shown.splitlines():
            ready, _, _ = select.select([self.agent.stdout], [], [], 20)
            assert ready, f"{where}: the agent says nothing where the guide shows {line}"
            said = self.agent.stdout.readline()
            if not alike(said, self.here(line)):
                pytest.fail(f"{where}: {said}{self._rest()}")

    def _rest(self) -> str:
        """What else the agent says; it is ended for this."""
        assert self.agent is not None
        self.agent.send_signal(signal.SIGTERM)
        return self.agent.communicate(timeout=20)[0]

    def close(self) -> None:
        for process in self.going:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(20)
            if process.stdout is not None:
                process.stdout.close()


@pytest.fixture
def shell(cgroup: PrivateCgroup, netns: NetNs, bpffs: Path, tmp_path: Path) -> Iterator[Shell]:
    made = Shell(cgroup, netns, bpffs, tmp_path)
    yield made
    made.close()


def test_the_guide_works_as_it_is_written(shell: Shell) -> None:
    """Every command of getting-started.md, in order, with the output that it shows."""
    configuration = next(
        one for one in ALL if one.page.name == "getting-started.md" and one.language == "toml"
    )
    text = configuration.text.replace('"/shop"', f'"{shell.cgroup.path}/shop"')
    (shell.directory / "mesh.toml").write_text(text)
    for block in SESSION:
        if block.origin == "agent":
            shell.says(block.text, str(block))
        for command, shown in block.commands:
            shell.run(command, shown, str(block))
    assert shell.agent is not None
    assert shell.agent.wait(10) == 0
    assert not (shell.cgroup.path / "shop").exists()


@pytest.mark.parametrize("block", SHOWN, ids=lambda one: one.origin.removeprefix("error: "))
def test_an_error_reads_as_the_documentation_shows_it(
    block: Block, cgroup: PrivateCgroup, netns: NetNs, bpffs: Path, tmp_path: Path
) -> None:
    wanted, make = MAKERS[block.origin.removeprefix("error: ")]
    with pytest.raises(EbpfMeshError) as raised:
        make(Place(cgroup, netns, bpffs, tmp_path))
    assert type(raised.value) is wanted
    assert alike(str(raised.value), block.text), str(raised.value)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _wait(found: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextmanager
def _example(name: str, said: Path, *arguments: Path) -> Iterator[None]:
    """An example that runs until Ctrl-C, and what it says."""
    words = [sys.executable, "-W", "error", ROOT / "examples" / name, *arguments]
    with said.open("w") as output:
        process = subprocess.Popen(words, env=ENVIRONMENT, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0, said.read_text()


def test_a_source_of_ones_own_is_followed(cgroup: PrivateCgroup, tmp_path: Path) -> None:
    said, backends = tmp_path / "said", tmp_path / "backends"
    backends.mkdir()
    with _example("own_source.py", said, cgroup.path, backends):
        _wait(lambda: "1 added" in said.read_text())
        (backends / "127.0.0.1:8001").touch()
        _wait(lambda: "1 changed" in said.read_text())
        (backends / "no-address").touch()
        _wait(lambda: "refused" in said.read_text())
        (backends / "no-address").rename(backends / "127.0.0.1:8002")
        _wait(lambda: said.read_text().count("1 changed") == 2)


def test_a_file_is_followed(cgroup: PrivateCgroup, tmp_path: Path) -> None:
    said, file = tmp_path / "said", tmp_path / "mesh.toml"
    text = (ROOT / "examples" / "mesh.toml").read_text()
    text = text.replace('"shop"', f'"follow-{os.getpid()}"').replace('"/shop"', f'"{cgroup.path}"')
    file.write_text(text)
    with _example("follow_a_file.py", said, file):
        _wait(lambda: "running" in said.read_text())
        file.write_text(text.replace(":8001", ""))
        _wait(lambda: "refused: $.services[0].backends[0].address" in said.read_text())
        file.write_text(text.replace(":8001", ":8003"))
        _wait(lambda: "+ backend 127.0.0.1:8003" in said.read_text())


def test_a_running_mesh_is_changed(cgroup: PrivateCgroup) -> None:
    example = [sys.executable, "-W", "error", ROOT / "examples" / "change_while_running.py", cgroup.path]
    done = subprocess.run(example, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "services: 0 added, 1 changed, 0 removed, 0 unchanged" in done.stdout
    assert "refused: $.services" in done.stdout
    assert done.stdout.endswith("web ['127.0.0.1:8001']\n")
