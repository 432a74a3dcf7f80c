"""``ebpfmesh check`` and ``ebpfmesh plan`` of a file with policy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ebpfmesh.cli.main import main

FILE = """
name = "shop"
cgroup = "/shop"

[[workloads]]
name = "checkout"
cgroup = "/shop/checkout"

[[services]]
name = "web"
addresses = ["10.96.0.10:80"]
backends = ["127.0.0.1:8001"]
l7 = "http1"
limits = [{ name = "all", rate = "100/s" }]

[[services.rules]]
name = "no-admin"
action = "deny"
from = ["checkout"]
paths = ["/admin/**"]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mesh.toml"
    path.write_text(FILE)
    return path


def test_check_counts_the_policy(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(file)]) == 0
    assert (
        f"{file}: good; 1 service, 1 backend, 1 workload, 1 rule, 1 limit; at most "
        in capsys.readouterr().out
    )
    assert main(["check", "--json", str(file)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {name: report[name] for name in ("workloads", "rules", "limits")} == {
        "workloads": 1,
        "rules": 1,
        "limits": 1,
    }


def test_check_says_where_a_rule_is_wrong(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(FILE.replace('["checkout"]', '["chekout"]').replace("/admin/**", "admin"))
    assert main(["check", str(file)]) == 1
    said = capsys.readouterr().err.splitlines()
    assert said == [
        f"{file}: $.services[0].rules[0].paths[0]: 'admin' does not begin with '/' "
        '(write "/path", "/path/**" or "/a/*/b")',
        f"{file}: $.services[0].rules[0].from[0].workload: there is no workload 'chekout' (did you mean 'checkout'?)",
        f"{file}: 2 problems",
    ]


def test_plan_shows_the_policy(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--run-root", str(tmp_path / "run"), "plan", str(file)]) == 0
    assert capsys.readouterr().out == (
        "+ workload checkout: /shop/checkout\n"
        "+ service web: tcp 10.96.0.10:80, 1 backend, round-robin, http1, 1 rule, 1 limit\n"
        "services: 1 added, 0 changed, 0 removed, 0 unchanged; 1 workload changed\n"
    )
