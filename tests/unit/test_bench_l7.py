"""The pure parts of the L7 bench: what load generators and the kernel print, what is compared, the tables of the docs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # bench/ is beside src/, not installed
sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))

import l7_figures
from bench import decisions, h2load, l7, processors, sidecars, wrk
from bench.compare import variants
from bench.result import Settings
from bench.scenarios import SCENARIOS, l7_http2, l7_rules

from ebpfmesh.policy import Config, check, toml
from ebpfmesh.policy.reference import Client, Request, decide

ROOT = Path(__file__).parents[2]
REPORT = """\
finished in 1.02s, 18861.00 req/s, 1.58MB/s
requests: 18861 total, 18989 started, 18861 done, 18861 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 18861 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 1.58MB (1660147) total, 957.79KB (980772) headers (space savings 50.00%), 92.09KB (94305) data
                     min         max         mean         sd        +/- sd
time for request:      277us     31.81ms      6.26ms      5.11ms    77.43%
"""


def test_a_report_of_h2load_is_read_with_its_units() -> None:
    assert h2load.parse(REPORT) == h2load.Streams(18861.0, 6260.0, 18861, 0)


def test_what_is_not_2xx_is_a_failure_and_no_request_a_second() -> None:
    half = REPORT.replace("18861 2xx, 0 3xx, 0 4xx", "0 2xx, 0 3xx, 18861 4xx")
    found = h2load.parse(half)
    assert (found.requests_per_second, found.failures) == (0.0, 18861)


def test_errors_of_h2load_are_failures() -> None:
    assert (
        h2load.parse(
            REPORT.replace("0 failed, 0 errored, 0 timeout", "1 failed, 2 errored, 3 timeout")
        ).failures
        == 6
    )


def test_output_of_h2load_without_a_report_is_refused_and_shown() -> None:
    with pytest.raises(ValueError, match="could not connect"):
        h2load.parse("could not connect to host\n")


def test_a_script_stands_before_the_address() -> None:
    command = wrk.command("wrk", "http://a/", threads=1, connections=2, seconds=1, script="x.lua")
    assert command[-3:] == ["-s", "x.lua", "http://a/"]


def test_idle_time_is_no_use_of_the_machine() -> None:
    text = "cpu  100 10 50 9000 400 5 15 77 0 0\ncpu0 1 2 3\n"
    tick = 1e6 / 100
    assert processors.machine_stat(text) == (180 * tick, 20 * tick)


def test_a_cgroups_time_is_its_usage() -> None:
    assert processors.cpu_stat("usage_usec 123456\nuser_usec 100000\nsystem_usec 23456\n") == 123456


def test_accounts_are_subtracted_figure_by_figure() -> None:
    assert processors.Account(10, 20, 3).since(processors.Account(4, 5, 1)) == processors.Account(6, 15, 2)


def test_the_best_is_the_fastest_of_those_who_took_part() -> None:
    assert l7.best({"direct": 9, "nginx": 2, "envoy": 3}, l7.SIDECARS) == "envoy"
    assert l7.best({"direct": 9}, l7.SIDECARS) is None


def test_ratios_are_to_the_baseline_that_is_named() -> None:
    loads = {
        name: [wrk.Load(rate, 1.0, p99, 10, 0, 0) for rate in rates]
        for name, rates, p99 in (("a", (10.0, 20.0), 4.0), ("b", (5.0, 10.0), 6.0))
    }
    found = variants(loads, "a")["b"]
    assert found["ratio_to_a"]["median"] == 0.5
    assert found["p99_ratio_to_a"]["median"] == 1.5


def test_the_rounds_of_a_comparison_are_bounded() -> None:
    calls: list[float] = []
    turns = l7.in_turn(
        {"a": lambda seconds: calls.append(seconds) or 1}, Settings(7, 2.0, quick=True), 2, str
    )
    assert turns.samples == {"a": [1, 1]}
    assert calls == [1.0] * turns.rounds_run


@pytest.mark.parametrize("text", [l7.POLICY, l7_http2.services()])
def test_the_policies_that_are_measured_are_valid(text: str) -> None:
    config = toml.loads(f'name = "bench"\ncgroup = "/bench"\n{text}')
    assert check.problems(config) == []


def test_envoy_refuses_what_the_mesh_refuses_and_limits_at_the_same_rate() -> None:
    text = json.dumps(sidecars.envoy_bootstrap(("127.0.0.1", 1), ("127.0.0.1", 2), http2=True))
    assert '"exact": "/admin"' in text
    assert '"prefix": "/admin/"' in text
    assert f'"max_tokens": {sidecars.RATE}' in text
    assert f'rate = "{sidecars.RATE}/s"' in l7.POLICY


@pytest.mark.parametrize("size", [10, 100, 1000])
@pytest.mark.parametrize("each", [l7_rules.EACH, l7_rules.MANY])
def test_every_node_that_is_asked_has_all_its_rules_and_lets_the_request_through(
    size: int, each: int
) -> None:
    service = decisions.service(size, each, "web", ("10.96.0.1", 80), ("127.0.0.1", 1))
    assert len(service.rules) == size
    config = Config("bench", cgroup="/bench", services=(service,))
    for number in {0, decisions.nodes(size, each) - 1}:
        path = f"{decisions.node(number)}/**"
        assert sum(path in rule.paths for rule in service.rules) == min(each, size)
        agent = {"user-agent": decisions.AGENT.encode()}
        request = Request(b"GET", f"{decisions.node(number)}/x".encode(), b"web", agent)
        assert decide(config, service, Client("/bench"), request).allowed


def test_a_scenario_that_was_not_run_is_named(tmp_path: Path) -> None:
    assert "l7_rules" in l7_figures.section("rules", tmp_path)


def _spread(value: float) -> dict[str, float]:
    return {"median": value, "quartile1": value, "quartile3": value}


LOAD = {
    name: _spread(2.0)
    for name in (
        "requests_per_second",
        "ratio_to_direct",
        "ratio_to_ebpfmesh",
        "ratio_to_10",
        "p50_us",
        "p99_us",
    )
}
DATA: dict[str, dict[str, Any]] = {
    "keep_alive": {
        "baseline": "direct",
        "16": {"variants": {"direct": LOAD, "ebpfmesh": LOAD}},
        "absent": {},
    },
    "local_reply": {"403": {"variants": {"nginx": LOAD}}, "429": {"variants": {"nginx": LOAD}}},
    "rules": {
        "decision_ns": {"10 rules": _spread(450)},
        "requests": {"variants": {"10": LOAD, "10000": LOAD}},
    },
    "http2": {"variants": {"direct": LOAD}, "grpcio": {"direct": LOAD}},
    "cpu_memory": {
        "cpu_us_per_request": {"direct": _spread(20)},
        "cpu_ratio_to_direct": {"direct": _spread(1)},
        "memory": {
            "ebpfmesh": {"pss_mb": 1, "rss_mb": 2, "kernel_maps_mb": 3},
            "nginx": {"pss_mb": 1, "rss_mb": 2},
        },
    },
}


@pytest.mark.parametrize("name", DATA)
def test_every_scenario_of_the_tier_has_tables(name: str, tmp_path: Path) -> None:
    machine = {"kernel": "6.18", "cpu": "x", "cores": 2, "date": "2026-01-01T00:00:00"}
    document = {"machine": machine, "method": "How.", "data": DATA[name]}
    (tmp_path / f"l7_{name}.json").write_text(json.dumps(document))
    text = l7_figures.section(name, tmp_path)
    widths = {line.count("|") for table in text.split("\n\n")[:-1] for line in table.splitlines()}
    assert text.endswith("2026-01-01. How.\n")
    assert 0 not in widths


def test_all_scenarios_of_the_tier_have_a_place_in_the_docs() -> None:
    page = (ROOT / "docs" / "l7-performance.md").read_text()
    names = [name.removeprefix("l7_") for name in SCENARIOS if name.startswith("l7_")]
    assert sorted(names) == sorted(DATA)
    assert all(f"<!-- generated: l7 {name} -->" in page for name in names)


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name.startswith("l7_")])
def test_a_scenario_has_a_picture(name: str) -> None:
    assert SCENARIOS[name].draw is not None
