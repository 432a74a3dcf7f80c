"""Counters say exactly what happened, whatever way a connection ends."""

from __future__ import annotations

import errno
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from connect_peers import (
    RESET,
    Site,
    aborting,
    backend_status,
    counts,
    disconnect,
    eventually,
    greeting,
    idle,
    service_status,
    sums_agree,
)

from ebpfmesh.mesh import Mesh
from ebpfmesh.policy.model import Service

pytestmark = pytest.mark.kernel

WEB, DNS = "10.96.0.1:80", "10.96.0.1:53"
TO_WEB, TO_DNS = ("10.96.0.1", 80), ("10.96.0.1", 53)


@pytest.fixture
def web(site: Site) -> Mesh:
    return site.mesh(Service("web", "tcp", (WEB, "[fd00::1]:80"), tuple(site.servers.many(2))))


# --- TCP -------------------------------------------------------------------------------------------------------------


def test_connections_and_payload_bytes_are_counted_exactly(site: Site, web: Mesh) -> None:
    received = 0
    for length in range(1, 21):
        with site.connect(WEB) as one:
            received += len(greeting(one)) + 1
            one.send(bytes(length))
            while length:
                got = len(one.recv(length))
                length -= got  # noqa: PLW2901 - what is still to come
                received += got
    seen = idle(web, "web")
    assert counts(seen) == (20, 0, 0, 20)
    assert (seen.bytes_sent, seen.bytes_received) == (210, received)
    assert [one.opened for one in seen.backends] == [10, 10]
    sums_agree(seen)


def test_open_connections_are_active(site: Site, web: Mesh) -> None:
    held = [site.connect(WEB) for _ in range(7)]
    assert counts(service_status(web, "web")) == (7, 7, 0, 0)
    for number, one in enumerate(held):
        greeting(one)
        one.close()
        eventually(lambda left=6 - number: service_status(web, "web").active == left)
    assert counts(service_status(web, "web")) == (7, 0, 0, 7)


def ended_by_the_client(one: socket.socket) -> None:
    greeting(one)
    one.close()


def ended_with_unread_data(one: socket.socket) -> None:
    one.recv(1)
    one.close()  # the rest of the greeting is unread: TCP resets


def ended_by_a_reset_of_the_client(one: socket.socket) -> None:
    greeting(one)
    aborting(one)
    one.close()


def ended_by_a_reset_of_the_server(one: socket.socket) -> None:
    greeting(one)
    one.send(RESET)
    with pytest.raises(ConnectionResetError):
        one.recv(1)


def ended_by_half_close(one: socket.socket) -> None:
    greeting(one)
    one.send(b"bye")
    one.shutdown(socket.SHUT_WR)
    assert one.recv(3) == b"bye"
    assert one.recv(1) == b""
    one.close()


def ended_by_disconnecting(one: socket.socket) -> None:
    greeting(one)
    disconnect(one)


ENDS = [
    ended_by_the_client, ended_with_unread_data, ended_by_a_reset_of_the_client, ended_by_a_reset_of_the_server,
    ended_by_half_close, ended_by_disconnecting,
]  # fmt: skip


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("address", [WEB, "[fd00::1]:80"], ids=["v4", "v6"])
def test_however_a_connection_ends_it_is_closed_once(
    site: Site, web: Mesh, address: str, end: Callable[[socket.socket], None]
) -> None:
    for _ in range(5):
        end(site.connect(address))
    assert counts(idle(web, "web")) == (5, 0, 0, 5)


def test_a_socket_used_for_several_connections_counts_each(site: Site, web: Mesh) -> None:
    one = site.client(socket.AF_INET)
    for number in range(1, 5):
        one.connect(TO_WEB)
        greeting(one)
        disconnect(one)
        assert counts(service_status(web, "web")) == (number, 0, 0, number)


def test_a_connect_that_is_refused_by_the_backend_failed(site: Site) -> None:
    with site.netns.socket(socket.AF_INET) as closed:
        closed.bind(("127.0.0.1", 0))
        mesh = site.mesh(Service("web", "tcp", (WEB,), (f"127.0.0.1:{closed.getsockname()[1]}",)))
        for number in range(1, 6):
            with site.client(socket.AF_INET) as one:
                assert one.connect_ex(TO_WEB) == errno.ECONNREFUSED
                assert counts(service_status(mesh, "web")) == (0, 0, number, 0), "at once, not at its close()"
    seen = service_status(mesh, "web")
    assert counts(seen) == (0, 0, 5, 0)
    sums_agree(seen)


def test_a_connect_that_finds_no_route_failed(site: Site) -> None:
    mesh = site.mesh(Service("web", "tcp", (WEB,), ("192.0.2.1:80",)))
    with site.client(socket.AF_INET) as one:
        assert one.connect_ex(TO_WEB) == errno.ENETUNREACH
        assert one.connect_ex(TO_WEB) == errno.ENETUNREACH
    assert counts(idle(mesh, "web")) == (0, 0, 2, 0)


@pytest.fixture
def silent(site: Site) -> str:
    """A backend that never answers a SYN: its accept queue is full."""
    listener = site.netns.socket(socket.AF_INET)
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    to = listener.getsockname()
    filling = [site.netns.socket(socket.AF_INET) for _ in range(2)]
    for one in filling:
        one.setblocking(False)
        one.connect_ex(to)
    yield f"127.0.0.1:{to[1]}"
    for one in (listener, *filling):
        one.close()


def test_a_close_while_connecting_is_a_failure(site: Site, silent: str) -> None:
    mesh = site.mesh(Service("web", "tcp", (WEB,), (silent,)))
    for _ in range(3):
        one = site.client(socket.AF_INET)
        one.setblocking(False)
        assert one.connect_ex(TO_WEB) == errno.EINPROGRESS
        assert service_status(mesh, "web").active == 1
        one.close()
        idle(mesh, "web")
    assert counts(service_status(mesh, "web")) == (0, 0, 3, 0)


def test_a_connect_that_times_out_failed(site: Site, silent: str) -> None:
    mesh = site.mesh(Service("web", "tcp", (WEB,), (silent,)))
    one = site.client(socket.AF_INET)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 200)
    one.setblocking(True)
    assert one.connect_ex(TO_WEB) == errno.ETIMEDOUT
    assert counts(service_status(mesh, "web")) == (0, 0, 1, 0)


@pytest.mark.parametrize("address", [WEB, DNS])
def test_a_connection_ends_with_its_last_descriptor(site: Site, address: str) -> None:
    kind, backend = (
        (socket.SOCK_STREAM, site.servers.tcp())
        if address == WEB
        else (socket.SOCK_DGRAM, site.servers.udp())
    )
    mesh = site.mesh(Service("svc", "tcp" if address == WEB else "udp", (address,), (backend,)))
    one = site.connect(address, kind)
    if address == WEB:
        greeting(one)
    other = one.dup()
    one.close()
    assert counts(service_status(mesh, "svc")) == (1, 1, 0, 0)
    other.close()
    assert counts(idle(mesh, "svc")) == (1, 0, 0, 1)


def test_a_connection_that_was_never_waited_for_is_counted_when_it_opens(site: Site, web: Mesh) -> None:
    one = site.client(socket.AF_INET)
    one.setblocking(False)
    one.connect_ex(TO_WEB)
    eventually(lambda: counts(service_status(web, "web")) == (1, 1, 0, 0))
    one.close()
    assert counts(idle(web, "web")) == (1, 0, 0, 1)


def test_a_connection_outlives_its_descriptor_until_tcp_ends_it(site: Site) -> None:
    listener = site.netns.socket(socket.AF_INET)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    mesh = site.mesh(Service("web", "tcp", (WEB,), (f"127.0.0.1:{listener.getsockname()[1]}",)))
    one = site.connect(WEB)
    served, _ = listener.accept()
    listener.close()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    one.setblocking(False)
    sent = one.send(
        bytes(1 << 22)
    )  # more than the server's window takes: close() leaves the kernel to send the rest
    one.close()
    assert counts(service_status(mesh, "web")) == (1, 1, 0, 0)
    received = 0
    while more := len(served.recv(1 << 16)):
        received += more
    served.close()
    seen = idle(mesh, "web")
    assert received == sent
    assert counts(seen) == (1, 0, 0, 1)
    assert seen.bytes_sent == sent


# --- refused, and everything at once --------------------------------------------------------------------------------------


def test_refused_connections_are_counted_beside_the_others(site: Site, web: Mesh) -> None:
    greeting(site.connect(WEB))
    web.put(Service("web", "tcp", (WEB,), ()))
    for _ in range(3):
        assert site.client(socket.AF_INET).connect_ex(TO_WEB) == errno.ECONNREFUSED
    seen = service_status(web, "web")
    assert (seen.refused, *counts(seen)) == (3, 1, 1, 0, 0)


LOAD = """
import random, socket, struct, sys
seed, rounds, closed = map(int, sys.argv[1:])
dice = random.Random(seed)
opened = failed = 0
held = []
for _ in range(rounds):
    one = socket.socket()
    one.settimeout(20)
    way = dice.randrange(5)
    if way == 0:
        one.setblocking(False)
        one.connect_ex(("10.96.0.1", 80))
        one.close()  # wherever it is
        continue
    if way == 1:
        assert one.connect_ex(("10.96.0.2", 80)) == 111
        failed += 1
        one.close()
        continue
    one.connect(("10.96.0.1", 80))
    opened += 1
    if way == 2:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if way == 3:
        held.append(one)
        continue
    one.close()
    if len(held) > 20:
        held.pop(dice.randrange(20)).close()
print(opened, failed)
"""


def test_under_two_processes_at_once_nothing_is_lost_and_active_ends_at_0(site: Site) -> None:
    with site.netns.socket(socket.AF_INET) as closed:
        closed.bind(("127.0.0.1", 0))
        mesh = site.mesh(
            Service("web", "tcp", (WEB,), tuple(site.servers.many(3)), balance="random"),
            Service("bad", "tcp", ("10.96.0.2:80",), (f"127.0.0.1:{closed.getsockname()[1]}",)),
        )
        children = site.call(
            lambda: [
                subprocess.Popen(
                    [sys.executable, "-c", LOAD, str(seed), "1000", "0"], stdout=subprocess.PIPE, text=True
                )
                for seed in range(2)
            ]
        )
        while any(child.poll() is None for child in children):
            for service in mesh.status().services:
                for one in (service, *service.backends):
                    assert 0 <= one.active < 1 << 32, "below 0 it would be near 2 to the 64th"
        said = [tuple(map(int, child.communicate()[0].split())) for child in children]
        assert [child.returncode for child in children] == [0, 0]
    web, bad = idle(mesh, "web"), idle(mesh, "bad")
    assert counts(bad) == (0, 0, sum(failed for _, failed in said), 0)
    assert web.opened >= sum(opened for opened, _ in said)
    assert web.opened == web.closed
    assert all(one.active == 0 and one.opened == one.closed for one in web.backends)
    sums_agree(web)
    assert Path(site.cgroup.path).exists()
    assert backend_status(mesh, "bad", bad.backends[0].address).failed == bad.failed
