"""Replies on the wire: byte for byte what was rendered, whatever their length, in every form."""

from __future__ import annotations

import socket

import pytest
from l7_http2_site import Http2Site

from ebpfmesh.policy import Limit, Reply, Rule, render
from ebpfmesh.policy.reply import standard

pytestmark = pytest.mark.kernel(feature="loop")
SITE = Http2Site

LENGTHS = (0, 1, 7, 8, 9, 15, 16, 17, 63, 64, 65, 127, 128, 255, 256, 257, 511, 512, 513, 700, 850)
REPLIES = (
    *(
        Reply(f"body-{length}", 403, body="".join(chr(33 + at % 90) for at in range(length)))
        for length in LENGTHS
    ),
    Reply("sign-in", 302, location="https://login.example.org/?a=b&c", headers={"Cache-Control": "no-store"}),
    Reply("nothing", 204, headers={"X-Why": "policy"}),
    Reply("same", 304),
    Reply("odd", 599, body="ü\n", content_type="text/html; charset=utf-8"),
)
RULES = tuple(
    Rule(f"rule-{one.name}", action="deny", paths=(f"/{one.name}/**",), reply=one.name) for one in REPLIES
)


def answer(connection: socket.socket, request: str, length: int) -> bytes:
    """As many bytes as are expected, and no more."""
    connection.sendall(request.encode())
    got = b""
    while len(got) < length and (more := connection.recv(length - len(got))):
        got += more
    connection.setblocking(False)
    with pytest.raises(BlockingIOError):
        connection.recv(1)
    connection.settimeout(5)
    return got


def test_http1_replies_are_what_was_rendered(site: Http2Site) -> None:
    site.start(site.http(rules=RULES), replies=REPLIES)
    connection = site.connect()
    for reply in REPLIES:
        open_ = render.render(reply).open
        get, head = (f"{method} /{reply.name}/x HTTP/1.1\r\nHost: web\r\n\r\n" for method in ("GET", "HEAD"))
        assert answer(connection, get, len(open_.text)) == open_.text, reply.name
        assert answer(connection, head, open_.head) == open_.text[: open_.head], reply.name
    assert site.get(connection, "/still/good").body == b"/still/good"
    assert bytes(site.server.received[0]).count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("l7", ["http2", "grpc"])
def test_http2_replies_are_what_was_rendered(site: Http2Site, l7: str) -> None:
    site.start(site.http2(rules=RULES, l7=l7), replies=REPLIES)
    client = site.client()
    for reply in REPLIES:
        got = client.get(
            f"/{reply.name}/x", headers=[("content-type", "application/grpc")] if l7 == "grpc" else []
        )
        if l7 == "grpc":
            assert (got.status, got.headers["grpc-status"], got.body) == (
                200, str(render.grpc_status(reply.status)), b"",
            ), reply.name  # fmt: skip
            continue
        http2 = render.render(reply).http2
        assert (got.status, got.body) == (reply.status, http2.text[http2.head :]), reply.name
        for name, value in reply.headers.items():
            assert got.headers[name.lower()] == value
        assert got.headers.get("location") == reply.location
    assert client.get("/still/good").body == b"/still/good"
    assert site.h2.paths == ["/still/good"]
    assert not site.h2.errors


@pytest.mark.parametrize("rate", ["1/s", "1/m", "1/h", "2/h"])
def test_retry_after_fits_its_place(site: Http2Site, rate: str) -> None:
    site.start(site.http(limits=(Limit("one", rate=rate, burst=1),)))
    connection = site.connect()
    assert site.get(connection).status == 200
    rendered = render.render(standard(429), retries=True).open
    request = "GET / HTTP/1.1\r\nHost: web\r\n\r\n"
    got = answer(connection, request, len(rendered.text))
    end = rendered.retry + render.RETRY_DIGITS
    assert got[: rendered.retry] + got[end:] == rendered.text[: rendered.retry] + rendered.text[end:]
    most = {"1/s": 1, "1/m": 60, "1/h": 3600, "2/h": 1800}[rate]
    assert most - 1 <= int(got[rendered.retry : end]) <= most
