"""Stopping a mesh with policies while connections are open: they go on, what they need stays, and is collected later."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from l7_site import NO_ADMIN, L7Site

from ebpfmesh.ownership import cleanup
from ebpfmesh.testing import eventually

pytestmark = pytest.mark.kernel("sockhash")
SITE = L7Site


def pins(site: L7Site) -> list[str]:
    """The names of the pins that are there, without directories."""
    return sorted(path.name for path in site.bpffs.rglob("*") if "." not in path.name and path.is_file())


def test_stop_waits_until_the_last_connection_has_closed(site: L7Site) -> None:
    mesh = site.start(site.http(rules=(NO_ADMIN,)), drain_for=20.0)
    connection = site.connect()
    assert site.get(connection, "/admin").status == 403

    timer = threading.Timer(1.0, connection.close)
    timer.start()
    began = time.monotonic()
    assert mesh.close() == []
    assert 0.8 < time.monotonic() - began < 15
    timer.join()
    assert pins(site) == []


def test_what_is_open_at_the_end_goes_on_and_the_next_start_lives_beside_it(site: L7Site) -> None:
    mesh = site.start(site.http(rules=(NO_ADMIN,)), drain_for=0.3)
    connection = site.connect()
    assert site.get(connection, "/admin").status == 403
    notices = mesh.close()
    assert any("1 connection is still open" in one for one in notices)
    assert pins(site) == [
        "1-l7_marks",
        "1-l7_received",
        "1-l7_sent",
        "1-l7_sockets",
        "1-link-received",
        "1-link-sent",
        "layout",
    ]
    assert site.get(connection, "/admin", body=b"y" * 500_000).body == b"/admin", (
        "it passes, and loses no byte"
    )
    again = site.start(site.http(rules=(NO_ADMIN,)), drain_for=0.3)
    assert site.get(connection, "/admin").status == 200
    fresh = site.connect()
    assert site.get(fresh, "/admin").status == 403
    assert again.status().draining == 1
    again.collect()
    assert "1-l7_sockets" in pins(site)
    assert site.get(connection, "/admin").status == 200
    connection.close()

    def collected() -> bool:
        again.collect()
        return "1-l7_sockets" not in pins(site)

    assert eventually(collected)
    assert site.get(fresh, "/admin").status == 403
    fresh.close()
    assert again.close() == []
    assert pins(site) == []


def test_two_stops_leave_two_sets_and_cleanup_collects_what_has_ended(site: L7Site) -> None:
    open_ones = []
    for _ in range(2):
        mesh = site.start(site.http(rules=(NO_ADMIN,)), drain_for=0.2)
        open_ones.append(site.connect())
        assert site.get(open_ones[-1], "/admin").status == 403
        assert mesh.close()
    assert {name.split("-")[0] for name in pins(site)} == {"1", "2", "layout"}
    open_ones[0].close()
    ended = site.run("cleanup", "l7")
    assert ended.returncode == 1, ended.stderr
    assert "1 connection" in ended.stderr
    assert {name.split("-")[0] for name in pins(site)} == {"2", "layout"}
    assert site.get(open_ones[1], "/admin").status == 200
    open_ones[1].close()
    assert eventually(lambda: site.run("cleanup", "l7").returncode == 0)
    assert pins(site) == []


def test_a_dead_agents_connections_drain_by_cleanup(site: L7Site) -> None:
    agent = site.agent(site.http(rules=(NO_ADMIN,)))
    connection = site.connect()
    assert site.get(connection, "/admin").status == 403
    agent.kill()
    ended = site.run("cleanup", "l7")
    assert (ended.returncode, "1 connection" in ended.stderr) == (1, True), ended
    assert site.get(connection, "/admin", body=b"z" * 200_000).status == 200
    with pytest.raises(OSError, match=r"unreachable|timed out|refused"):
        site.connect()
    connection.close()
    assert eventually(lambda: site.run("cleanup", "l7").returncode == 0)
    assert site.left() == []


def test_cleanup_by_force_resets_what_is_open(site: L7Site) -> None:
    agent = site.agent(site.http(rules=(NO_ADMIN,)))
    connections = [site.connect() for _ in range(3)]
    for connection in connections:
        assert site.get(connection, "/admin").status == 403
        assert site.get(connection, "/").status == 200
    agent.kill()
    ended = site.run("cleanup", "l7", "--force")
    assert ended.returncode == 0, ended.stderr
    for connection in connections:
        with pytest.raises(ConnectionError):
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert site.left() == []


def test_cleanup_by_force_ends_a_draining_set(site: L7Site) -> None:
    mesh = site.start(site.http(rules=(NO_ADMIN,)), drain_for=0.2)
    connection = site.connect()
    assert site.get(connection, "/admin").status == 403
    assert mesh.close()
    ended = site.run("cleanup", "l7", "--force")
    assert ended.returncode == 0, ended.stderr
    with pytest.raises(ConnectionError):
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert site.left() == []


def test_unread_data_survives_a_stop(site: L7Site) -> None:
    mesh = site.start(site.http(rules=(NO_ADMIN,)), drain_for=0.2)
    connection = site.connect()
    target = "/" + "a" * 1500
    connection.sendall(b"GET %s HTTP/1.1\r\nHost: web\r\n\r\n" % target.encode() * 20)
    time.sleep(0.3)
    mesh.close()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
    received = b""
    while received.count(target.encode()) < 20:
        more = connection.recv(65536)
        assert more
        received += more
    assert received.count(b"HTTP/1.1 200 OK") == 20
    connection.close()
    assert eventually(lambda: site.run("cleanup", "l7").returncode == 0)


def test_cleanup_refuses_while_an_agent_lives(site: L7Site) -> None:
    agent = site.agent(site.http(rules=(NO_ADMIN,)))
    connection = site.connect()
    assert site.get(connection, "/admin").status == 403
    assert site.run("cleanup", "l7").returncode == 1
    assert site.get(connection, "/admin").status == 403, "nothing was touched"
    connection.close()
    assert agent.tell("close") == "closed"
    assert not cleanup("l7", site.root, site.bpffs).left
