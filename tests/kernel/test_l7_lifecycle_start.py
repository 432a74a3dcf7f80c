"""A mesh with policies: it starts, judges requests, and leaves nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from l7_site import L7Site

from ebpfmesh.policy.rule import Rule
from ebpfmesh.testing import NetNs, PrivateCgroup

pytestmark = pytest.mark.kernel("sockhash")


@pytest.fixture
def site(cgroup: PrivateCgroup, netns: NetNs, bpffs: Path, tmp_path: Path) -> Iterator[L7Site]:
    with L7Site(cgroup, netns, bpffs, tmp_path) as made:
        yield made


NO_ADMIN = Rule("no-admin", action="deny", paths=("/admin/**",))


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
    connection.close()
    assert mesh.close() == []
    assert [path for path in site.bpffs.rglob("*") if "." not in path.name] == []
