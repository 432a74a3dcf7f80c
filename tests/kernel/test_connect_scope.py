"""Services of one network namespace, and those of all, where two namespaces have the same addresses."""

from __future__ import annotations

from contextlib import ExitStack, closing

import pytest
from connect_peers import Servers, Site, service_status

from ebpfmesh.errors import ConfigError, HostError
from ebpfmesh.policy.model import Service
from ebpfmesh.testing import NetNs

pytestmark = pytest.mark.kernel

ADDRESS = "10.96.0.1:80"


@pytest.fixture
def servers_b(netns_b: NetNs):
    with closing(Servers(netns_b)) as made:
        yield made


def test_the_same_address_is_another_service_in_another_namespace(
    site: Site, netns_b: NetNs, servers_b: Servers
) -> None:
    here = site.servers.tcp(port=8001), site.servers.tcp(port=8002)
    there = servers_b.tcp(port=8001), servers_b.tcp(port=8002)  # the same addresses again
    assert here == there
    mesh = site.mesh(
        Service("first", "tcp", (ADDRESS,), (here[0],), namespace=site.netns.path),
        Service("second", "tcp", (ADDRESS,), (there[1],), namespace=netns_b.path),
    )
    assert site.backend_of(ADDRESS) == here[0]
    assert site.backend_of(ADDRESS, netns=netns_b) == there[1]
    assert [service_status(mesh, name).opened for name in ("first", "second")] == [1, 1]


def test_an_address_for_all_is_found_where_no_closer_one_is(
    site: Site, netns_b: NetNs, servers_b: Servers
) -> None:
    backend, own = site.servers.tcp(port=8001), site.servers.tcp(port=8002)
    servers_b.tcp(port=8001)
    everywhere = Service("everywhere", "tcp", (ADDRESS,), (backend,))
    mesh = site.mesh(everywhere, Service("here", "tcp", (ADDRESS,), (own,), namespace=site.netns.path))
    assert site.backend_of(ADDRESS) == own
    assert site.backend_of(ADDRESS, netns=netns_b) == backend
    mesh.remove("here")
    assert site.backend_of(ADDRESS) == backend


def test_a_service_of_one_namespace_is_nobodys_in_another(site: Site, netns_b: NetNs) -> None:
    site.mesh(Service("here", "tcp", (ADDRESS,), (site.servers.tcp(),), namespace=site.netns.path))
    with pytest.raises(OSError, match="unreachable"):
        site.backend_of(ADDRESS, netns=netns_b)


def test_udp_replies_are_kept_apart_by_namespace(site: Site, netns_b: NetNs, servers_b: Servers) -> None:
    backend = site.servers.udp(port=8001)
    assert servers_b.udp(port=8001) == backend
    site.mesh(
        Service("first", "udp", ("10.96.0.1:53",), (backend,), namespace=site.netns.path),
        Service("second", "udp", ("10.96.0.2:53",), (backend,), namespace=netns_b.path),
    )
    with ExitStack() as stack:
        from socket import AF_INET, SOCK_DGRAM

        first = stack.enter_context(site.client(AF_INET, SOCK_DGRAM))
        second = stack.enter_context(site.client(AF_INET, SOCK_DGRAM, netns=netns_b))
        for one in (first, second):
            one.bind(("127.0.0.1", 7000))  # equal in everything but the namespace
        first.sendto(b"1", ("10.96.0.1", 53))
        second.sendto(b"2", ("10.96.0.2", 53))
        assert first.recvfrom(100) == (f"{backend}\n1".encode(), ("10.96.0.1", 53))
        assert second.recvfrom(100) == (f"{backend}\n2".encode(), ("10.96.0.2", 53))


def test_a_namespace_that_is_not_there_refuses_the_change_and_what_ran_goes_on(site: Site) -> None:
    mesh = site.mesh(Service("web", "tcp", (ADDRESS,), (site.servers.tcp(),)))
    with pytest.raises(HostError, match="/run/netns/ebpfmesh-nowhere"):
        mesh.put(
            Service(
                "bad", "tcp", ("10.96.0.2:80",), ("127.0.0.1:1",), namespace="/run/netns/ebpfmesh-nowhere"
            )
        )
    assert site.backend_of(ADDRESS)
    assert [one.name for one in mesh.status().services] == ["web"]


def test_a_path_that_leads_to_another_namespace_by_now_is_followed(
    site: Site, netns_b: NetNs, servers_b: Servers
) -> None:
    backend = site.servers.tcp(port=8001)
    assert servers_b.tcp(port=8001) == backend
    path = site.run_root.parent / "blue"
    path.symlink_to(site.netns.path)
    blue = Service("blue", "tcp", (ADDRESS,), (backend,), namespace=str(path))
    mesh = site.mesh(blue)
    assert site.backend_of(ADDRESS) == backend
    path.unlink()
    path.symlink_to(netns_b.path)  # as `ip netns delete` and `ip netns add` do
    mesh.put(blue)
    assert site.backend_of(ADDRESS, netns=netns_b) == backend
    with pytest.raises(OSError, match="unreachable"):
        site.backend_of(ADDRESS)


def test_two_paths_of_one_namespace_cannot_share_an_address(site: Site) -> None:
    path = site.run_root.parent / "also"
    path.symlink_to(site.netns.path)
    first = Service("first", "tcp", (ADDRESS,), (site.servers.tcp(),), namespace=site.netns.path)
    mesh = site.mesh(first)
    with pytest.raises(ConfigError, match="another service's in the same network namespace"):
        mesh.put(Service("second", "tcp", (ADDRESS,), (site.servers.tcp(),), namespace=str(path)))
    assert site.backend_of(ADDRESS) == first.backends[0].address
    assert [one.name for one in mesh.status().services] == ["first"]
