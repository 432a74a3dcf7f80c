"""What becomes another protocol: WebSocket goes through, h2c does not, CONNECT as the rules say."""

from __future__ import annotations

import os
import sys

import pytest

from ebpfmesh.policy import Http, Rule
from peers.l7_client import Client, request
from peers.l7_server import Accepted, Request, Server, echo, plain, server
from peers.l7_stage import Stage
from peers.servers import free_port, process

pytestmark = pytest.mark.kernel("sockhash")

RULES = (Rule("no-admin", action="deny", paths=("/admin/**",)),)
UPGRADE = ("Connection: keep-alive, Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
H2C = ("Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA")


def answer(connection: Accepted, head: Request) -> bool:
    """Switches protocols where it is asked to, and sends back what comes then; unless the path says that it does not."""
    if head.method == "CONNECT" and "refuse" not in head.target:
        connection.send(b"HTTP/1.1 200 Connected\r\n\r\n")
    elif head.values("upgrade") and head.target != "/refuses":
        connection.send(SWITCHING.replace(b"websocket", head.values("upgrade")[0].encode()))
    elif head.method == "CONNECT":
        connection.send(plain(405, b"no\n"))
        return True
    else:
        return echo(connection, head)
    while data := connection.socket.recv(1 << 16):
        connection.received += data
        connection.send(data)
    return False


@pytest.fixture(scope="module")
def behind(stage: Stage) -> Server:
    running: Server = stage.enter(server(answer))
    stage.start(
        stage.service("rules", running.port, rules=RULES),
        stage.service("open", running.port),
        stage.service("passes", running.port, rules=RULES, http=Http(undecodable="pass")),
        stage.service("traced", running.port, rules=RULES, http=Http(trace=True)),
        stage.service(
            "no-connect", running.port, rules=(Rule("no-tunnels", action="deny", methods=("CONNECT",)),)
        ),
    )
    return running


@pytest.fixture(scope="module")
def sockets(stage: Stage, behind: Server) -> None:
    """A server by the websockets package behind a service of the same mesh."""
    pytest.importorskip("websockets")
    del behind
    here: int = stage.netns.call(free_port)
    command = [sys.executable, "-c", SERVER, str(here)]
    stage.enter(process(command, here, stage.directory / "websockets.log"))
    stage.add(stage.service("sockets", here, rules=RULES))


@pytest.fixture
def web(behind: Server) -> Server:
    """The server behind them, which has forgotten the tests before."""
    behind.accepted.clear()
    return behind


@pytest.mark.parametrize("service", ["rules", "open", "traced"])
def test_websocket_bytes_pass_as_they_are_in_both_directions(stage: Stage, web: Server, service: str) -> None:
    frames = [os.urandom(size) for size in (1, 2, 100, 5000, 70_000)] + [
        b"GET /admin/x HTTP/1.1\r\nHost: a\r\n\r\n"
    ]
    with stage.counts(service, {"requests": 2, "allowed": 2}), stage.connect(service) as connection:
        client = Client(connection)
        assert client.ask("/before").status == 200
        client.send(request("/socket", *UPGRADE))
        assert client.read().status == 101
        received = b""
        for frame in frames:
            client.send(frame)
            received = b""
            while len(received) < len(frame):
                received += connection.recv(1 << 17)
            assert received == frame
    [one] = web.taken()
    assert one.received.endswith(b"".join(frames))


def test_a_denied_upgrade_leaves_the_connection(stage: Stage, web: Server) -> None:
    swallowed = len(request("/admin/socket", *UPGRADE))
    expected = {"requests": 2, "allowed": 1, "denied": 1, "replied": 1, "swallowed": swallowed}
    with stage.counts("rules", expected), stage.connect("rules") as connection:
        client = Client(connection)
        assert client.ask("/admin/socket", *UPGRADE).status == 403
        assert client.ask("/after").status == 200
    [one] = web.taken()
    assert one.received == request("/after")


def test_an_upgrade_that_the_server_refuses_leaves_http(stage: Stage, web: Server) -> None:
    with stage.connect("rules") as connection:
        client = Client(connection)
        assert client.ask("/refuses", *UPGRADE).body == b"GET /refuses "
        assert client.ask("/admin/x").status == 403
        assert client.ask("/after").status == 200
    [one] = web.taken()
    assert one.received == request("/refuses", *UPGRADE) + request("/after")


@pytest.mark.parametrize("upgrade", [
    "h2c", "H2C", "websocket, h2c", "h2c, websocket", "TLS/1.0", "websocket/13", "websocketx",
])  # fmt: skip
def test_another_upgrade_is_refused_whoever_would_take_it(stage: Stage, web: Server, upgrade: str) -> None:
    with stage.connect("rules") as connection:
        client = Client(connection)
        response = client.ask("/x", *H2C, f"Upgrade: {upgrade}")
        assert response.status in (400, 403)
    for one in web.taken():
        assert one.received == b""


def test_two_upgrades_are_refused(stage: Stage, web: Server) -> None:
    with stage.connect("rules") as connection:
        assert Client(connection).ask("/x", *H2C, "Upgrade: websocket", "Upgrade: h2c").status == 400
    [one] = web.taken()
    assert one.received == b""


def test_h2c_without_the_option_of_connection_tunnels_nothing(stage: Stage, web: Server) -> None:
    """The server switches though nobody asked by the rules of RFC 9110; what follows is judged, or refused."""
    with stage.connect("rules") as connection:
        client = Client(connection)
        client.send(request("/x", "Upgrade: h2c"))
        connection.recv(1 << 16)
        try:
            client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", request("/admin/x"))
            client.end()
        except OSError:
            pass
    [one] = web.taken()
    assert one.received == request("/x", "Upgrade: h2c")


def test_h2c_passes_where_what_cannot_be_followed_does(stage: Stage, web: Server) -> None:
    with stage.connect("passes") as connection:
        client = Client(connection)
        client.send(request("/x", *H2C, "Upgrade: h2c"))
        assert client.read().status == 101
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert connection.recv(1 << 16) == b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    web.taken()


CONNECT = b"CONNECT somewhere.example:80 HTTP/1.1\r\nHost: somewhere.example:80\r\n\r\n"


def test_connect_is_refused_by_a_rule_for_it(stage: Stage, web: Server) -> None:
    expected = {"requests": 2, "denied": 1, "replied": 1, "allowed": 1, "swallowed": len(CONNECT)}
    with stage.counts("no-connect", expected), stage.connect("no-connect") as connection:
        client = Client(connection)
        client.send(CONNECT)
        assert client.read().status == 403
        assert client.ask("/after").status == 200
    [one] = web.taken()
    assert one.received == request("/after")


@pytest.mark.parametrize("service", ["rules", "open"])
def test_no_tunnel_is_opened_past_the_rules(stage: Stage, web: Server, service: str) -> None:
    expected = {"requests": 2, "denied": 1, "replied": 1, "allowed": 1, "swallowed": len(CONNECT)}
    with stage.counts(service, expected), stage.connect(service) as connection:
        client = Client(connection)
        client.send(CONNECT)
        assert client.read().status == 400
        assert client.ask("/after").status == 200
    [one] = web.taken()
    assert one.received == request("/after")


def test_a_tunnel_passes_where_what_cannot_be_followed_does(stage: Stage, web: Server) -> None:
    with stage.connect("passes") as connection:
        client = Client(connection)
        client.send(CONNECT)
        assert client.read().status == 200
        client.send(b"\0anything")
        assert connection.recv(1 << 16) == b"\0anything"
        refused = CONNECT.replace(b"somewhere", b"refuse")
    with stage.connect("passes") as connection:
        client = Client(connection)
        client.send(refused)
        assert client.read().status == 405
        assert client.ask("/admin/x").status == 403
        assert client.ask("/after").status == 200
    assert web.taken(2)[1].received == refused + request("/after")


SCRIPT = """
import asyncio, sys, websockets
async def main():
    messages = ["text", b"bytes", "x" * 300000, b"", "last"]
    async with websockets.connect(sys.argv[1], compression=sys.argv[2] or None, proxy=None) as socket:
        for message in messages:
            await socket.send(message)
            assert await socket.recv() == message
        waiter = await socket.ping()
        await waiter
        print(len(messages), socket.state.name)
    print(socket.close_code)
asyncio.run(main())
"""
SERVER = """
import asyncio, sys, websockets
async def echo(socket):
    async for message in socket:
        await socket.send(message)
async def main():
    async with websockets.serve(echo, "127.0.0.1", int(sys.argv[1])) as server:
        await server.serve_forever()
asyncio.run(main())
"""


@pytest.mark.parametrize("compression", ["", "deflate"])
def test_the_websockets_package_with_itself(stage: Stage, sockets: None, compression: str) -> None:
    del sockets
    url = f"ws://{stage.address('sockets')}"
    with stage.counts("sockets", {"requests": 1, "allowed": 1, "connections": 1}):
        finished = stage.run([sys.executable, "-c", SCRIPT, f"{url}/socket", compression], mesh=True)
    assert finished.out.decode().split() == ["5", "OPEN", "1000"], finished.err.decode()
    denied = stage.run([sys.executable, "-c", SCRIPT, f"{url}/admin", compression], mesh=True)
    assert b"HTTP 403" in denied.err
