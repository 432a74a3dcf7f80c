"""Backends that are removed: their connections finish, or their sockets are destroyed and nobody else's."""

from __future__ import annotations

import errno
import socket

import pytest
from connect_peers import Site, disconnect, eventually, greeting, idle, service_status

from ebpfmesh.mesh import Mesh
from ebpfmesh.policy.model import Service
from ebpfmesh.testing import NetNs

pytestmark = pytest.mark.kernel

ADDRESSES = {4: "10.96.0.1:80", 6: "[fd00::1]:80"}
KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}

families = pytest.mark.parametrize("family", [4, 6], ids=["v4", "v6"])
protocols = pytest.mark.parametrize("protocol", ["tcp", "udp"])


def open_to(site: Site, protocol: str, family: int, netns: NetNs | None = None) -> tuple[socket.socket, str]:
    """A connection to the service, and its backend."""
    one = site.connect(ADDRESSES[family], KINDS[protocol], netns=netns)
    if protocol == "tcp":
        return one, greeting(one)
    one.send(b"?")
    return one, one.recv(100).partition(b"\n")[0].decode()


def lives(one: socket.socket) -> bool:
    try:
        one.send(b"ping")
        return one.recv(100).endswith(b"ping")
    except OSError as error:
        # a destroyed UDP socket is disconnected too, which is what its send() says first
        assert error.errno in (errno.ECONNABORTED, errno.EDESTADDRREQ), error
        return False


def make(
    protocol: str, family: int, backends: list[str], removed: str, *, name: str = "svc", address: str = ""
) -> Service:
    return Service(name, protocol, (address or ADDRESSES[family],), tuple(backends), removed_backends=removed)  # type: ignore[arg-type]


@protocols
@families
def test_connections_of_a_removed_backend_finish(site: Site, protocol: str, family: int) -> None:
    backends = site.servers.many(2, kind=protocol, family=family)
    mesh = site.mesh(make(protocol, family, backends, "finish"))
    held = [open_to(site, protocol, family) for _ in range(4)]
    assert {backend for _, backend in held} == set(backends)
    mesh.put(make(protocol, family, backends[1:], "finish"))
    assert all(lives(one) for one, _ in held)
    leaving = [one for one in service_status(mesh, "svc").backends if one.leaving]
    assert [(one.address, one.active) for one in leaving] == [(backends[0], 2)]
    mesh.collect()
    assert [one.leaving for one in service_status(mesh, "svc").backends] == [True, False], (
        "kept while it has connections"
    )
    assert {open_to(site, protocol, family)[1] for _ in range(4)} == {backends[1]}
    for one, _ in held:
        one.close()
    eventually(lambda: not any(one.active and one.leaving for one in service_status(mesh, "svc").backends))
    mesh.collect()
    assert [one.address for one in service_status(mesh, "svc").backends] == backends[1:]


@protocols
@families
def test_sockets_of_a_removed_backend_are_destroyed_on_request(
    site: Site, protocol: str, family: int
) -> None:
    backends = site.servers.many(2, kind=protocol, family=family)
    others = site.servers.many(2, kind=protocol, family=family)
    elsewhere = "10.96.0.2:80" if family == 4 else "[fd00::2]:80"
    # the other service shares the removed backend, and says "finish"
    other = make(protocol, family, [backends[0], *others], "finish", name="other", address=elsewhere)
    mesh = site.mesh(make(protocol, family, backends, "destroy"), other)
    held = [open_to(site, protocol, family) for _ in range(6)]
    direct = site.connect(backends[0], KINDS[protocol])
    shared = [site.connect(elsewhere, KINDS[protocol]) for _ in range(3)]
    for one in (direct, *shared) if protocol == "tcp" else ():
        greeting(one)
    mesh.put(make(protocol, family, backends[1:], "destroy"))
    assert [lives(one) for one, _ in held] == [backend == backends[1] for _, backend in held]
    assert all(map(lives, [direct, *shared])), "sockets that are not of this service are not ours"
    for one, backend in held if protocol == "udp" else ():
        if backend == backends[0]:
            one.close()  # no hook sees the end of a UDP socket before its close()
    eventually(lambda: service_status(mesh, "svc").active == 3)
    mesh.collect()
    assert [one.address for one in service_status(mesh, "svc").backends] == backends[1:]


@protocols
def test_a_removed_service_destroys_all_of_its_sockets(site: Site, protocol: str) -> None:
    backends = site.servers.many(2, kind=protocol)
    mesh = site.mesh(make(protocol, 4, backends, "destroy"))
    held = [open_to(site, protocol, 4)[0] for _ in range(4)]
    mesh.remove("svc")
    assert not any(map(lives, held))


def test_a_dual_stack_socket_on_an_ipv4_backend_is_destroyed_too(site: Site) -> None:
    backends = [site.servers.tcp(), site.servers.tcp(family=6)]
    mesh = site.mesh(make("tcp", 6, backends, "destroy"))
    held = [open_to(site, "tcp", 6) for _ in range(4)]
    mapped = site.client(socket.AF_INET6)
    mesh.put(make("tcp", 6, backends[1:], "destroy"))
    assert [lives(one) for one, _ in held] == [backend == backends[1] for _, backend in held]
    mapped.connect(("fd00::1", 80))
    assert greeting(mapped) == backends[1]


@protocols
def test_a_v4_mapped_socket_is_destroyed_too(site: Site, protocol: str) -> None:
    backends = site.servers.many(2, kind=protocol)
    mesh = site.mesh(make(protocol, 4, backends[:1], "destroy"))
    one = site.client(socket.AF_INET6, KINDS[protocol])
    one.connect(("::ffff:10.96.0.1", 80))
    if protocol == "tcp":
        greeting(one)
    assert lives(one)
    mesh.put(make(protocol, 4, backends[1:], "destroy"))
    assert not lives(one)


@protocols
def test_sockets_in_another_namespace_are_destroyed_and_those_of_equal_addresses_are_not(
    site: Site, netns_b: NetNs, protocol: str
) -> None:
    """Both namespaces have the same addresses and ports; only one's service loses the backend."""
    from contextlib import closing

    from connect_peers import Servers

    with closing(Servers(netns_b)) as there:
        backend, rest = (getattr(site.servers, protocol)(port=port) for port in (8001, 8002))
        assert [getattr(there, protocol)(port=port) for port in (8001, 8002)] == [backend, rest]

        def model(lost: NetNs | None) -> list[Service]:
            return [
                Service(
                    space.name,
                    protocol,
                    (ADDRESSES[4],),
                    (rest,) if space is lost else (backend,),
                    namespace=space.path,
                    removed_backends="destroy",
                )
                for space in (site.netns, netns_b)
            ]

        mesh = site.mesh(*model(None))
        here = bound(site, protocol, site.netns)
        twin = bound(site, protocol, netns_b)
        mesh.apply(site.config(*model(netns_b)))
        assert lives(here)
        assert not lives(twin)


def bound(site: Site, protocol: str, netns: NetNs) -> socket.socket:
    """A connection from port 7000 of the namespace's loopback."""
    one = site.client(socket.AF_INET, KINDS[protocol], netns=netns)
    one.bind(("127.0.0.1", 7000))
    one.connect(("10.96.0.1", 80))
    if protocol == "tcp":
        greeting(one)
    assert lives(one)
    return one


@protocols
@pytest.mark.parametrize("how", ["device", "source"])
def test_a_bound_socket_is_destroyed_too(site: Site, protocol: str, how: str) -> None:
    backends = site.servers.many(2, kind=protocol)
    mesh = site.mesh(make(protocol, 4, backends[:1], "destroy"))
    one = site.client(socket.AF_INET, KINDS[protocol])
    if how == "device":
        one.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")
    else:
        one.bind(("127.0.0.7", 0))
    one.connect(("10.96.0.1", 80))
    if protocol == "tcp":
        greeting(one)
    assert lives(one)
    mesh.put(make(protocol, 4, backends[1:], "destroy"))
    assert not lives(one)


def test_a_connection_under_way_is_destroyed_too(site: Site) -> None:
    listener = site.netns.socket(socket.AF_INET)
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    filling = [site.netns.socket(socket.AF_INET) for _ in range(2)]
    for one in filling:
        one.setblocking(False)
        one.connect_ex(listener.getsockname())
    silent = f"127.0.0.1:{listener.getsockname()[1]}"
    mesh = site.mesh(make("tcp", 4, [silent], "destroy"))
    one = site.client(socket.AF_INET)
    one.setblocking(False)
    assert one.connect_ex(("10.96.0.1", 80)) == errno.EINPROGRESS
    mesh.put(make("tcp", 4, [site.servers.tcp()], "destroy"))
    assert one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNABORTED
    assert idle(mesh, "svc").failed == 1
    for other in (listener, *filling):
        other.close()


def test_an_unconnected_udp_socket_does_not_keep_sending_to_a_removed_backend(site: Site) -> None:
    backends = site.servers.many(2, kind="udp")
    mesh = site.mesh(make("udp", 4, backends, "finish"))
    one = site.client(socket.AF_INET, socket.SOCK_DGRAM)

    def answered_by(count: int) -> set[str]:
        found = set()
        for _ in range(count):
            one.sendto(b"?", ("10.96.0.1", 80))
            data, source = one.recvfrom(100)
            assert source == ("10.96.0.1", 80)
            found.add(data.partition(b"\n")[0].decode())
        return found

    assert answered_by(4) == set(backends)
    mesh.put(make("udp", 4, backends[1:], "finish"))
    assert answered_by(6) == {backends[1]}
    assert lives_unconnected(one, mesh)


def lives_unconnected(one: socket.socket, mesh: Mesh) -> bool:
    """An unconnected socket is never destroyed: it is nobody's in particular."""
    mesh.remove("svc")
    return one.fileno() >= 0 and one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def test_a_disconnected_udp_socket_is_not_destroyed_for_the_backend_it_left(site: Site) -> None:
    backends = site.servers.many(2, kind="udp")
    direct = site.servers.udp()
    mesh = site.mesh(make("udp", 4, backends[:1], "destroy"))
    one = site.client(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind(("127.0.0.1", 0))
    one.connect(("10.96.0.1", 80))
    disconnect(one)  # no hook sees it
    mesh.put(make("udp", 4, backends[1:], "destroy"))
    one.sendto(b"x", ("127.0.0.1", int(direct.rpartition(":")[2])))
    assert one.recv(100).startswith(direct.encode())


@protocols
def test_what_a_killed_agent_did_not_destroy_its_successor_destroys(
    site: Site, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ebpfmesh.tiers.connect import sockets

    backends = site.servers.many(2, kind=protocol)
    first = Mesh(
        site.config(make(protocol, 4, backends[:1], "destroy")), run_root=site.run_root, bpffs=site.bpffs
    ).start()
    one, _ = open_to(site, protocol, 4)
    after = make(protocol, 4, backends[1:], "destroy")
    with monkeypatch.context() as dying:
        dying.setattr(sockets, "destroy", lambda *_: 0)  # it dies between the apply and the destroying
        first.put(after)
    first.close(keep=True)
    assert lives(one)
    site.mesh(after)
    assert not lives(one)
