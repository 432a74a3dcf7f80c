"""A mesh with policies: it starts, judges requests, changes on open connections, and leaves nothing."""

from __future__ import annotations

import pytest
from l7_site import NO_ADMIN, NO_SHOP, L7Site

from ebpfmesh.errors import CapacityError, KernelError
from ebpfmesh.identity.workload import Workload
from ebpfmesh.policy.request_match import HeaderMatch
from ebpfmesh.policy.rule import Rule
from ebpfmesh.policy.source import Source
from ebpfmesh.testing import PrivateCgroup, eventually

pytestmark = pytest.mark.kernel("sockhash")
SITE = L7Site


def test_requests_are_judged_one_by_one_and_nothing_is_left(site: L7Site) -> None:
    mesh = site.start(site.http(rules=(NO_ADMIN,)))
    connection = site.connect()
    assert site.get(connection, "/shop").body == b"/shop"
    assert site.get(connection, "/admin/users").status == 403
    assert site.get(connection, "/shop/2").body == b"/shop/2"
    assert b"/admin" not in site.server.received[0]
    found = mesh.status().l7
    assert found is not None
    assert (found.services[0].requests, found.services[0].allowed, found.services[0].denied) == (3, 2, 1)
    assert (found.services[0].open, found.enrolled) == (1, 1)
    connection.close()
    assert mesh.close() == []
    assert site.left() == [str(site.root)] or site.left() == []


def test_a_mesh_without_policies_loads_nothing_of_the_tier(site: L7Site) -> None:
    mesh = site.start(site.http(l7=None))
    assert mesh.l7 is None
    assert mesh.status().l7 is None
    assert not [path.name for path in site.bpffs.rglob("l7_*")]
    assert site.get(site.connect(), "/admin").status == 200


def test_the_first_policy_brings_the_tier_and_connections_from_before_are_left_alone(site: L7Site) -> None:
    mesh = site.start(site.http(l7=None))
    before = site.connect()
    assert site.get(before, "/admin").status == 200
    mesh.put(site.http(rules=(NO_ADMIN,)))
    assert site.get(before, "/admin").status == 200
    assert site.get(site.connect(), "/admin").status == 403


def test_a_policy_changes_between_two_requests_of_an_open_connection(site: L7Site) -> None:
    mesh = site.start(site.http(rules=(NO_ADMIN,)))
    connection = site.connect()
    assert (site.get(connection, "/admin").status, site.get(connection, "/shop").status) == (403, 200)
    mesh.put(site.http(rules=(NO_SHOP,)))
    assert (site.get(connection, "/admin").status, site.get(connection, "/shop").status) == (200, 403)
    mesh.put(site.http())
    assert (site.get(connection, "/admin").status, site.get(connection, "/shop").status) == (200, 200)
    mesh.put(site.http(rules=(NO_SHOP, NO_ADMIN)))
    assert (site.get(connection, "/admin").status, site.get(connection, "/shop").status) == (403, 403)


def test_connections_of_a_removed_service_pass_and_lose_no_byte(site: L7Site) -> None:
    mesh = site.start(site.http(rules=(NO_ADMIN,)), site.http("other", "10.96.0.11:80"))
    connection = site.connect()
    other = site.connect(("10.96.0.11", 80))
    assert site.get(connection, "/admin").status == 403
    mesh.remove("web")
    assert site.get(connection, "/admin", body=b"x" * 300_000).body == b"/admin"
    with pytest.raises(OSError, match=r"unreachable|timed out|refused"):
        site.connect()
    assert site.get(other, "/admin").status == 200
    assert mesh.l7 is not None
    assert [one.state for one in mesh.l7.sockets() if one.service == 0] == [3], (
        "free, whether or not it sends"
    )


def test_a_service_that_loses_its_policy_stays_and_its_connections_pass(site: L7Site) -> None:
    mesh = site.start(site.http(rules=(NO_ADMIN,)))
    connection = site.connect()
    assert site.get(connection, "/admin").status == 403
    mesh.put(site.http(l7=None))
    assert site.get(connection, "/admin").status == 200
    assert site.get(site.connect(), "/admin").status == 200
    connection.close()
    mesh.put(site.http(rules=(NO_ADMIN,)))
    assert site.get(site.connect(), "/admin").status == 403


def test_a_change_that_does_not_fit_leaves_both_tiers_as_they_were(site: L7Site) -> None:
    mesh = site.start(site.http(rules=(NO_ADMIN,)))
    many = tuple(
        Rule(
            f"r{number}",
            action="deny",
            paths=(f"/{number}",),
            headers=(HeaderMatch("x-a", exact=str(number)),),
        )
        for number in range(700)
    )
    before = mesh.config
    with pytest.raises(CapacityError, match="l7_conditions"):
        mesh.apply(site.config(site.http(rules=many), site.http("new", "10.96.0.12:80")))
    assert mesh.config is before
    connection = site.connect()
    assert (site.get(connection, "/admin").status, site.get(connection, "/1").status) == (403, 200)
    with pytest.raises(OSError, match=r"unreachable|timed out|refused"):
        site.connect(("10.96.0.12", 80))


def test_a_change_that_fails_half_way_leaves_both_tiers_as_they_were(
    site: L7Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    mesh = site.start(site.http(rules=(NO_ADMIN,)))
    connection = site.connect()
    assert (site.get(connection, "/admin").status, site.get(connection, "/shop").status) == (403, 200)

    def failing(*_: object) -> None:
        raise KernelError("flip", errno=5)

    with monkeypatch.context() as patched:
        patched.setattr(mesh.connect.tables, "put", failing)
        with pytest.raises(KernelError, match="flip"):
            mesh.apply(site.config(site.http(rules=(NO_SHOP,)), site.http("new", "10.96.0.12:80")))
    for one in (connection, site.connect()):
        assert (site.get(one, "/admin").status, site.get(one, "/shop").status) == (403, 200)
    mesh.apply(site.config(site.http(rules=(NO_SHOP,)), site.http("new", "10.96.0.12:80")))
    assert (site.get(connection, "/admin").status, site.get(connection, "/shop").status) == (200, 403)
    assert site.get(site.connect(("10.96.0.12", 80)), "/admin").status == 200


def test_a_workload_is_found_again_when_its_cgroup_is_made_again(site: L7Site, cgroup: PrivateCgroup) -> None:
    inner = cgroup.child("shop")
    path = inner.path
    rules = (Rule("only-shop", action="allow", sources=(Source(workload="shop"),)),)
    mesh = site.start(site.http(rules=rules), workloads=(Workload("shop", str(path)),))
    assert site.get(site.connect(cgroup=inner)).status == 200
    assert site.get(site.connect()).status == 403
    for one in site._sockets:
        one.close()
    inner.remove()
    again = cgroup.child("shop")
    assert again.id != inner.id
    connection = site.connect(cgroup=again)
    assert site.get(connection).status == 403, "nobody has looked yet"
    assert mesh.follow_workloads()
    assert site.get(connection).status == 200
    assert not mesh.follow_workloads()


def test_rules_that_need_no_request_hold_at_connect(site: L7Site, cgroup: PrivateCgroup) -> None:
    inner = cgroup.child("guest")
    rules = (Rule("no-guests", action="deny", sources=(Source(workload="guest"),)),)
    mesh = site.start(site.http(l7=None, rules=rules), workloads=(Workload("guest", str(inner.path)),))
    with pytest.raises(PermissionError):
        site.connect(cgroup=inner)
    assert site.get(site.connect()).status == 200
    mesh.put(site.http(l7=None))
    assert site.get(site.connect(cgroup=inner)).status == 200
    mesh.put(site.http(l7=None, rules=rules))
    with pytest.raises(PermissionError):
        site.connect(cgroup=inner)


def test_what_is_removed_is_forgotten_once_its_connections_have_ended(site: L7Site) -> None:
    mesh = site.start(site.http(rules=(NO_ADMIN,)))
    assert mesh.l7 is not None
    connection = site.connect()
    assert site.get(connection, "/admin").status == 403
    mesh.remove("web")
    mesh.collect()
    assert mesh.l7.installed.drained
    connection.close()

    def forgotten() -> bool:
        mesh.collect()
        assert mesh.l7 is not None
        return not mesh.l7.installed.drained

    assert eventually(forgotten, timeout=15)
    assert mesh.l7.enrolled() == 0
    assert not any(mesh.l7.tables.counters(0))
