"""Clients of every kind through the HTTP/1 tier and without it: the same answers but for what is denied."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from ebpfmesh.policy import Http, Rule
from peers import l7_clients
from peers.l7_clients import BODY, CLIENTS, TARGETS
from peers.l7_server import Server, server
from peers.l7_stage import Stage
from peers.servers import program

pytestmark = pytest.mark.kernel("sockhash")

RULES = (Rule("no-admin", action="deny", paths=("/admin/**",)),)
DENIED = "403 10 b'Forbidden\\n'"
TIMES = {"urllib3": 4, "aiohttp": 3}


@pytest.fixture(scope="module")
def behind(stage: Stage) -> Server:
    running: Server = stage.enter(server())
    stage.start(
        stage.service("four", running.port, rules=RULES),
        stage.service("six", running.port, rules=RULES, family=6),
        stage.service(
            "traced", running.port, rules=RULES, http=Http(trace=True, set_headers={"x-mesh": "1"})
        ),
    )
    return running


@pytest.fixture
def web(behind: Server) -> Server:
    """The server behind them, which has forgotten the tests before."""
    behind.accepted.clear()
    return behind


def expected(lines: list[str]) -> list[str]:
    """What is printed through the mesh, by what is printed without it."""
    return [
        DENIED if TARGETS[n % len(TARGETS)].startswith("/admin") else line for n, line in enumerate(lines)
    ]


@pytest.mark.parametrize("service", ["four", "six", "traced"])
@pytest.mark.parametrize("name", CLIENTS)
def test_a_library_of_python(stage: Stage, web: Server, name: str, service: str) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    command = [sys.executable, str(Path(l7_clients.__file__)), name, f"http://{stage.address(service)}"]
    plain = stage.run(command, mesh=False)
    assert plain.code == 0, plain.err.decode()
    sent = sorted((r.method, r.target, r.body) for one in web.taken() for r in one.requests)
    times = TIMES.get(name, 1)
    denied = 2 * times
    before = stage.counters(service)
    meshed = stage.run(command, mesh=True)
    assert meshed.code == 0, meshed.err.decode()
    assert meshed.out.decode().splitlines() == expected(plain.out.decode().splitlines())
    received = [r for one in web.taken() for r in one.requests]
    assert sorted((r.method, r.target, r.body) for r in received) == [
        one for one in sent if not one[1].startswith("/admin")
    ]
    if service == "traced":
        assert all(len(r.values("traceparent")) == 1 and r.values("x-mesh") == ["1"] for r in received)
    after = stage.counters(service)
    assert after["requests"] - before.get("requests", 0) == len(TARGETS) * times
    assert after["denied"] - before.get("denied", 0) == denied
    for trouble in (
        "out_of_step",
        "responses_lost",
        "reply_failed",
        "undecodable_refused",
        "unjudged_packets",
    ):
        assert after.get(trouble, 0) == 0


NODE = """
const http = require('http');
const base = process.argv[1], body = Buffer.from('0123456789'.repeat(30000));
const agent = new http.Agent({ keepAlive: true, maxSockets: 2 });
const targets = %s;
function ask(target) {
  return new Promise((resolve, reject) => {
    const post = ['/admin/up', '/echo', '/chunked'].includes(target);
    const headers = post && target !== '/chunked' ? { 'Content-Length': body.length } : {};
    const request = http.request(base + target, { agent, method: post ? 'POST' : 'GET', headers }, (response) => {
      const parts = [];
      response.on('data', (part) => parts.push(part));
      response.on('end', () => resolve(response.statusCode + ' ' + Buffer.concat(parts).length));
    });
    request.on('error', reject);
    if (post && target === '/chunked')
      for (let at = 0; at < body.length; at += 7000) request.write(body.subarray(at, at + 7000));
    else if (post) request.write(body);
    request.end();
  });
}
Promise.all(targets.map(ask)).then((lines) => { console.log(lines.join('\\n')); agent.destroy(); });
"""


@pytest.mark.parametrize("service", ["four", "traced"])
def test_node(stage: Stage, web: Server, service: str) -> None:
    targets = [*TARGETS] * 3
    command = [program("node", "nodejs"), "-e", NODE % targets, f"http://{stage.address(service)}"]
    plain = stage.run(command, mesh=False)
    assert plain.code == 0, plain.err.decode()
    web.taken()
    meshed = stage.run(command, mesh=True)
    assert meshed.code == 0, meshed.err.decode()
    lines = zip(targets, plain.out.decode().splitlines(), strict=True)
    assert meshed.out.decode().splitlines() == [
        "403 10" if target.startswith("/admin") else line for target, line in lines
    ]
    received = [r for one in web.taken() for r in one.requests]
    assert sorted(r.target for r in received) == sorted(t for t in targets if not t.startswith("/admin"))
    assert {r.body for r in received} == {b"", BODY}


@pytest.mark.parametrize(("path", "status"), [("/a", 200), ("/admin/x", 403)])
def test_wrk(stage: Stage, web: Server, path: str, status: int) -> None:
    url = f"http://{stage.address('four')}{path}"
    before = stage.counters("four")
    finished = stage.run([program("wrk", "wrk"), "-t1", "-c8", "-d1s", url], mesh=True)
    text = finished.out.decode()
    found = re.search(r"(\d+) requests in", text)
    assert found, text
    done = int(found[1])
    assert done > 100, text
    assert "Socket errors" not in text
    assert ("Non-2xx" in text) == (status != 200)
    arrived = sum(len(one.requests) for one in web.taken())
    after = stage.counters("four")
    requests = after["requests"] - before.get("requests", 0)
    assert done <= requests <= done + 8  # those that wrk did not wait for
    assert after["denied"] - before.get("denied", 0) == (requests if status == 403 else 0)
    assert arrived <= requests if status == 200 else arrived == 0
    for trouble in (
        "out_of_step",
        "responses_lost",
        "reply_failed",
        "undecodable_refused",
        "unjudged_packets",
    ):
        assert after.get(trouble, 0) == 0
