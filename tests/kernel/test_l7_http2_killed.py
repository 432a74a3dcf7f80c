"""An agent is killed, another takes over, policies change, with HTTP/2 and gRPC connections under load: no stream fails."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from l7_http2_site import Http2Site
from test_l7_http2_peers import grpc_server

from ebpfmesh.observe import Observer
from ebpfmesh.policy import Http, Rule, Service
from ebpfmesh.policy.request_match import GrpcMatch

pytestmark = pytest.mark.kernel(feature="loop")
SITE = Http2Site

HERE = Path(__file__).parent
THREADS, CALLS = 3, 8000


class Asking(threading.Thread):
    """Requests on one connection, denied and allowed in turn, with bodies, until told to stop."""

    def __init__(self, site: Http2Site) -> None:
        super().__init__()
        self._client = site.client()
        self.stop = threading.Event()
        self.count = 0
        self.failed: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.stop.is_set():
                streams = [
                    self._client.request(
                        f"/{'no' if n % 2 else 'yes'}/{n}", method="POST", body=bytes(n * 100)
                    )
                    for n in range(10)
                ]
                self._client.flush()
                got = [one.status for one in self._client.wait(*streams, seconds=20)]
                assert got == [403 if n % 2 else 200 for n in range(10)]
                self.count += 1
            assert self._client.goaway is None
        except BaseException as error:
            self.failed = error


def services(site: Http2Site, port: int, *more: Rule, trace: bool = False) -> tuple[Service, Service]:
    no = Rule("no", action="deny", paths=("/no/**",))
    no_call = Rule("no-call", action="deny", grpc=(GrpcMatch("test.Echo", "No"),))
    web = site.http2(rules=(no, *more), http=Http(trace=trace))
    calls = site.http2("calls", port=port, l7="grpc", rules=(no_call, *more), http=Http(trace=trace))
    return web, Service("calls", addresses=("10.96.0.11:80",), backends=calls.backends, l7="grpc",
                        rules=calls.rules, http=calls.http)  # fmt: skip


def test_open_connections_under_load_outlive_agents_and_policies(site: Http2Site) -> None:
    with grpc_server(site.netns) as (port, called):
        agent = site.agent(*services(site, port))
        asking = Asking(site)
        words = [sys.executable, str(HERE / "l7_http2_grpc.py"), "10.96.0.11:80", str(THREADS), str(CALLS)]
        with site.cgroup.enter():
            calling = site.netns.popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        asking.start()
        done: list[tuple[str, int, int]] = []

        def went_on(what: str) -> None:
            """Both kinds of load have come forward since."""
            before, calls = asking.count, len(called)
            until = time.monotonic() + 20
            while asking.count < before + 3 or len(called) < calls + 10:
                assert asking.failed is None, (what, asking.failed)
                assert calling.poll() is None, f"{what}: the load has ended: more calls are needed"
                assert time.monotonic() < until, (what, asking.count - before, len(called) - calls)
                time.sleep(0.01)
            done.append((what, asking.count, len(called)))

        other = Rule("other", action="deny", paths=("/nobody/asks/**",))
        went_on("begun")
        agent.kill()
        went_on("killed")
        mesh = site.start(*services(site, port))
        went_on("taken over")
        for number in range(4):
            for service in services(site, port, *([other] * (number % 2)), trace=number % 2 == 0):
                mesh.put(service)
            went_on(f"changed {number}")
        assert calling.poll() is None, "the load ended before: more calls are needed"
        out, err = calling.communicate(timeout=120)
        asking.stop.set()
        asking.join(30)
        assert asking.failed is None, (asking.failed, done)
        half = THREADS * CALLS // 2
        assert json.loads(out) == {"Yes OK": half, "No PERMISSION_DENIED": half}, (err, done)
        assert not site.h2.errors
        with Observer.of("l7", run_root=site.root, bpffs=site.bpffs) as seen:
            counted = {one.name: one.counters for one in seen.metrics().services}
        assert counted["calls"]["connections"] == counted["web"]["connections"] == 1
        assert not any(each["out_of_step"] + each["goaway"] for each in counted.values())
