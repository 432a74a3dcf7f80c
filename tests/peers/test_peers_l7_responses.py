"""Responses of every kind through the HTTP/1 tier: the client receives the same bytes as without it, or the same error."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable

import pytest

from ebpfmesh.policy import Rule
from peers.l7_client import Client, request
from peers.l7_server import Accepted, Request, Server, echo, plain, server
from peers.l7_stage import Stage

pytestmark = pytest.mark.kernel("sockhash")

RULES = (Rule("no-admin", action="deny", paths=("/admin/**",)),)
BIG = b"0123456789abcdef" * (8 << 16)  # 8 MiB
UPLOAD = b"u" * 1_000_000
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n"
CHUNKS = b"5\r\nhello\r\n6;name=value\r\n world\r\n0\r\nx-sum: 11\r\n\r\n"


def whole(data: bytes, *, ends: bool = False) -> Callable[[Accepted, Request], bool]:
    """Answers with these bytes, behind the request's payload; and ends the connection, or not."""

    def answer(connection: Accepted, head: Request) -> bool:
        if connection.body(head) is None:
            return False
        connection.send(data)
        return not ends

    return answer


def in_pieces(data: bytes) -> Callable[[Accepted, Request], bool]:
    """Answers byte by byte."""

    def answer(connection: Accepted, head: Request) -> bool:
        for n in range(len(data)):
            connection.send(data[n : n + 1])
        return not head.target.endswith("close")

    return answer


def early(connection: Accepted, head: Request) -> bool:
    """413 before the payload, of which it reads nothing more."""
    connection.send(plain(413, b"too much\n", "Connection: close"))
    connection.socket.shutdown(socket.SHUT_WR)
    while connection.receive():  # a client that goes on is not reset before it has read the answer
        pass
    del head
    return False


def resets(data: bytes) -> Callable[[Accepted, Request], bool]:
    """Answers with these bytes, and resets the connection."""

    def answer(connection: Accepted, head: Request) -> bool:
        connection.body(head)
        if data:
            connection.send(data)
            time.sleep(0.05)  # they arrive before the reset
        connection.reset()
        return False

    return answer


def ends_late(connection: Accepted, head: Request) -> bool:
    """Answers, is idle for a while, says 408 and ends."""
    echo(connection, head)
    time.sleep(0.1)
    connection.send(plain(408, b"", "Connection: close"))
    return False


def watched(connection: Accepted, head: Request) -> bool:
    """Answers as much as is read, and watches for the client's end."""
    del head
    rest = memoryview(plain(200, BIG))
    while True:
        readable, writable, _ = select.select(
            [connection.socket], [connection.socket] if rest else [], [], 10
        )
        if writable:
            rest = rest[connection.socket.send(rest[:10_000]) :]
        if readable:
            return connection.receive()


ANSWERS: dict[str, Callable[[Accepted, Request], bool]] = {
    "/interim": whole(
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
        + plain(200, b"last")
    ),
    "/empty": whole(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "/same": whole(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n"),
    "/nothing": whole(plain(200, b"")),
    "/chunked": whole(CHUNKED + CHUNKS),
    "/chunked-in-pieces": in_pieces(CHUNKED + CHUNKS),
    "/in-pieces": in_pieces(plain(200, b"in pieces")),
    "/no-phrase": whole(b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"),
    "/many-headers": whole(plain(200, b"x", *(f"x-{n}: {'v' * 100}" for n in range(120)))),
    "/close": whole(plain(200, b"bye", "Connection: close"), ends=True),
    "/until-the-end": whole(b"HTTP/1.1 200 OK\r\n\r\n" + b"e" * 100_000, ends=True),
    "/old": whole(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nold", ends=True),
    "/big": whole(plain(200, BIG)),
    "/cut": whole(plain(200, BIG)[:100_000], ends=True),
    "/silent-end": whole(b"", ends=True),
    "/garbage": whole(b"this is not HTTP at all\r\n\r\n", ends=True),
    "/two-lengths": whole(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc", ends=True),
    "/early": early,
    "/reset": resets(b""),
    "/reset-midway": resets(plain(200, BIG)[:5000]),
    "/late": ends_late,
    "/strange": whole(b"this is not HTTP, and goes on\r\n\r\n"),
    "/watched": watched,
}


def answer(connection: Accepted, head: Request) -> bool:
    """As the path says; other paths are echoed."""
    path = head.target.partition("?")[0]
    return ANSWERS.get(path, echo)(connection, head)


@pytest.fixture(scope="module")
def behind(stage: Stage) -> Server:
    running: Server = stage.enter(server(answer))
    stage.start(
        stage.service("four", running.port, rules=RULES),
        stage.service("six", running.port, family=6, rules=RULES),
    )
    return running


@pytest.fixture
def web(behind: Server) -> Server:
    """The server behind them, which has forgotten the tests before."""
    behind.accepted.clear()
    return behind


def seen(
    stage: Stage, service: str, pieces: list[bytes], until: int | None, *, mesh: bool
) -> tuple[bytes, str]:
    """What a client receives that sends the pieces: so many bytes, or to the end; and how it ends."""
    with stage.connect(service, mesh=mesh) as connection:
        received = b""
        try:
            for piece in pieces:
                connection.sendall(piece)
            while until is None or len(received) < until:
                data = connection.recv(1 << 16)
                if not data:
                    return received, "end"
                received += data
        except (ConnectionResetError, BrokenPipeError):
            return received, "reset"
    return received, "open"


@pytest.mark.parametrize("service", ["four", "six"])
@pytest.mark.parametrize(
    "path",
    [
        path
        for path in ANSWERS
        if path not in ("/early", "/garbage", "/two-lengths", "/late", "/strange", "/watched")
    ],
)
def test_a_response_is_the_same_and_counted(stage: Stage, web: Server, path: str, service: str) -> None:
    ending = path in ("/close", "/until-the-end", "/old", "/cut", "/silent-end", "/reset", "/reset-midway")
    sent = [request(path)] if ending else [request(path), request("/after")]
    plainly = seen(stage, service, sent[:1], None if ending else len(_expected(path)), mesh=False)
    web.taken()
    requests = len(sent)
    with stage.counts(service, {"requests": requests, "allowed": requests}):
        if ending:
            meshed = seen(stage, service, sent, None, mesh=True)
        else:
            with stage.connect(service) as connection:
                client = Client(connection)
                client.send(sent[0])
                received = b""
                while len(received) < len(_expected(path)):
                    received += connection.recv(1 << 16)
                meshed = received, "open"
                assert client.ask("/after").body == b"GET /after "
    assert meshed == plainly
    [one] = web.taken()
    assert one.received == b"".join(sent)


def _expected(path: str) -> bytes:
    """What the server sends for a path."""

    class Told:
        def __init__(self) -> None:
            self.sent = b""

        def body(self, head: Request) -> Request:
            return head

        def send(self, data: bytes) -> None:
            self.sent += data

    told = Told()
    ANSWERS[path](told, Request("GET", path, b"GET", b""))  # type: ignore[arg-type]
    return told.sent


def test_responses_are_counted_by_their_class(stage: Stage, web: Server) -> None:
    backend = f"127.0.0.1:{web.port}"
    before = stage.rows("four")
    with stage.connect("four") as connection:
        client = Client(connection)
        for path in ("/interim", "/empty", "/same", "/chunked", "/big", "/admin/x"):
            client.send(request(path))
            while (response := client.read()).status in (102, 103):
                pass
            assert response.status in (200, 204, 304, 403)
    web.taken()
    after = stage.rows("four")
    added = {key: after[key] - before.get(key, 0) for key in after if after[key] != before.get(key, 0)}
    assert added == {(backend, "", "2xx"): 4, (backend, "", "3xx"): 1, ("local", "", "4xx"): 1}


@pytest.mark.parametrize("mesh", [False, True])
def test_a_server_that_answers_before_the_payload(stage: Stage, web: Server, mesh: bool) -> None:
    received, end = seen(stage, "four", [request("/early", method="POST", body=UPLOAD)], None, mesh=mesh)
    assert received == plain(413, b"too much\n", "Connection: close")
    assert end == "end"
    [one] = web.taken()
    assert one.received.endswith(b"u" * 100)


def test_what_is_no_response_passes_and_is_counted(stage: Stage, web: Server) -> None:
    for path in ("/garbage", "/two-lengths"):
        plainly = seen(stage, "four", [request(path)], None, mesh=False)
        web.taken()
        with stage.counts("four", {"requests": 1, "allowed": 1, "responses_lost": 1}):
            assert seen(stage, "four", [request(path)], None, mesh=True) == plainly
        web.taken()


def test_a_server_that_gives_an_idle_connection_up(stage: Stage, web: Server) -> None:
    plainly = seen(stage, "four", [request("/late")], None, mesh=False)
    web.taken()
    with stage.counts("four", {"requests": 1, "allowed": 1}):
        assert seen(stage, "four", [request("/late")], None, mesh=True) == plainly
    assert plainly[0].endswith(plain(408, b"", "Connection: close"))


@pytest.mark.parametrize("mesh", [False, True])
def test_a_client_that_goes_away_in_a_response(stage: Stage, web: Server, mesh: bool) -> None:
    with stage.connect("four", mesh=mesh) as connection:
        connection.sendall(request("/watched"))
        assert connection.recv(1000)
    [one] = web.taken()
    # the kernel resets a connection for what lies unread in TCP's queue, not for what lies in that of a sockmap: there
    # a FIN comes first, and where the server wrote behind it, the reset that answers this is read as EPIPE
    assert one.ended in (("closed", "broken") if mesh else ("reset",))


def test_a_reader_that_is_slow_receives_everything(stage: Stage, web: Server) -> None:
    with stage.connect("four") as connection:
        connection.sendall(request("/big"))
        time.sleep(0.3)
        client = Client(connection)
        assert client.read().body == BIG
        assert client.ask("/after").status == 200
    web.taken()


def test_head_has_no_body_whatever_its_length_says(stage: Stage, web: Server) -> None:
    with stage.counts("four", {"requests": 40, "allowed": 40}), stage.connect("four") as connection:
        client = Client(connection)
        client.send(b"".join(request(f"/{n}", method="HEAD" if n % 2 else "GET") for n in range(40)))
        for n in range(40):
            response = client.read(head_only=bool(n % 2))
            assert response.values("content-length") == [str(len(f"{'HEAD' if n % 2 else 'GET'} /{n} "))]
    web.taken()


def test_a_denial_behind_a_response_that_cannot_be_followed_fails_the_send(stage: Stage, web: Server) -> None:
    expected = {"requests": 2, "allowed": 1, "denied": 1, "responses_lost": 1, "outstanding_dropped": 1}
    with stage.counts("four", expected), stage.connect("four") as connection:
        connection.sendall(request("/strange"))
        assert connection.recv(1 << 16).startswith(b"this")
        with pytest.raises(PermissionError):
            connection.sendall(request("/admin/x"))
    [one] = web.taken()
    assert one.received == request("/strange")
