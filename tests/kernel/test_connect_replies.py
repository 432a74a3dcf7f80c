"""The way back of unconnected UDP: a bounded memory of who was asked, cleaned when a socket closes, its losses counted."""

from __future__ import annotations

import socket

import pytest
from connect_peers import Site, disconnect, eventually, service_status

from ebpfmesh.mesh import Mesh
from ebpfmesh.policy.model import Capacity, Service

pytestmark = pytest.mark.kernel

DNS, TO_DNS = "10.96.0.1:53", ("10.96.0.1", 53)


def dns(site: Site, backends: int, **options: object) -> Mesh:
    return site.mesh(Service("dns", "udp", (DNS,), tuple(site.servers.many(backends, kind="udp"))), **options)


def remembered(mesh: Mesh) -> int:
    return mesh.connect.objects.maps["replies"].count()


def ask(one: socket.socket, count: int) -> None:
    for _ in range(count):
        one.sendto(b"?", TO_DNS)


def sources(one: socket.socket, count: int) -> list[tuple[str, int]]:
    return [one.recvfrom(100)[1] for _ in range(count)]


def test_a_socket_that_closes_leaves_nothing(site: Site) -> None:
    mesh = dns(site, 8)
    held = [site.client(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(5)]
    for one in held:
        ask(one, 16)
        assert set(sources(one, 16)) == {TO_DNS}
    assert remembered(mesh) == 40, "one for each socket and backend, however often they talk"
    for number, one in enumerate(held, 1):
        one.close()
        eventually(lambda left=40 - 8 * number: remembered(mesh) == left)
    assert service_status(mesh, "dns").reply_misses == 0


def test_more_than_eight_backends_are_translated_and_what_stays_is_bounded(site: Site) -> None:
    mesh = dns(site, 20)
    one = site.client(socket.AF_INET, socket.SOCK_DGRAM)
    ask(one, 60)
    assert set(sources(one, 60)) == {TO_DNS}
    assert remembered(mesh) == 20
    one.close()
    eventually(lambda: remembered(mesh) == 12, "a socket cleans its last eight; the rest is the LRU's")
    for _ in range(3):
        again = site.client(socket.AF_INET, socket.SOCK_DGRAM)
        ask(again, 20)
        assert set(sources(again, 20)) == {TO_DNS}, (
            "what is left of a closed socket is not taken for another's"
        )
        again.close()


def test_replies_whose_translation_was_evicted_keep_their_address_and_are_counted(site: Site) -> None:
    mesh = dns(site, 40, capacity=Capacity(udp_flows=16))
    one = site.client(socket.AF_INET, socket.SOCK_DGRAM)
    ask(one, 40)
    found = sources(one, 40)
    misses = [source for source in found if source != TO_DNS]
    assert len(misses) >= 40 - 16
    assert {f"{host}:{port}" for host, port in misses} <= {
        backend.address for backend in service_status(mesh, "dns").backends
    }
    assert service_status(mesh, "dns").reply_misses == len(misses)
    assert remembered(mesh) <= 16


def test_many_sockets_do_not_grow_the_memory(site: Site) -> None:
    mesh = dns(site, 2, capacity=Capacity(udp_flows=64))
    held = site.call(lambda: [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(300)])
    for one in held:
        one.settimeout(10)
        ask(one, 1)
        one.recvfrom(100)
        assert remembered(mesh) <= 64
    for one in held:
        one.close()
    eventually(lambda: remembered(mesh) == 0)


def test_a_datagram_from_a_stranger_keeps_its_source(site: Site) -> None:
    mesh = dns(site, 1)
    one = site.client(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind(("127.0.0.1", 0))
    with site.netns.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.sendto(b"hello", one.getsockname())
        assert one.recvfrom(100) == (b"hello", stranger.getsockname())
        assert service_status(mesh, "dns").reply_misses == 0, "the socket never asked a service"


def test_of_two_services_with_one_backend_the_one_asked_last_is_shown(site: Site) -> None:
    backend = site.servers.udp()
    site.mesh(
        Service("one", "udp", ("10.96.0.1:53",), (backend,)),
        Service("two", "udp", ("10.96.0.2:53",), (backend,)),
    )
    one = site.client(socket.AF_INET, socket.SOCK_DGRAM)
    for host in ("10.96.0.1", "10.96.0.2", "10.96.0.1"):
        one.sendto(b"?", (host, 53))
        assert one.recvfrom(100)[1] == (host, 53)


def test_a_socket_that_was_disconnected_shows_what_it_asks_then(site: Site) -> None:
    backend = site.servers.udp()
    site.mesh(
        Service("one", "udp", ("10.96.0.1:53",), (backend,)),
        Service("two", "udp", ("10.96.0.2:53",), (backend,)),
    )
    direct = ("127.0.0.1", int(backend.rpartition(":")[2]))
    for to in (("10.96.0.2", 53), direct):
        one = site.connect("10.96.0.1:53", socket.SOCK_DGRAM)
        disconnect(one)  # no hook sees it
        one.sendto(b"?", to)
        assert one.recvfrom(100)[1] == to


def test_a_removed_service_still_translates_what_is_under_way(site: Site) -> None:
    with site.netns.socket(socket.AF_INET, socket.SOCK_DGRAM) as slow:
        slow.bind(("127.0.0.1", 0))
        mesh = site.mesh(Service("dns", "udp", (DNS,), (f"127.0.0.1:{slow.getsockname()[1]}",)))
        one = site.client(socket.AF_INET, socket.SOCK_DGRAM)
        ask(one, 1)
        question, asker = slow.recvfrom(100)
        mesh.remove("dns")
        slow.sendto(question, asker)
        assert one.recvfrom(100) == (b"?", TO_DNS)
