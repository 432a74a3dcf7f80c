"""Each example, run as its first lines say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ebpfmesh.testing import NetNs, PrivateCgroup

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src")}

pytestmark = pytest.mark.kernel


@contextmanager
def _backends(netns: NetNs, *ports: int) -> Iterator[None]:
    """HTTP servers on 127.0.0.1 of the namespace, each answering with its port."""
    servers = [
        netns.popen([sys.executable, str(EXAMPLES / "demo_parts" / "server.py"), str(port), str(port)])
        for port in ports
    ]
    try:
        for port in ports:
            retry = ["--retry", "50", "--retry-delay", "0", "--retry-connrefused", "--retry-max-time", "10"]
            netns.run(["curl", "-sS", *retry, f"http://127.0.0.1:{port}/"], check=True, capture_output=True)
        yield
    finally:
        for server in servers:
            server.terminate()
            server.wait()


@contextmanager
def _example(name: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLES / name), *arguments],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def _read_until(process: subprocess.Popen[str], prompt: str) -> None:
    assert process.stdout is not None
    seen = ""
    while not seen.endswith(prompt):
        character = process.stdout.read(1)
        assert character, f"it ended after {seen!r}"
        seen += character


def _curl(cgroup: PrivateCgroup, netns: NetNs, url: str) -> str:
    done = cgroup.run(
        ["nsenter", f"--net={netns.path}", "--", "curl", "-sS", "--max-time", "3", url],
        capture_output=True,
        text=True,
    )
    return str(done.stdout + done.stderr).strip()


def test_a_balancer_in_ten_lines_balances_and_counts(cgroup: PrivateCgroup, netns: NetNs) -> None:
    with _backends(netns, 8001, 8002), _example("balancer_in_ten_lines.py", str(cgroup.path)) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.read(8) == "Running;"
        answers = [_curl(cgroup, netns, "http://10.96.0.10/") for _ in range(6)]
        said, errors = process.communicate("\n", timeout=20)
        assert sorted(answers) == ["8001"] * 3 + ["8002"] * 3
        assert re.findall(r"(127.0.0.1:\d+) took (\d+) connections", said) == [
            ("127.0.0.1:8001", "3"),
            ("127.0.0.1:8002", "3"),
        ]
        assert (process.returncode, errors) == (0, "")
        assert "8001" not in _curl(cgroup, netns, "http://10.96.0.10/")


def test_it_is_ten_lines() -> None:
    text = (EXAMPLES / "balancer_in_ten_lines.py").read_text()
    code = text.partition('"""\n\n')[2].splitlines()
    assert len([line for line in code if line.strip()]) <= 10


@pytest.mark.parametrize(
    "example", sorted(path.name for path in EXAMPLES.glob("*.py") if path.name != "demo.py")
)
def test_every_example_is_under_sixty_lines_and_run_by_a_test(example: str) -> None:
    longest = 320 if example == "redis_parser.py" else 60  # a whole protocol is longer
    assert len((EXAMPLES / example).read_text().splitlines()) < longest
    tests = [path for path in (ROOT / "tests").rglob("test_*.py") if f'{example}"' in path.read_text()]
    assert tests, f"no test names {example}"


def test_a_balancer_of_your_own_sends_everything_to_the_first_backend_until_it_drains(
    cgroup: PrivateCgroup, netns: NetNs
) -> None:
    with _backends(netns, 8001, 8002), _example("custom_balancer.py", str(cgroup.path)) as process:
        assert process.stdin is not None
        _read_until(process, "Enter to drain it. ")
        before = [_curl(cgroup, netns, "http://10.96.0.20:5432/") for _ in range(3)]
        process.stdin.write("\n")
        process.stdin.flush()
        _read_until(process, "Enter to stop. ")
        after = [_curl(cgroup, netns, "http://10.96.0.20:5432/") for _ in range(3)]
        said, errors = process.communicate("\n", timeout=20)
    assert (before, after) == (["8001"] * 3, ["8002"] * 3)
    assert re.findall(r"(127.0.0.1:\d+) took (\d+) connections", said) == [
        ("127.0.0.1:8001", "3"),
        ("127.0.0.1:8002", "3"),
    ]
    assert (process.returncode, errors) == (0, "")
