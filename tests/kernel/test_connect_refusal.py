"""Where no backend takes new connections: connect() and sendto() fail at once, with the errno of the model."""

from __future__ import annotations

import errno
import socket
from typing import get_args

import pytest
from connect_peers import Site, greeting, service_status

from ebpfmesh.policy.model import Backend, Refusal, Service
from ebpfmesh.tiers.connect.wire import BACKEND_KEY

pytestmark = pytest.mark.kernel

ADDRESSES = ("10.96.0.1:80", "[fd00::1]:80")
HOSTS = ["10.96.0.1", "fd00::1", "::ffff:10.96.0.1"]


def family(host: str) -> int:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


@pytest.mark.parametrize("name", get_args(Refusal))
def test_each_errno_of_the_model_is_what_the_client_sees(site: Site, name: str) -> None:
    mesh = site.mesh(
        Service("tcp", "tcp", ADDRESSES, (), no_backend=name),  # type: ignore[arg-type]
        Service("udp", "udp", ADDRESSES, (), no_backend=name),  # type: ignore[arg-type]
    )
    wanted = getattr(errno, name)
    for host in HOSTS:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with site.client(family(host), kind) as one:
                assert one.connect_ex((host, 80)) == wanted
                one.setblocking(False)
                assert one.connect_ex((host, 80)) == wanted, "not EINPROGRESS: it fails at once"
        with site.client(family(host), socket.SOCK_DGRAM) as one, pytest.raises(OSError) as caught:
            one.sendto(b"query", (host, 80))
        assert caught.value.errno == wanted
        with site.client(family(host)) as one, pytest.raises(OSError) as caught:
            one.sendto(b"early", socket.MSG_FASTOPEN, (host, 80))
        assert caught.value.errno == wanted
    tcp, udp = service_status(mesh, "tcp"), service_status(mesh, "udp")
    assert (tcp.refused, udp.refused) == (9, 9)
    assert (tcp.opened, tcp.active, tcp.failed, tcp.errors, udp.opened, udp.active, udp.errors) == (0,) * 7


def test_a_refused_socket_can_connect_when_a_backend_is_there(site: Site) -> None:
    mesh = site.mesh(Service("web", "tcp", ADDRESSES, ()))
    with site.client(socket.AF_INET) as one:
        assert one.connect_ex(("10.96.0.1", 80)) == errno.ECONNREFUSED
        backend = site.servers.tcp()
        mesh.put(Service("web", "tcp", ADDRESSES, (backend,)))
        one.connect(("10.96.0.1", 80))
        assert greeting(one) == backend


def leaving(address: str, how: str) -> Backend:
    return Backend(address, 0) if how == "weight 0" else Backend(address, 1, draining=True)


BALANCERS = ["random", "weighted-random", "round-robin", "weighted-round-robin", "maglev", "maglev-sticky"]


@pytest.mark.parametrize("balancer", BALANCERS)
@pytest.mark.parametrize("how", ["weight 0", "draining"])
def test_a_backend_that_leaves_takes_no_new_connection_and_keeps_the_old_ones(
    site: Site, how: str, balancer: str
) -> None:
    first, second = site.servers.many(2)
    mesh = site.mesh(Service("web", "tcp", ADDRESSES, (first,), balance=balancer))  # type: ignore[arg-type]
    old = site.connect("10.96.0.1:80")
    assert greeting(old) == first
    mesh.put(Service("web", "tcp", ADDRESSES, (leaving(first, how), second), balance=balancer))  # type: ignore[arg-type]
    assert set(site.backends_of("10.96.0.1:80", 20)) == {second}
    old.send(b"still here")
    assert old.recv(100) == b"still here"
    assert old.getpeername() == ("10.96.0.1", 80)
    mesh.put(Service("web", "tcp", ADDRESSES, (first,), balance=balancer))  # type: ignore[arg-type]
    assert set(site.backends_of("10.96.0.1:80", 4)) == {first}, "it may come back"


def test_with_every_backend_draining_new_connections_are_refused(site: Site) -> None:
    first, second = site.servers.many(2)
    mesh = site.mesh(Service("web", "tcp", ADDRESSES, (first, second)))
    old = site.connect("10.96.0.1:80")
    greeting(old)
    mesh.put(Service("web", "tcp", ADDRESSES, (leaving(first, "draining"), leaving(second, "draining"))))
    with site.client(socket.AF_INET) as one:
        assert one.connect_ex(("10.96.0.1", 80)) == errno.ECONNREFUSED
    old.send(b"x")
    assert old.recv(1) == b"x"


def test_connected_udp_of_a_draining_backend_goes_on_and_new_datagrams_go_elsewhere(site: Site) -> None:
    first, second = site.servers.many(2, kind="udp")
    mesh = site.mesh(Service("dns", "udp", ("10.96.0.1:80",), (first,)))
    old = site.connect("10.96.0.1:80", socket.SOCK_DGRAM)
    free = site.client(socket.AF_INET, socket.SOCK_DGRAM)
    mesh.put(Service("dns", "udp", ("10.96.0.1:80",), (leaving(first, "draining"), second)))
    old.send(b"x")
    assert old.recv(100) == f"{first}\nx".encode()
    for _ in range(4):
        free.sendto(b"x", ("10.96.0.1", 80))
        assert free.recvfrom(100) == (f"{second}\nx".encode(), ("10.96.0.1", 80))


def test_a_removed_service_is_nobodys_and_its_connections_go_on(site: Site) -> None:
    mesh = site.mesh(Service("web", "tcp", ADDRESSES, (site.servers.tcp(),)))
    old = site.connect("10.96.0.1:80")
    greeting(old)
    mesh.remove("web")
    with site.client(socket.AF_INET) as one:
        assert one.connect_ex(("10.96.0.1", 80)) == errno.ENETUNREACH, "the namespace has no route there"
    old.send(b"x")
    assert old.recv(1) == b"x"
    assert old.getpeername() == ("10.96.0.1", 80)


@pytest.mark.parametrize("on_error", ["fail_closed", "fail_open"])
def test_a_lookup_that_fails_is_counted_and_the_policy_decides(site: Site, on_error: str) -> None:
    """A slot that names a backend which is not there cannot happen; here the test takes the backend away."""
    mesh = site.mesh(
        Service("tcp", "tcp", ADDRESSES, (site.servers.tcp(),), no_backend="EHOSTUNREACH", on_error=on_error),  # type: ignore[arg-type]
        Service(
            "udp", "udp", ADDRESSES[:1], (site.servers.udp(),), no_backend="EHOSTUNREACH", on_error=on_error
        ),  # type: ignore[arg-type]
    )
    backends = mesh.connect.objects.maps["backends"]
    for service in mesh.connect.installed.services.values():
        for one in service.backends.values():
            backends.delete_raw(BACKEND_KEY.pack(service.index, one.id))
    # fail_open: it goes to the address as it is, where this namespace has no route
    wanted = errno.EHOSTUNREACH if on_error == "fail_closed" else errno.ENETUNREACH
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with site.client(socket.AF_INET, kind) as one:
            assert one.connect_ex(("10.96.0.1", 80)) == wanted
    with site.client(socket.AF_INET, socket.SOCK_DGRAM) as one, pytest.raises(OSError) as caught:
        one.sendto(b"query", ("10.96.0.1", 80))
    assert caught.value.errno == wanted
    tcp, udp = service_status(mesh, "tcp"), service_status(mesh, "udp")
    assert (tcp.errors, tcp.refused, tcp.active, udp.errors, udp.refused, udp.active) == (1, 0, 0, 2, 0, 0)
