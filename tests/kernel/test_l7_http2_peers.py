"""HTTP/2 in the kernel with clients and servers of others: grpcio, nghttp, h2load, curl, nghttpd."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from l7_http2_site import Http2Site

from ebpfmesh.policy import Rule
from ebpfmesh.policy.request_match import GrpcMatch
from ebpfmesh.testing import NetNs, PrivateCgroup

pytestmark = pytest.mark.kernel(feature="loop")

HERE = Path(__file__).parent
DENY = (Rule("no", action="deny", grpc=(GrpcMatch("test.Echo", "No"),)),)


@pytest.fixture
def site(cgroup: PrivateCgroup, netns: NetNs, bpffs: Path, tmp_path: Path) -> Iterator[Http2Site]:
    with Http2Site(cgroup, netns, bpffs, tmp_path) as made:
        yield made


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
