"""Heads that come in pieces, requests behind others: what the client and the server see of a denial in each case."""

from __future__ import annotations

import pytest

from ebpfmesh.policy import Http, Rule
from peers.l7_client import Client, request
from peers.l7_server import Server, server
from peers.l7_stage import Stage

pytestmark = pytest.mark.kernel("sockhash")

RULES = (Rule("no-admin", action="deny", paths=("/admin/**",)),)
DENIED = request("/admin/x", "X-A: b")
ALLOWED = request("/shop/xy", "X-A: b")
SPLITS = range(1, len(DENIED))


@pytest.fixture(scope="module")
def behind(stage: Stage) -> Server:
    """Behind two services: "reply" replies where it can, "drop" fails the send()."""
    running: Server = stage.enter(server())
    policies = {
        "reply": Http(denied_midway="reply", denied_behind="reply"),
        "drop": Http(denied_midway="drop", denied_behind="drop"),
    }
    stage.start(
        *(stage.service(name, running.port, rules=RULES, http=http) for name, http in policies.items())
    )
    return running


@pytest.fixture
def web(behind: Server) -> Server:
    """The server behind them, which has forgotten the tests before."""
    behind.accepted.clear()
    return behind


def test_a_permitted_head_split_at_every_byte_is_one_request(stage: Stage, web: Server) -> None:
    expected = {"requests": 2 * len(SPLITS), "allowed": 2 * len(SPLITS), "connections": len(SPLITS)}
    with stage.counts("reply", expected):
        for at in SPLITS:
            with stage.connect("reply") as connection:
                client = Client(connection)
                client.send(ALLOWED[:at], ALLOWED[at:])
                assert client.read().body == b"GET /shop/xy ", at
                assert client.ask("/again").body == b"GET /again ", at
    for one in web.taken():
        assert one.received == ALLOWED + request("/again")


def test_a_permitted_head_byte_by_byte_with_a_body(stage: Stage, web: Server) -> None:
    whole = request("/shop", body=b"a body", method="POST")
    with (
        stage.connect("reply") as connection,
        stage.counts("reply", {"requests": 2, "allowed": 2, "open": -1}),
    ):
        client = Client(connection)
        for _ in range(2):
            client.send(*(whole[n : n + 1] for n in range(len(whole))))
            assert client.read().body == b"POST /shop a body"
    [one] = web.taken()
    assert one.received == whole * 2


def test_a_denied_head_split_at_every_byte_is_answered_and_ends_the_connection(
    stage: Stage, web: Server
) -> None:
    expected = {
        "requests": len(SPLITS),
        "denied": len(SPLITS),
        "partial_replied": len(SPLITS),
        "swallowed": sum(len(DENIED) - at for at in SPLITS) + len(SPLITS) * len(ALLOWED),
    }
    with stage.counts("reply", expected):
        for at in SPLITS:
            with stage.connect("reply") as connection:
                client = Client(connection)
                client.send(DENIED[:at], DENIED[at:])
                response = client.read()
                assert (response.status, response.values("connection")) == (403, ["close"]), at
                client.send(ALLOWED)  # whatever follows is taken out: the server waits for the rest of a head
    for at, one in zip(SPLITS, web.taken(len(SPLITS)), strict=True):
        assert one.received == DENIED[:at]
        assert one.requests == []


def test_a_denied_head_split_at_every_byte_fails_the_send_where_it_is_dropped(
    stage: Stage, web: Server
) -> None:
    expected = {"requests": len(SPLITS), "denied": len(SPLITS), "partial_dropped": len(SPLITS)}
    with stage.counts("drop", expected):
        for at in SPLITS:
            with stage.connect("drop") as connection:
                connection.sendall(DENIED[:at])
                with pytest.raises(PermissionError):
                    connection.sendall(DENIED[at:])
    for at, one in zip(SPLITS, web.taken(len(SPLITS)), strict=True):
        assert one.received == DENIED[:at]
        assert one.requests == []


@pytest.mark.parametrize("service", ["reply", "drop"])
def test_a_denied_head_in_three_pieces_never_arrives(stage: Stage, web: Server, service: str) -> None:
    for first in range(1, len(DENIED) - 1, 3):
        for second in range(first + 1, len(DENIED), 7):
            with stage.connect(service) as connection:
                client = Client(connection)
                client.send(DENIED[:first], DENIED[first:second])
                if service == "drop":
                    with pytest.raises(PermissionError):
                        client.send(DENIED[second:])
                else:
                    client.send(DENIED[second:])
                    assert client.read().status == 403
    for one in web.taken():
        assert not one.requests
        assert not one.received.endswith(b"\r\n\r\n")


def test_a_denial_is_the_first_of_a_pipeline(stage: Stage, web: Server) -> None:
    with (
        stage.counts(
            "drop", {"requests": 3, "allowed": 2, "denied": 1, "replied": 1, "swallowed": len(DENIED)}
        ),
        stage.connect("drop") as connection,
    ):
        client = Client(connection)
        client.send(DENIED + ALLOWED + request("/b"))
        assert [client.read().status for _ in range(3)] == [403, 200, 200]
    [one] = web.taken()
    assert one.received == ALLOWED + request("/b")


@pytest.mark.parametrize("place", ["middle", "last"])
def test_a_denial_behind_others_fails_the_send(stage: Stage, web: Server, place: str) -> None:
    behind = [ALLOWED] if place == "middle" else []
    with (
        stage.counts("drop", {"requests": 3, "allowed": 2, "denied": 1, "outstanding_dropped": 1}),
        stage.connect("drop") as connection,
    ):
        client = Client(connection)
        with pytest.raises(PermissionError):
            client.send(b"".join([request("/a"), request("/b"), DENIED, *behind]))
        assert [client.read().body for _ in range(2)] == [b"GET /a ", b"GET /b "]
    [one] = web.taken()
    assert one.received == request("/a") + request("/b")


@pytest.mark.parametrize("place", ["middle", "last"])
def test_a_denial_behind_others_is_answered_in_its_turn(stage: Stage, web: Server, place: str) -> None:
    behind = [ALLOWED] if place == "middle" else []
    swallowed = len(DENIED) + len(ALLOWED) * (len(behind) + 1)
    expected = {"requests": 3, "allowed": 2, "denied": 1, "outstanding_replied": 1, "swallowed": swallowed}
    with (
        stage.counts("reply", expected),
        stage.connect("reply") as connection,
    ):
        client = Client(connection)
        client.send(b"".join([request("/a"), request("/b"), DENIED, *behind]))
        assert [client.read().body for _ in range(2)] == [b"GET /a ", b"GET /b "]
        client.send(ALLOWED)  # the reply waits for the next send() behind the last response
        response = client.read()
        assert (response.status, response.values("connection")) == (403, ["close"])
    [one] = web.taken()
    assert one.received == request("/a") + request("/b")


def test_a_pipeline_of_denials_is_answered_one_by_one(stage: Stage, web: Server) -> None:
    expected = {"requests": 8, "allowed": 1, "denied": 7, "replied": 7, "swallowed": 7 * len(DENIED)}
    with stage.counts("drop", expected), stage.connect("drop") as connection:
        client = Client(connection)
        client.send(DENIED * 7)
        assert [client.read().status for _ in range(7)] == [403] * 7
        assert client.ask("/a").body == b"GET /a "
    [one] = web.taken()
    assert one.received == request("/a")


def test_sixty_pipelined_requests(stage: Stage, web: Server) -> None:
    sent = b"".join(request(f"/{n}", body=b"x" * n, method="POST") for n in range(1, 61))
    with stage.counts("drop", {"requests": 60, "allowed": 60}), stage.connect("drop") as connection:
        client = Client(connection)
        client.send(sent)
        assert [client.read().body for _ in range(60)] == [
            b"POST /%d %s" % (n, b"x" * n) for n in range(1, 61)
        ]
    [one] = web.taken()
    assert one.received == sent
