"""Metrics, decisions and explanations of a mesh that judges requests, and of one whose agent is gone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from l7_site import L7Site

from ebpfmesh.cli.main import main
from ebpfmesh.identity import Workload
from ebpfmesh.observe import Observer
from ebpfmesh.observe.explain import explain
from ebpfmesh.policy import Limit, Route, Rule

pytestmark = pytest.mark.kernel("sockhash")
SITE = L7Site

EXAMPLES = Path(__file__).parents[2] / "examples"

RULES = (
    Rule("no-admin", action="deny", paths=("/admin/**",)),
    Rule("watched", action="audit", paths=("/secret",)),
)
LIMITS = (Limit("writes", rate="1/m", burst=2, methods=("POST",)),)
ROUTES = (Route("order", paths=("/orders/*",)),)


def start(site: L7Site) -> Observer:
    site.start(
        site.http(rules=RULES, limits=LIMITS, routes=ROUTES),
        workloads=(Workload("tester", str(site.cgroup.path)),),
    )
    return Observer.of("l7", run_root=site.root, bpffs=site.bpffs)


def test_requests_are_counted_by_backend_route_and_class(site: L7Site) -> None:
    with start(site) as observer:
        connection = site.connect()
        for target in ("/a", "/orders/1", "/orders/2", "/admin/x"):
            site.get(connection, target)
        connection.close()
        found = observer.metrics()
    [web] = found.services
    backend = f"127.0.0.1:{site.server.port}"
    assert [(row.backend, row.route, row.status_class, row.requests) for row in web.rows] == [
        (backend, "", "2xx", 1), (backend, "order", "2xx", 2), ("local", "", "4xx", 1),
    ]  # fmt: skip
    assert (web.requests, web.errors) == (4, 0)
    orders = web.rows[1]
    assert orders.latency.count == 2
    assert 1000 < orders.latency.mean < 10**9
    assert orders.bytes_sent == 2 * len(b"GET /orders/1 HTTP/1.1\r\nHost: web\r\n\r\n")
    assert orders.bytes_received == 2 * len(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n/orders/1")
    assert (web.counters["requests"], web.counters["allowed"], web.counters["denied"]) == (4, 3, 1)


def test_decisions_say_who_what_and_why(site: L7Site) -> None:
    with start(site) as observer, observer.stream() as stream:
        connection = site.connect()
        site.get(connection, "/admin/x")
        site.get(connection, "/secret?token=1")
        for _ in range(3):
            answer = site.get(connection, "/orders/1", method="POST")
        told = [stream.read(2), stream.read(2), stream.read(2)]
        assert stream.read(0) is None
        assert [one.number for one in observer.recent()] == [one.number for one in told if one]
    denied, audited, limited = told
    assert denied is not None
    assert audited is not None
    assert limited is not None
    assert (denied.kind, denied.reason, denied.rule, denied.status) == ("denied", "by_rule", "no-admin", 403)
    assert (denied.workload, denied.service, denied.method, denied.path) == (
        "tester",
        "web",
        "GET",
        "/admin/x",
    )
    assert (denied.host, denied.protocol, denied.client) == ("web", "http1", "127.0.0.1")
    assert denied.cookie != 0
    assert (audited.kind, audited.allowed, audited.path) == ("audited", True, "/secret")
    assert (limited.reason, limited.rule, limited.status, limited.route) == (
        "limited",
        "writes",
        429,
        "order",
    )
    assert limited.retry_after is not None
    assert 0 < limited.retry_after <= 60
    assert answer.status == 429
    assert abs(int(answer.headers["retry-after"]) - limited.retry_after) <= 1


def test_limits_are_counted(site: L7Site) -> None:
    with start(site) as observer:
        connection = site.connect()
        for _ in range(5):
            site.get(connection, "/x", method="POST")
        [limit] = observer.metrics().services[0].limits
    assert (limit.name, limit.admitted, limit.refused) == ("writes", 2, 3)


def test_the_explanation_is_what_the_kernel_did(site: L7Site) -> None:
    with start(site) as observer:
        connection = site.connect()
        config = site._meshes[0].config
        for method, target in (
            ("GET", "/admin/x"),
            ("GET", "/a%2fb"),
            ("POST", "/orders/7"),
            ("GET", "/a/../admin"),
        ):
            status = site.get(connection, target, method=method).status
            found = explain(config, "web", source="tester", method=method, target=target)
            assert found.allowed == (status == 200), (method, target)
            if not found.allowed:
                recorded = observer.recent()[-1]
                assert (recorded.rule, recorded.reason) == (found.rule, found.reason)
                assert found.reply is not None
                assert found.reply.startswith(str(status))


def test_everything_can_be_read_while_no_agent_runs(site: L7Site, capsys: pytest.CaptureFixture[str]) -> None:
    start(site).close()
    connection = site.connect()
    site.get(connection, "/admin/x")
    site._meshes[0].close(keep=True)
    site.get(connection, "/orders/1")
    place = ["--run-root", str(site.root), "--bpffs", str(site.bpffs)]
    assert main([*place, "metrics", "l7", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["requests"] for row in found["services"][0]["rows"]] == [1, 1]
    assert main([*place, "metrics", "l7"]) == 0
    text = capsys.readouterr().out
    assert 'ebpfmesh_requests_total{mesh="l7",service="web"' in text
    assert "ebpfmesh_connections_opened_total" in text
    assert main([*place, "explain", "--recent", "l7", "--rule", "no-admin"]) == 0
    assert "tester -> web GET /admin/x: rule no-admin, 403" in capsys.readouterr().out
    connection.close()
    site.mesh(site.http()).start()


def test_the_example_tells_who_was_refused(site: L7Site) -> None:
    start(site).close()
    place = f"run_root={str(site.root)!r}, bpffs={str(site.bpffs)!r}"
    program = (
        (EXAMPLES / "who_was_refused.py")
        .read_text()
        .replace("Observer.of(mesh)", f"Observer.of(mesh, {place})")
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, "l7", "2"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        connection = site.connect()
        for target in ("/a", "/admin/1", "/admin/2"):
            site.get(connection, target)
        lines = process.stdout.read().splitlines()
    assert lines[:2] == [f"tester asked web for /admin/{number}: no-admin" for number in (1, 2)]
    assert lines[2].startswith("web: 3 requests, 0 errors, 99 of 100 took less than ")
    assert lines[3] == "not told: 0"
