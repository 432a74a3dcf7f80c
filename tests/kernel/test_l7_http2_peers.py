"""HTTP/2 in the kernel with clients and servers of others: grpcio, nghttp, h2load, curl, nghttpd."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from l7_http2_site import Http2Site

from ebpfmesh.policy import Limit, Rule
from ebpfmesh.policy.request_match import GrpcMatch
from ebpfmesh.testing import NetNs, eventually
from peers.servers import program

pytestmark = pytest.mark.kernel(feature="loop")
SITE = Http2Site

HERE = Path(__file__).parent
DENY = (Rule("no", action="deny", grpc=(GrpcMatch("test.Echo", "No"),)),)


def run(site: Http2Site, *words: str, timeout: float = 100) -> subprocess.CompletedProcess[str]:
    """A client to its end, in the cgroup and the namespace of the site."""
    with site.cgroup.enter():
        return site.netns.run(list(words), capture_output=True, text=True, timeout=timeout)


@contextmanager
def grpc_server(netns: NetNs) -> Iterator[tuple[int, list[str]]]:
    """Echoes; the port, and what was called."""
    called: list[str] = []

    class Handler(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
            called.append(details.method)
            return grpc.unary_unary_rpc_method_handler(lambda request, _: request)

    server = grpc.server(ThreadPoolExecutor(4), handlers=(Handler(),))
    port = netns.call(lambda: server.add_insecure_port("127.0.0.1:0"))
    server.start()
    try:
        yield port, called
    finally:
        server.stop(None).wait()


@pytest.mark.parametrize(("threads", "calls"), [(1, 50), (4, 600)])
def test_refused_calls_among_allowed_ones_on_one_connection(site, threads, calls):
    with grpc_server(site.netns) as (port, called):
        mesh = site.start(site.http2(port=port, l7="grpc", rules=DENY))
        ran = run(
            site, sys.executable, str(HERE / "l7_http2_grpc.py"), "10.96.0.10:80", str(threads), str(calls)
        )
        assert ran.returncode == 0, ran.stderr
        half = threads * calls // 2
        assert json.loads(ran.stdout) == {"Yes OK": half, "No PERMISSION_DENIED": half}
        assert called == ["/test.Echo/Yes"] * half
        assert mesh is not None


def test_a_limited_call_is_resource_exhausted(site):
    limit = Limit("few", rate="1/m", burst=20, grpc=(GrpcMatch("test.Echo", "Yes"),))
    with grpc_server(site.netns) as (port, called):
        site.start(site.http2(port=port, l7="grpc", rules=DENY, limits=(limit,)))
        ran = run(site, sys.executable, str(HERE / "l7_http2_grpc.py"), "10.96.0.10:80", "2", "100")
        assert json.loads(ran.stdout) == {
            "Yes OK": 20,
            "Yes RESOURCE_EXHAUSTED": 80,
            "No PERMISSION_DENIED": 100,
        }
        assert len(called) == 20


PATHS = (Rule("no", action="deny", paths=("/no/**",)),)


@contextmanager
def nghttpd_in(netns: NetNs, here: Path) -> Iterator[int]:
    """nghttpd in a namespace; its port."""
    found = program("nghttpd", "nghttp2-server")
    (here / "hello").write_bytes(b"hello\n")
    (here / "large").write_bytes(b"0123456789" * 10_000)
    running = netns.popen(
        [found, "--no-tls", "-a", "127.0.0.1", "-d", str(here), "8080"], stdout=subprocess.DEVNULL
    )

    def listens() -> bool:
        with netns.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            return probe.connect_ex(("127.0.0.1", 8080)) == 0

    try:
        assert eventually(listens)
        yield 8080
    finally:
        running.terminate()
        running.wait(10)


def test_nghttp_and_h2load_and_curl_with_nghttpd(site, tmp_path):
    """nghttpd's SETTINGS have no entry that can be spared: ours follow them."""
    nghttp, h2load, curl = (
        program("nghttp", "nghttp2-client"),
        program("h2load", "nghttp2-client"),
        program("curl", "curl"),
    )
    with nghttpd_in(site.netns, tmp_path) as port:
        site.start(site.http2(port=port, rules=PATHS))
        base = "http://10.96.0.10"
        shown = run(site, nghttp, "-v", f"{base}/hello", f"{base}/no/1", f"{base}/large", f"{base}/no/2")
        assert re.findall(r":status: (\d+)", shown.stdout).count("403") == 2
        assert re.findall(r":status: (\d+)", shown.stdout).count("200") == 2
        loaded = run(site, h2load, "-n", "2000", "-c", "4", "-m", "16", f"{base}/hello", f"{base}/no/x")
        assert "status codes: 1000 2xx, 0 3xx, 1000 4xx, 0 5xx" in loaded.stdout, loaded.stdout
        assert "2000 succeeded" not in loaded.stdout or "0 failed, 0 errored" in loaded.stdout
        curled = run(
            site,
            curl,
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code} %{http_version}",
            "--http2-prior-knowledge",
            f"{base}/no/1",
        )
        assert curled.stdout == "403 2"
        curled = run(site, curl, "-s", "--http2-prior-knowledge", f"{base}/hello")
        assert curled.stdout
