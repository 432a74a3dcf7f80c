"""One life of the whole tier: real clients of HTTP/1, HTTP/2 and gRPC, another policy, an agent that dies, the end.

The other tests look at one thing each, with a mesh of its own; here one mesh does all of it once, so that it can be run
where starting one takes half a minute: on another kernel, under emulation (`make qemu`).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from l7_http2_site import Http2Site
from test_l7_http2_peers import DENY, grpc_server, nghttpd_in

from ebpfmesh.policy import Limit, Rule
from ebpfmesh.policy.http import Http
from ebpfmesh.policy.model import Service
from ebpfmesh.testing import NetNs, PrivateCgroup
from peers.servers import program
from slower import SLOWER

pytestmark = pytest.mark.kernel(feature="loop")

HERE = Path(__file__).parent
PATIENCE = 10 * SLOWER  # seconds
RULES = (Rule("no-admin", action="deny", paths=("/admin/**",)),)
LIMITS = (Limit("writes", rate="1/h", burst=2, methods=("POST",)),)


class Whole:
    """The services of the mesh, and clients of them."""

    def __init__(self, site: Http2Site, nghttpd: int, grpc: int) -> None:
        self.site = site
        self._ports = nghttpd, grpc

    def services(self, rules: tuple[Rule, ...] = RULES) -> tuple[Service, ...]:
        site, (nghttpd, grpc) = self.site, self._ports
        h2 = site.http2("h2", rules=RULES, limits=LIMITS)
        return (
            site.http(rules=rules, limits=LIMITS, http=Http(trace=True)),
            _at("10.96.0.11:80", h2),
            _at("10.96.0.12:80", site.http2("files", port=nghttpd, rules=RULES)),
            _at("10.96.0.13:80", site.http2("calls", port=grpc, l7="grpc", rules=DENY)),
        )

    def run(self, *words: str) -> str:
        """What a client in the cgroup and the namespace prints."""
        with self.site.cgroup.enter():
            ran: subprocess.CompletedProcess[str] = self.site.netns.run(
                list(words), capture_output=True, text=True, timeout=PATIENCE
            )
        assert ran.returncode == 0, ran
        return ran.stdout

    def http1(self) -> None:
        """curl: allowed, denied, limited; each on one connection."""
        base = "http://10.96.0.10"
        curl = [program("curl", "curl"), "-sS", "-w", "%{http_code} %{num_connects}\n", "-o", "/dev/null"]
        more = ["--next", "-sS", "-w", "%{http_code} %{num_connects}\n", "-o", "/dev/null"]
        told = self.run(
            *curl, f"{base}/a", *more, f"{base}/admin/x", *more, "-d", "x" * 5000, f"{base}/admin"
        )
        assert told.split() == ["200", "1", "403", "0", "403", "0"]
        told = self.run(
            *curl, f"{base}/b", *(word for _ in range(3) for word in (*more, "-d", "y", f"{base}/b"))
        )
        assert told.split() == ["200", "1", "200", "0", "200", "0", "429", "0"]
        [first, second] = self.site.server.received
        for received, requests in ((first, 1), (second, 3)):
            traces = re.findall(rb"\r\ntraceparent: 00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]\r\n", received)
            assert len(set(traces)) == requests
        assert b"/admin" not in first + second

    def http2(self) -> None:
        """python-h2, several streams at once; nghttp and curl with nghttpd."""
        client = self.site.client(("10.96.0.11", 80))
        streams = [client.request(path) for path in ("/1", "/admin/2", "/3", "/bytes/100000")]
        client.flush()
        got = client.wait(*streams)
        assert [one.status for one in got] == [200, 403, 200, 200]
        assert len(got[3].body) == 100_000
        posts = [client.request("/post", method="POST", body=b"z" * 100) for _ in range(3)]
        client.flush()
        assert sorted(one.status for one in client.wait(*posts)) == [200, 200, 429]
        client.socket.close()
        assert (self.site.h2.errors, "/admin/2" in self.site.h2.paths) == ([], False)
        base = "http://10.96.0.12"
        shown = self.run(program("nghttp", "nghttp2-client"), "-v", f"{base}/hello", f"{base}/admin/1")
        assert sorted(re.findall(r":status: (\d+)", shown)) == ["200", "403"]
        curl = (
            program("curl", "curl"),
            "-sS",
            "--http2-prior-knowledge",
            "-w",
            " %{http_code} %{http_version}",
        )
        assert self.run(*curl, f"{base}/hello") == "hello\n 200 2"
        assert self.run(*curl, f"{base}/admin/1").endswith(" 403 2")

    def grpc(self, called: list[str]) -> None:
        """grpcio: every other call is refused."""
        words = sys.executable, str(HERE / "l7_http2_grpc.py"), "10.96.0.13:80", "2", "20"
        assert json.loads(self.run(*words)) == {"Yes OK": 20, "No PERMISSION_DENIED": 20}
        assert called == ["/test.Echo/Yes"] * 20


def _at(address: str, service: Service) -> Service:
    return msgspec.structs.replace(service, addresses=(address,))


@pytest.fixture
def whole(
    cgroup: PrivateCgroup, netns: NetNs, bpffs: Path, tmp_path: Path
) -> Iterator[tuple[Whole, list[str]]]:
    with (
        Http2Site(cgroup, netns, bpffs, tmp_path) as site,
        nghttpd_in(netns, tmp_path) as nghttpd,
        grpc_server(netns) as (grpc, called),
    ):
        yield Whole(site, nghttpd, grpc), called


def test_a_life_of_the_tier(whole: tuple[Whole, list[str]]) -> None:
    mesh, called = whole
    site = mesh.site
    agent = site.agent(*mesh.services())
    mesh.http1()
    mesh.http2()
    mesh.grpc(called)

    told = site.run("metrics", "l7").stdout
    for service, denied, limited in (("web", 2, 1), ("h2", 1, 1), ("files", 2, 0), ("calls", 20, 0)):
        for counter, count in (("denied", denied), ("limited", limited)):
            labels = re.findall(rf"^ebpfmesh_l7_{counter}_total{{(.*)}} {count}$", told, re.MULTILINE)
            assert any(f'service="{service}"' in one for one in labels), (service, counter, told)
    status = json.loads(site.run("status", "l7", "--json").stdout)
    assert status["status"]["l7"]["left_out"] == []

    connection = site.connect()
    assert (site.get(connection, "/admin/x").status, site.get(connection, "/shop/x").status) == (403, 200)
    file = site.write(site.config(*mesh.services((Rule("no-shop", action="deny", paths=("/shop/**",)),))))
    agent.tell(f"apply {file}")
    assert (site.get(connection, "/admin/x").status, site.get(connection, "/shop/x").status) == (200, 403)

    agent.kill()
    assert (site.get(connection, "/admin/x").status, site.get(connection, "/shop/x").status) == (200, 403)
    taken = site.start(*mesh.services(), drain_for=1.0)
    assert (site.get(connection, "/admin/x").status, site.get(connection, "/shop/x").status) == (403, 200)

    notices = taken.close()
    assert any("1 connection is still open" in one for one in notices), notices
    assert site.get(connection, "/admin/x", body=b"y" * 100_000).status == 200, "it passes, and loses no byte"
    connection.close()
    ran = site.run("cleanup", "l7")
    assert ran.returncode == 0, ran
    assert site.left() == []
