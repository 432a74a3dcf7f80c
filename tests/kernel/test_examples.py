"""Each example, run as its first lines say."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from l7_site import L7Site

from ebpfmesh.observe import Observer
from ebpfmesh.policy import Limit, Route, Rule
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


@pytest.mark.kernel("sockhash")
def test_a_policy_in_python_denies_limits_traces_and_tells(cgroup: PrivateCgroup) -> None:
    with _example("policy_in_python.py", str(cgroup.path)) as process:
        said, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    lines = said.splitlines()
    assert len(set(re.findall(r"^/\w+ 200 trace 00-[0-9a-f]{32}-[0-9a-f]{16}-01$", said, re.M))) == 3
    assert [line.split()[:2] for line in lines[:5]] == [
        ["/cups", "200"], ["/admin/users", "403"], ["/search", "200"], ["/search", "200"], ["/search", "429"],
    ]  # fmt: skip
    assert lines[5:] == [
        "shopper /cups allowed by_default",
        "shopper /admin/users denied no-admin",
        "shopper /search allowed by_default",
        "shopper /search allowed by_default",
        "shopper /search denied few-searches",
    ]


@pytest.mark.kernel("sockhash")
def test_metrics_are_read_by_route(
    cgroup: PrivateCgroup, netns: NetNs, bpffs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = runpy.run_path(str(EXAMPLES / "slow_routes.py"))
    with L7Site(cgroup, netns, bpffs, tmp_path) as site:
        rules = (Rule("no-admin", action="deny", paths=("/admin/**",)),)
        routes = (Route("order", paths=("/orders/*",)),)
        site.start(site.http(rules=rules, routes=routes, limits=(Limit("few", rate="1/m", burst=2),)))
        connection = site.connect()
        for path in ("/orders/1", "/admin", "/orders/2", "/orders/3"):
            site.get(connection, path)
        with Observer.of("l7", run_root=site.root, bpffs=site.bpffs) as observer:
            program["show"](observer.metrics())
    first, *rows = capsys.readouterr().out.splitlines()
    assert first == "web: 4 requests judged, 1 denied, 1 over a limit"
    backend = f"127.0.0.1:{site.server.port}"
    assert re.fullmatch(rf"  order      {backend} 2xx: 2, 99 of 100 within [\d.e+]+ ms", rows[0]), rows
    assert [row.partition(", ")[0] for row in rows[1:3]] == [
        "  no route   local 4xx: 1",
        "  order      local 4xx: 1",
    ]
    assert rows[3:] == ["  limit few: 2 admitted, 1 refused"]
