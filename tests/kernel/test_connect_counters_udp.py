"""Counters of UDP: datagrams of unconnected sockets, and connected sockets, whatever they connect to next."""

from __future__ import annotations

import errno
import socket
import subprocess
import sys

import pytest
from connect_peers import Site, counts, disconnect, idle, service_status

from ebpfmesh.mesh import Mesh
from ebpfmesh.policy.model import Service

pytestmark = pytest.mark.kernel

DNS, TO_DNS = "10.96.0.1:53", ("10.96.0.1", 53)


@pytest.fixture
def dns(site: Site) -> Mesh:
    return site.mesh(Service("dns", "udp", (DNS,), tuple(site.servers.many(2, kind="udp"))))


def test_datagrams_of_unconnected_sockets_are_counted_by_backend(site: Site, dns: Mesh) -> None:
    one = site.client(socket.AF_INET, socket.SOCK_DGRAM)
    for _ in range(10):
        one.sendto(b"query", TO_DNS)
        one.recv(100)
    seen = service_status(dns, "dns")
    assert counts(seen) == (0, 0, 0, 0)
    assert (seen.datagrams, seen.reply_misses) == (10, 0)
    assert [backend.datagrams for backend in seen.backends] == [5, 5]


def test_a_connected_udp_socket_is_open_from_connect_to_close(site: Site, dns: Mesh) -> None:
    held = [site.connect(DNS, socket.SOCK_DGRAM) for _ in range(4)]
    assert counts(service_status(dns, "dns")) == (4, 4, 0, 0)
    for one in held:
        one.send(b"query")
        one.recv(100)
        one.close()
    assert counts(idle(dns, "dns")) == (4, 0, 0, 4)
    assert service_status(dns, "dns").datagrams == 0


def test_a_udp_socket_that_connects_anew_leaves_what_it_was_connected_to(site: Site, dns: Mesh) -> None:
    direct = site.servers.udp()
    one = site.connect(DNS, socket.SOCK_DGRAM)
    one.connect(TO_DNS)
    assert counts(service_status(dns, "dns")) == (2, 1, 0, 1)
    host, port = "127.0.0.1", int(direct.rpartition(":")[2])
    one.connect((host, port))  # no service
    assert counts(service_status(dns, "dns")) == (2, 0, 0, 2)
    assert one.getpeername() == (host, port)
    one.send(b"x")
    assert one.recvfrom(100) == (f"{direct}\nx".encode(), (host, port))


def test_a_disconnected_udp_socket_counts_until_it_is_used_or_closed(site: Site, dns: Mesh) -> None:
    one = site.connect(DNS, socket.SOCK_DGRAM)
    disconnect(one)  # no hook sees this
    with pytest.raises(OSError, match="not connected"):
        one.getpeername()
    assert service_status(dns, "dns").active == 1
    one.sendto(b"x", ("127.0.0.1", 9))
    assert counts(service_status(dns, "dns")) == (1, 0, 0, 1)
    again = site.connect(DNS, socket.SOCK_DGRAM)
    disconnect(again)
    again.close()
    assert counts(idle(dns, "dns")) == (2, 0, 0, 2)


def test_a_refused_udp_socket_stays_connected_to_what_it_was(site: Site, dns: Mesh) -> None:
    dns.put(Service("none", "udp", ("10.96.0.2:53",), ()))
    one = site.connect(DNS, socket.SOCK_DGRAM)
    assert one.connect_ex(("10.96.0.2", 53)) == errno.ECONNREFUSED
    assert one.getpeername() == TO_DNS
    one.send(b"x")
    assert one.recvfrom(100)[1] == TO_DNS
    assert counts(service_status(dns, "dns")) == (1, 1, 0, 0)


RACE = """
import socket, sys, threading
ends = [("10.96.0.1", 53), ("127.0.0.1", 9), ("10.96.0.2", 53)]
for _ in range(20):
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    def go(first):
        for number in range(300):
            one.connect_ex(ends[(first + number) % 3])
    threads = [threading.Thread(target=go, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one.close()
"""


def test_threads_that_connect_one_udp_socket_at_once_are_counted_once_each(site: Site) -> None:
    """Programs run under the socket's lock, so no record is written by two at once, which would be active for ever."""
    mesh = site.mesh(
        *(
            Service(f"dns{number}", "udp", (f"10.96.0.{number}:53",), tuple(site.servers.many(2, kind="udp")))
            for number in (1, 2)
        )
    )
    for _ in range(3):
        assert site.call(lambda: subprocess.run([sys.executable, "-c", RACE], check=False)).returncode == 0
    for service in mesh.status().services:
        assert service.active == 0
        assert service.opened == service.closed
        assert [(one.active, one.opened - one.closed) for one in service.backends] == [(0, 0)] * 2
