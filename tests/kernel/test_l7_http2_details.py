"""HTTP/2 in the kernel: traces, uploads that find no room, segments that cut frames, other settings of a server."""

from __future__ import annotations

import re
import select
import threading
import time

import pytest
from l7_http2_site import DENY, Http2Site, frames

from ebpfmesh.policy import Http

pytestmark = pytest.mark.kernel(feature="loop")
SITE = Http2Site

TRACE = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]")


def test_a_request_without_a_trace_is_given_one_and_the_service_s_headers(site):
    http = Http(trace=True, set_headers={"x-mesh": "shop"})
    site.start(site.http2(rules=DENY, http=http))
    client = site.client()
    for number in range(5):
        streams = [
            client.request(f"/yes/{number}/{each}", method="POST", body=b"x" * each) for each in range(3)
        ]
        client.flush()
        assert [one.status for one in client.wait(*streams)] == [200] * 3
    assert not site.h2.errors
    assert len(site.h2.asked) == 15
    for one in site.h2.asked:
        assert TRACE.fullmatch(one.headers["traceparent"])
        assert one.headers["x-mesh"] == "shop"
    assert len({one.headers["traceparent"] for one in site.h2.asked}) == 15


@pytest.mark.parametrize("chunk", [7, 90, 1_000, 5_000, 100_000])
def test_many_heads_of_one_send_are_given_headers(site, chunk):
    """More than one piece has room for, beside refused ones and bodies longer than a window, cut anywhere."""
    site.start(site.http2(rules=DENY, http=Http(trace=True, set_headers={"x-mesh": "shop" * 40})))
    client = site.client()
    assert client.get("/first").status == 200
    bodies = {number: b"%d" % number * (3_000 if number % 37 == 5 else number % 4) for number in range(90)}
    streams = [
        client.request(f"/{'no' if number % 20 == 19 else 'yes'}/{number}", method="POST", body=body)
        for number, body in bodies.items()
    ]
    data = client.h2.data_to_send()
    for at in range(0, len(data), chunk):
        client.socket.sendall(data[at : at + chunk])
    answers = client.wait(*streams, seconds=30)
    assert [one.status for one in answers] == [403 if number % 20 == 19 else 200 for number in bodies]
    assert not site.h2.errors
    asked = {one.headers[":path"]: one for one in site.h2.asked}
    assert len(asked) == len(site.h2.asked) == 1 + 90 - 4
    for number, body in bodies.items():
        if number % 20 != 19:
            assert asked[f"/yes/{number}"].body == body
    assert all(one.headers["x-mesh"] == "shop" * 40 for one in asked.values())
    assert all(TRACE.fullmatch(one.headers["traceparent"]) for one in asked.values())
    assert len({one.headers["traceparent"] for one in asked.values()}) == len(asked)


def test_an_upload_beside_requests_on_a_socket_that_does_not_block(site):
    """send() takes less than it is given: what was judged and did not leave is sent again, and taken as what it was."""
    site.start(site.http2(rules=DENY))
    client = site.client()
    assert client.get("/yes").status == 200
    client.socket.setblocking(False)
    for number in range(60):
        client.request(f"/{'no' if number % 3 else 'yes'}/{number}", method="POST", end=False)
    pending = bytearray(client.h2.data_to_send())
    streams = range(3, 123, 2)
    left = dict.fromkeys(streams, 40000)
    until = time.monotonic() + 30
    while left or pending:
        assert time.monotonic() < until
        for stream in list(left):
            room = min(client.h2.local_flow_control_window(stream), 9_000, left[stream])
            if room <= 0 or len(pending) > 1_000_000:
                continue
            left[stream] -= room
            client.h2.send_data(stream, bytes(room), end_stream=not left[stream])
            if not left[stream]:
                del left[stream]
        pending += client.h2.data_to_send()
        readable, writable, _ = select.select([client.socket], [client.socket] if pending else [], [], 5)
        if writable:
            sent = client.socket.send(pending)
            del pending[:sent]
        if readable:
            data = client.socket.recv(65536)
            assert data
            for event in client.h2.receive_data(data):
                client._on(event)
            pending += client.h2.data_to_send()
    client.socket.setblocking(True)
    got = client.wait(*streams)
    assert [one.status for one in got] == [403 if number % 3 else 200 for number in range(60)]
    assert all(one.body == bytes(40_000) for one in site.h2.asked[1:])
    assert len(site.h2.asked) == 21
    assert not site.h2.errors


@pytest.mark.parametrize("segment", [5, 1000, 20_000])
def test_refusals_while_segments_cut_the_server_s_frames(site, segment):
    site.start(site.http2(rules=DENY))
    client = site.client()
    assert client.get("/yes").status == 200
    site.h2.segment = segment
    size = 3_000 if segment == 5 else 400_000
    large = [client.request(f"/bytes/{size}") for _ in range(2)]
    client.flush()
    refused = []
    for number in range(40):
        refused.append(client.request(f"/no/{number}"))
        client.flush()
        client.pump()
    got = client.wait(*large, *refused, seconds=30)
    assert [one.status for one in got] == [200, 200] + [403] * 40
    assert [len(one.body) for one in got[:2]] == [size, size]
    assert not site.h2.errors


@pytest.mark.parametrize(
    "settings", [{}, {3: 100}, {4: 70_000}, {1: 4096}, {1: 0}, {1: 64}, {5: 32768, 3: 7}, {6: 9000}]
)
def test_servers_with_other_settings(cgroup, netns, bpffs, tmp_path, settings):
    with Http2Site(cgroup, netns, bpffs, tmp_path, settings) as site:
        site.start(site.http2(rules=DENY))
        client = site.client()
        for number in range(12):
            path = f"/{'no' if number % 3 == 2 else 'yes'}/{number}"
            got = client.get(path, headers=[("x-same", "value"), ("x-other", f"{number}")])
            assert got.status == (403 if number % 3 == 2 else 200)
        assert not site.h2.errors
        announced = {key: value for each in client.settings for key, value in each.items()}
        assert announced[1] == 0
        assert all(announced[key] == value for key, value in settings.items() if key in (3, 4))
        blocks = [
            payload for kind, _, stream, payload in frames(bytes(site.h2.raw)) if kind == 1 and stream > 7
        ]
        assert all(0xBE not in block[:1] for block in blocks)


def test_many_connections_are_let_go_of(site):
    """An element of the connection's state is given back when its socket closes."""
    site.start(site.http2(rules=DENY))
    for _ in range(300):
        client = site.client()
        assert client.get("/no/1").status == 403
        client.socket.close()


def test_several_connections_at_a_time(site):
    site.start(site.http2(rules=DENY))
    clients = [site.client() for _ in range(4)]
    failures: list[BaseException] = []

    def one(number: int) -> None:
        try:
            mine = clients[number]
            for each in range(100):
                denied = (each + number) % 2
                assert mine.get(f"/{'no' if denied else 'yes'}/{each}").status == (403 if denied else 200)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not failures
    assert not site.h2.errors
