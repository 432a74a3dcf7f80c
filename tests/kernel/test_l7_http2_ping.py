"""HTTP/2 in the kernel: refusals of gRPC by way of a PING to the server, where no frame may stand between the server's."""

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

from ebpfmesh.observe import Observer
from ebpfmesh.policy import Limit, Rule
from ebpfmesh.policy.request_match import GrpcMatch
from ebpfmesh.testing import NetNs

pytestmark = pytest.mark.kernel(feature="loop")
SITE = Http2Site

HERE = Path(__file__).parent
DENY = (Rule("no", action="deny", grpc=(GrpcMatch("test.Echo", "No"),)),)
FEW = (Limit("few", rate="1/m", burst=1, grpc=(GrpcMatch("test.Echo", "Few"),)),)


@contextmanager
def large_server(netns: NetNs) -> Iterator[int]:
    """Answers Large with 3 MB, Stream with as many messages of 50 kB as it is asked for, and echoes; its port."""

    class Handler(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
            if details.method.endswith("/Stream"):
                return grpc.unary_stream_rpc_method_handler(
                    lambda n, _: (bytes(50_000) for _ in range(int(n)))
                )
            if details.method.endswith("/Large"):
                return grpc.unary_unary_rpc_method_handler(lambda _request, _: bytes(3_000_000))
            return grpc.unary_unary_rpc_method_handler(lambda request, _: request)

    server = grpc.server(ThreadPoolExecutor(4), handlers=(Handler(),))
    port = netns.call(lambda: server.add_insecure_port("127.0.0.1:0"))
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


def test_refused_calls_have_their_codes_while_segments_cut_frames_and_the_server_bears_it(site):
    """Servers of gRPC end a connection after a few PINGs that they did not ask for (GOAWAY too_many_pings)."""
    with large_server(site.netns) as port:
        site.start(site.http2(port=port, l7="grpc", rules=DENY, limits=FEW))
        with site.cgroup.enter():
            ran: subprocess.CompletedProcess[str] = site.netns.run(
                [sys.executable, str(HERE / "l7_http2_grpc_large.py"), "10.96.0.10:80", "12"],
                capture_output=True,
                text=True,
                timeout=120,
            )
        print(ran.stderr)  # shown with a failure
        assert ran.returncode == 0
        assert json.loads(ran.stdout) == {
            "Yes OK": 2,
            "Large OK": 3,
            "No PERMISSION_DENIED": 56,
            "Few OK": 1,
            "Few RESOURCE_EXHAUSTED": 55,
            "messages": 200,
        }
        assert "too_many_pings" not in ran.stderr
        with Observer.of("l7", run_root=site.root, bpffs=site.bpffs) as seen:
            counted = seen.metrics().services[0].counters
    assert counted["connections"] == 1
    assert counted["outstanding_replied"] > 0
    assert counted["outstanding_replied"] + counted["replied"] == 111


@pytest.mark.parametrize("size", [0, 20, 100, 3000])
def test_a_refusal_by_way_of_a_ping_has_the_size_update_that_the_client_awaits(site, size):
    site.start(site.http2(rules=(Rule("no", action="deny", paths=("/no/**",)),)))
    client = site.client()
    assert client.get("/yes").status == 200
    client.h2.update_settings({1: size})
    site.h2.segment = 7
    streams = [client.request("/bytes/2000"), client.request("/no/1")]
    client.flush()
    streams.append(client.request("/no/2"))
    client.flush()
    assert [one.status for one in client.wait(*streams)] == [200, 403, 403]
    assert client.get("/bytes/100").status == 200
    assert not site.h2.errors
