"""Sockets that cannot be followed, that were open before, and clients whose cgroup is made again."""

from __future__ import annotations

import time

import pytest
from l7_site import NO_ADMIN, L7Site

from ebpfmesh.errors import NotSupportedError
from ebpfmesh.policy.model import Capacity
from ebpfmesh.policy.rule import Rule
from ebpfmesh.testing import eventually, private_cgroup
from ebpfmesh.tiers.l7 import abilities
from ebpfmesh.tiers.l7.behaviour import Behaviour, Outcome

pytestmark = pytest.mark.kernel("sockhash")
SITE = L7Site


def test_a_socket_that_finds_no_room_is_counted_and_destroyed(site: L7Site) -> None:
    mesh = site.start(site.http(rules=(NO_ADMIN,)), capacity=Capacity(l7_connections=1))
    assert mesh.l7 is not None
    first = site.connect()
    assert site.get(first, "/admin").status == 403
    second = site.connect()
    with pytest.raises(OSError, match=r"denied|timed out"):
        second.settimeout(0.3)
        site.get(second, "/shop")
    received = len(site.server.received[-1])
    mesh.collect()
    assert mesh.l7.destroyed == 1
    with pytest.raises(OSError, match=r"abort|pipe|reset"):
        second.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert len(site.server.received[-1]) == received == 0, "not a byte of it has left"
    mesh.collect()
    assert mesh.l7.destroyed == 1, "once"
    found = mesh.status().l7
    assert found is not None
    assert found.services[0].counters["unenrolled"] == 1
    assert site.get(first, "/shop").status == 200


def test_what_was_open_before_is_left_alone_and_said(site: L7Site) -> None:
    mesh = site.start(site.http(l7=None))
    before = [site.connect() for _ in range(2)]
    assert [site.get(one, "/admin").status for one in before] == [200, 200]
    mesh.put(site.http(rules=(NO_ADMIN,)))
    assert any("2 connections to web were open before" in one for one in mesh.notices)
    assert [site.get(one, "/admin").status for one in before] == [200, 200]


def test_what_was_open_before_is_destroyed_where_the_service_says_so(site: L7Site) -> None:
    mesh = site.start(site.http(l7=None))
    before = site.connect()
    assert site.get(before, "/admin").status == 200
    mesh.put(site.http(rules=(NO_ADMIN,), open_sockets="destroy"))
    with pytest.raises(OSError, match=r"abort|pipe|reset"):
        before.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert site.get(site.connect(), "/admin").status == 403
    followed = site.connect()
    mesh.put(site.http(open_sockets="destroy"))
    assert site.get(followed, "/admin").status == 200, "what is followed is left"


def test_policies_follow_the_cgroup_of_the_mesh(site: L7Site) -> None:
    name = f"l7-again-{time.monotonic_ns()}"
    with private_cgroup(name) as first:
        path = first.path
        mesh = site.start(site.http(rules=(NO_ADMIN,)), cgroup=str(path))
        connection = site.connect(cgroup=first)
        assert site.get(connection, "/admin").status == 403
        connection.close()
    with private_cgroup(name) as second:
        assert second.path == path
        assert mesh.follow_cgroup()
        connection = site.connect(cgroup=second)
        assert site.get(connection, "/admin").status == 403
        assert site.get(connection, "/shop").status == 200
        connection.close()
        assert eventually(lambda: mesh.l7 is not None and mesh.l7.enrolled() == 0)
        assert mesh.close() == []


def test_status_and_metrics_of_the_command_line(site: L7Site) -> None:
    agent = site.agent(site.http(rules=(NO_ADMIN,)))
    connection = site.connect()
    assert [site.get(connection, one).status for one in ("/admin", "/shop", "/admin")] == [403, 200, 403]
    agent.kill()
    shown = site.run("status", "l7")
    assert shown.returncode == 0, shown.stderr
    [line] = [line.split() for line in shown.stdout.splitlines() if line.startswith("web ")]
    assert line == ["web", "http1", "1", "1", "3", "1", "2", "0"]
    assert "replied 2" in shown.stdout
    assert '"denied": 2' in site.run("status", "l7", "--json").stdout
    connection.close()
    assert eventually(lambda: site.run("cleanup", "l7").returncode == 0)


def test_a_protocol_that_comes_later_is_loaded_then(site: L7Site) -> None:
    mesh = site.start(site.http(l7=None, rules=(Rule("all", action="allow"),)))
    assert mesh.l7 is not None
    assert mesh.l7.specs.keys() == {"l7"}
    mesh.put(site.http("other", "10.96.0.11:80", rules=(NO_ADMIN,)))
    assert mesh.l7.specs.keys() == {"l7", "l7_http1"}
    assert site.get(site.connect(("10.96.0.11", 80)), "/admin").status == 403
    assert site.get(site.connect(), "/admin").status == 200
    found = mesh.status().l7
    assert found is not None
    assert {one.name: one.protocol for one in found.services} == {"web": "opaque", "other": "http1"}


def test_a_kernel_on_which_sockets_must_not_be_followed_is_refused(
    site: L7Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = Outcome("fionread", "FIONREAD counts", "fails", text="it is 0", disables=("enrolment",))
    monkeypatch.setattr("ebpfmesh.tiers.l7.behaviour.measure", lambda: Behaviour("x", (bad,)))
    with pytest.raises(NotSupportedError, match="FIONREAD counts: it is 0"):
        site.start(site.http(rules=(NO_ADMIN,)))
    site.start(site.http(l7=None, rules=(Rule("all", action="allow"),)))
    assert site.get(site.connect(), "/admin").status == 200


def test_replies_that_are_not_safe_are_not_used() -> None:
    bad = Outcome("local_reply", "a reply arrives", "fails", disables=("local_reply",))
    assert abilities.refused(Behaviour("x", (bad,))) == 1
    assert abilities.refused(Behaviour("x", ())) == 0


def test_http2_that_comes_later_finds_little_room_and_that_is_said(site: L7Site) -> None:
    mesh = site.start(site.http(rules=(NO_ADMIN,)))
    assert mesh.l7 is not None
    assert mesh.l7.loaded.maps["l7_http2"].max_entries == 64
    mesh.put(site.http("calls", "10.96.0.11:80", l7="grpc"))
    assert "l7_http2" in mesh.l7.specs
    assert any("room for 64 HTTP/2 connections" in one for one in mesh.notices)
    assert site.get(site.connect(), "/admin").status == 403


def test_a_service_that_is_renamed_leaves_no_connection_without_a_policy(site: L7Site) -> None:
    mesh = site.start(site.http(rules=(NO_ADMIN,)))
    connection = site.connect()
    assert site.get(connection, "/shop").status == 200
    mesh.apply(site.config(site.http("shop", rules=(NO_ADMIN,))))
    with pytest.raises(ConnectionAbortedError):
        site.get(connection, "/admin/users")
    again = site.connect()
    assert site.get(again, "/admin/users").status == 403
    assert not any(b"/admin" in one for one in site.server.received)
