"""Real peers on loopback, recorded and decoded exactly: nghttp, h2load and curl against nghttpd."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ebpfmesh import l7
from ebpfmesh.l7 import http2
from ebpfmesh.l7.contract import Config
from peers.relay import Recording, Relay
from peers.servers import nghttpd, program

LARGE = b"0123456789" * 10_000


def told(recording: Recording, *, size: int = 1 << 16) -> list[l7.Event]:
    """All events of a recording, fed in the order in which the bytes were seen."""
    connection = l7.parser("http2").connection(Config(all_headers=True))
    events: list[l7.Event] = []
    for direction, data in recording.pieces:
        if data is None:
            events += connection.end(direction)
        for at in range(0, len(data or b""), size):
            events += connection.feed(direction, (data or b"")[at : at + size])
    assert not any(isinstance(event, l7.Undecodable) for event in events)
    return events


def of(events: list[l7.Event], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def bodies(events: list[l7.Event], direction: l7.Direction) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    for event in of(events, l7.Data):
        if event.direction == direction:
            found[event.stream] = found.get(event.stream, b"") + event.data
    return found


def ran(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, timeout=60, text=True).stdout


@pytest.mark.parametrize("padding", ["0", "8"])
def test_nghttp_gets_what_it_asks_for(tmp_path: Path, padding: str) -> None:
    nghttp = program("nghttp", "nghttp2-client")
    with nghttpd(tmp_path, "-b", padding) as port, Relay(("127.0.0.1", port)) as relay:
        paths = ("/hello", "/large?q=1", "/absent", "/hello")
        ran(
            nghttp,
            "-n",
            "-b",
            padding,
            "-H",
            "x-tenant: blue",
            *(f"http://127.0.0.1:{relay.port}{p}" for p in paths),
        )
    [recording] = relay.recordings
    events = told(recording)
    requests = {event.stream: event for event in of(events, http2.Request)}
    assert Counter(event.target for event in requests.values()) == Counter(
        paths[:3]
    )  # nghttp asks once for the same
    assert {event.host for event in requests.values()} == {f"127.0.0.1:{relay.port}"}
    assert all(("x-tenant", "blue") in event.headers for event in requests.values())
    answers = {requests[event.stream].path: event.status for event in of(events, http2.Response)}
    assert answers == {"/hello": 200, "/large": 200, "/absent": 404}
    found = {requests[stream].path: body for stream, body in bodies(events, l7.RESPONSE).items()}
    assert found["/hello"] == b"hello\n"
    assert found["/large"] == LARGE
    assert l7.events.joined(told(recording, size=1)) == l7.events.joined(events)


def test_nghttp_uploads_and_sends_trailers(tmp_path: Path) -> None:
    nghttp = program("nghttp", "nghttp2-client")
    sent = tmp_path / "sent"
    sent.write_bytes(LARGE)
    with (
        nghttpd(tmp_path, "--echo-upload", "--trailer", "x-end: yes") as port,
        Relay(("127.0.0.1", port)) as relay,
    ):
        ran(nghttp, "-n", "-d", str(sent), "--trailer", "x-last: 1", f"http://127.0.0.1:{relay.port}/echo")
    events = told(relay.recordings[0])
    assert bodies(events, l7.REQUEST) == bodies(events, l7.RESPONSE) == {13: LARGE}
    assert [event.headers for event in of(events, http2.Trailers)] == [
        (("x-last", "1"),),
        (("x-end", "yes"),),
    ]
    assert of(events, http2.Request)[0].content_length == len(LARGE)


def test_a_push_is_matched_with_its_response(tmp_path: Path) -> None:
    nghttp = program("nghttp", "nghttp2-client")
    with nghttpd(tmp_path, "--push=/hello=/large") as port, Relay(("127.0.0.1", port)) as relay:
        ran(nghttp, "-n", f"http://127.0.0.1:{relay.port}/hello")
    events = told(relay.recordings[0])
    [push] = of(events, http2.Push)
    assert (push.stream, push.promised, push.path, push.method) == (13, 2, "/large", "GET")
    assert bodies(events, l7.RESPONSE)[2] == LARGE


def test_curl_with_prior_knowledge(tmp_path: Path) -> None:
    curl = program("curl", "curl")
    with nghttpd(tmp_path) as port, Relay(("127.0.0.1", port)) as relay:
        url = f"http://127.0.0.1:{relay.port}"
        got = ran(curl, "-s", "--http2-prior-knowledge", "-A", "me/1", "-u", "u:secret", f"{url}/large?q")
        ran(curl, "-s", "-I", "--http2-prior-knowledge", f"{url}/large")
    assert got.encode() == LARGE
    whole, head = (told(recording) for recording in relay.recordings)
    [request] = of(whole, http2.Request)
    assert (request.method, request.target, request.path) == ("GET", "/large?q", "/large")
    assert request.user_agent == "me/1"
    assert request.authorization
    assert bodies(whole, l7.RESPONSE) == {request.stream: LARGE}
    [response] = of(head, http2.Response)
    assert response.content_length == len(LARGE)
    assert not bodies(head, l7.RESPONSE)


def test_h2load_reuses_connections(tmp_path: Path) -> None:
    h2load = program("h2load", "nghttp2-client")
    with nghttpd(tmp_path) as port, Relay(("127.0.0.1", port)) as relay:
        url = f"http://127.0.0.1:{relay.port}/hello"
        out = ran(h2load, "-n", "2000", "-c", "4", "-m", "20", "--header-table-size", "0", url)
        assert "2000 succeeded" in out
    told_by = [told(recording) for recording in relay.recordings]
    assert len(told_by) == 4
    assert sum(len(of(events, http2.Request)) for events in told_by) == 2000
    assert sum(event.status == 200 for events in told_by for event in of(events, http2.Response)) == 2000
    for events in told_by:
        asked = {event.stream for event in of(events, http2.Request)}
        assert bodies(events, l7.RESPONSE) == dict.fromkeys(asked, b"hello\n")
        assert not of(events, http2.Flood)
