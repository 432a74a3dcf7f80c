"""Metrics and decisions by stream, and what is told of requests that nothing came to."""

from __future__ import annotations

import socket

import pytest
from l7_http2_site import DENY, Http2Site
from l7_site import L7Site
from msgspec.structs import replace

from ebpfmesh.observe import Observer
from ebpfmesh.policy import Backend, Config, Limit, Log, Route
from ebpfmesh.testing import NetNs
from ebpfmesh.testing.wait import eventually

pytestmark = pytest.mark.kernel(feature="loop")
SITE = Http2Site


def observer(site: L7Site) -> Observer:
    return Observer.of("l7", run_root=site.root, bpffs=site.bpffs)


def counted(seen: Observer) -> dict[tuple[str, str, str], int]:
    return {
        (row.backend, row.route, row.status_class): row.requests
        for service in seen.metrics().services
        for row in service.rows
    }


def test_streams_are_counted_each_by_itself(site: Http2Site) -> None:
    site.start(site.http2(rules=DENY, routes=(Route("yes", paths=("/yes/*",)),)))
    with observer(site) as seen:
        client = site.client()
        for path in ("/yes/1", "/no/1", "/yes/2", "/bytes/20000"):
            client.get(path)
        backend = f"127.0.0.1:{site.h2.port}"
        assert counted(seen) == {(backend, "", "2xx"): 1, (backend, "yes", "2xx"): 2, ("local", "", "4xx"): 1}
        rows = {(row.backend, row.route): row for row in seen.metrics().services[0].rows}
        assert rows[backend, ""].bytes_received > 20_000
        assert rows[backend, "yes"].latency.mean > 1000
        [denied] = seen.recent()
        assert (denied.protocol, denied.stream, denied.rule, denied.status) == ("http2", 3, "no", 403)
        assert (denied.method, denied.path, denied.host) == ("GET", "/no/1", "web")


def test_what_limits_refuse_says_when_to_come_again(site: Http2Site) -> None:
    site.start(site.http2(limits=(Limit("one", rate="1/m", burst=1),)))
    with observer(site) as seen:
        client = site.client()
        assert client.get("/a").status == 200
        got = client.get("/b")
        assert got.status == 429
        assert 0 < int(got.headers["retry-after"]) <= 60
        [limited] = seen.recent()
        assert (limited.reason, limited.rule) == ("limited", "one")
        assert limited.retry_after == pytest.approx(int(got.headers["retry-after"]), abs=1)


def test_grpc_is_refused_as_grpc(site: Http2Site) -> None:
    site.start(site.http2(l7="grpc", rules=DENY))
    with observer(site) as seen:
        client = site.client()
        got = client.get(
            "/no/Method", method="POST", headers=[("content-type", "application/grpc"), ("te", "trailers")]
        )
        assert (got.status, got.headers["grpc-status"], got.headers["grpc-message"]) == (
            200,
            "7",
            "Forbidden",
        )
        [denied] = seen.recent()
        assert denied.rule == "no"


def test_a_connection_that_ends_without_an_answer_is_an_error(site: Http2Site, netns: NetNs) -> None:
    with netns.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        backend = f"127.0.0.1:{listener.getsockname()[1]}"
        site.start(replace(site.http(rules=DENY), backends=(Backend(backend),)))
        connection = site.connect()
        accepted, _ = listener.accept()
        connection.sendall(b"GET /a HTTP/1.1\r\nHost: web\r\n\r\nGET /b HTTP/1.1\r\nHost: web\r\n\r\n")
        while accepted.recv(4096).count(b"\r\n\r\n") < 1:
            pass
        accepted.close()
        connection.close()
        with observer(site) as seen:
            assert eventually(lambda: counted(seen) == {(backend, "", "none"): 2})
            assert seen.metrics().services[0].errors == 2


def test_a_response_may_last_to_the_end_of_the_connection(site: Http2Site, netns: NetNs) -> None:
    with netns.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        backend = f"127.0.0.1:{listener.getsockname()[1]}"
        site.start(replace(site.http(rules=DENY), backends=(Backend(backend),)))
        connection = site.connect()
        accepted, _ = listener.accept()
        connection.sendall(b"GET /a HTTP/1.0\r\nHost: web\r\n\r\n")
        accepted.recv(4096)
        accepted.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + bytes(1000))
        accepted.close()
        while connection.recv(4096):
            pass
        connection.close()
        with observer(site) as seen:
            assert eventually(lambda: counted(seen) == {(backend, "", "2xx"): 1})
            [row] = seen.metrics().services[0].rows
            assert row.bytes_received == 1019


def test_streams_in_flight_at_the_close_are_counted(site: Http2Site) -> None:
    """As with HTTP/1: a response that was cut under its status, streams that nothing came to as errors of no class."""
    site.start(site.http2(rules=DENY, routes=(Route("up", paths=("/up",)),)))
    client = site.client()
    assert client.get("/yes").status == 200
    cut = client.request("/bytes/3000000")  # more than the client's window: it cannot end
    client.flush()
    while cut not in client._heads:
        client.pump()
    for _ in range(3):
        client.request("/up", method="POST", body=bytes(100), end=False)
    assert client.get("/no/1").status == 403
    client.socket.close()
    backend = f"127.0.0.1:{site.h2.port}"
    found = {(backend, "", "2xx"): 2, (backend, "up", "none"): 3, ("local", "", "4xx"): 1}
    with observer(site) as seen:
        assert eventually(lambda: counted(seen) == found), counted(seen)
        rows = {(row.backend, row.route): row for row in seen.metrics().services[0].rows}
        assert rows[backend, ""].bytes_received > 60_000
        assert rows[backend, "up"].bytes_sent >= 300


def test_allowed_requests_are_told_as_the_configuration_says(site: Http2Site) -> None:
    site.start(site.http(rules=DENY), log=Log(sample=1, rate="1/m", burst=3))
    with observer(site) as seen:
        connection = site.connect()
        for _ in range(5):
            site.get(connection, "/yes")
        site.get(connection, "/no/1")
        assert [(one.kind, one.path) for one in seen.recent()] == [
            *[("sampled", "/yes")] * 3,
            ("denied", "/no/1"),
        ]
        assert (seen.metrics().log.rate_dropped, seen.metrics().log.sampled) == (2, 5)


def test_what_was_counted_goes_with_its_name(site: Http2Site) -> None:
    """Numbers of services and routes are given out again; the requests of those before are not counted as theirs."""
    mesh = site.start(site.http("old", rules=DENY, routes=(Route("was", paths=("/a",)),)))
    with observer(site) as seen:
        connection = site.connect()
        site.get(connection, "/a")
        connection.close()
        for name in ("new", "newer", "newest"):
            mesh.apply(Config("l7", cgroup=str(site.cgroup.path)))
            assert mesh.l7 is not None
            mesh.l7.collect()
            assert counted(seen) == {}
            mesh.apply(site.config(site.http(name, rules=DENY, routes=(Route("is", paths=("/a",)),))))
            connection = site.connect()
            site.get(connection, "/a")
            connection.close()
            [(_, route, _)] = counted(seen)
            assert route == "is"
            assert [service.name for service in seen.metrics().services if service.rows] == [name]
