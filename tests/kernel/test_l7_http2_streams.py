"""HTTP/2 in the kernel: one stream is refused, its neighbours are not touched."""

from __future__ import annotations

import pytest
from l7_http2_site import DENY, Http2Site

from ebpfmesh.policy import Http, Limit
from ebpfmesh.testing import eventually

pytestmark = pytest.mark.kernel(feature="loop")
SITE = Http2Site


def test_an_allowed_request_is_answered_by_the_server(site):
    site.start(site.http2(rules=DENY))
    client = site.client()
    got = client.get("/yes")
    assert (got.status, got.body) == (200, b"/yes")
    assert site.h2.paths == ["/yes"]


def test_a_denied_request_never_reaches_the_server(site):
    site.start(site.http2(rules=DENY))
    client = site.client()
    assert client.get("/yes/1").status == 200
    got = client.get("/no/1")
    assert got.status == 403
    assert client.get("/yes/2").status == 200
    assert site.h2.paths == ["/yes/1", "/yes/2"]
    assert not site.h2.errors


def test_the_first_request_of_a_connection_is_denied(site):
    """Nothing of the server has come yet: the client's table is not the server's afterwards, until both are empty."""
    site.start(site.http2(rules=DENY))
    client = site.client()
    assert client.get("/no/1", headers=[("x-long", "value" * 10)]).status == 403
    for number in range(5):
        assert client.get(f"/yes/{number}", headers=[("x-long", "value" * 10)]).status == 200
    assert site.h2.paths == [f"/yes/{number}" for number in range(5)]
    assert not site.h2.errors
    assert client.goaway is None


def test_several_denied_among_allowed_in_one_message(site):
    site.start(site.http2(rules=DENY))
    client = site.client()
    client.get("/yes")
    streams = [client.request(f"/{'no' if number % 3 else 'yes'}/{number}") for number in range(30)]
    client.flush()
    got = client.wait(*streams)
    assert [one.status for one in got] == [403 if number % 3 else 200 for number in range(30)]
    assert site.h2.paths[1:] == [f"/yes/{number}" for number in range(0, 30, 3)]
    assert not site.h2.errors


def test_the_body_of_a_denied_request_is_taken_out_and_given_back_to_the_window(site):
    site.start(site.http2(rules=DENY))
    client = site.client()
    client.get("/yes")
    for number in range(20):
        body = bytes([number]) * 16_000
        streams = [client.request("/no/upload", method="POST", body=body)]
        streams.append(client.request(f"/yes/{number}", method="POST", body=body[:1000]))
        client.flush()
        assert [one.status for one in client.wait(*streams)] == [403, 200]
    assert [one.body for one in site.h2.asked[1:]] == [bytes([number]) * 1000 for number in range(20)]
    assert client.h2.outbound_flow_control_window > 65535 - 3 * 16_000
    assert not site.h2.errors


def test_everything_on_a_refused_stream_is_taken_out(site):
    site.start(site.http2(rules=DENY))
    client = site.client()
    client.get("/yes")
    stream = client.request("/no/1", method="POST", end=False)
    client.flush()
    refused = client.h2
    refused.send_data(stream, b"x" * 100)
    refused.increment_flow_control_window(1000, stream)
    refused.prioritize(stream, weight=10)
    client.flush()
    refused.send_data(stream, b"y" * 100)
    client.flush()
    refused.send_headers(stream, [("x-trailer", "1")], end_stream=True)
    client.flush()
    assert client.wait(stream)[0].status == 403
    assert client.get("/yes/2").status == 200
    assert site.h2.paths == ["/yes", "/yes/2"]
    assert not site.h2.errors
    assert not site.h2.resets


def test_refused_uploads_that_are_left_open_do_not_end_the_connection(cgroup, netns, bpffs, tmp_path):
    """A refusal may come before the upload's end, and the client need not end it: nor reset it, nor say anything more."""
    with Http2Site(cgroup, netns, bpffs, tmp_path, {3: 1000}) as site:
        site.start(site.http2(rules=DENY))
        client = site.client()
        client.get("/yes")
        asked = client.request("/yes/upload", method="POST", end=False)
        streams = [client.request("/no/upload", method="POST", end=False) for _ in range(60)]
        client.flush()
        for _ in range(9):
            streams += [client.request("/no/upload", method="POST", end=False) for _ in range(40)]
            client.flush()
            client.wait(*streams)
            assert client.get("/yes/between").status == 200
        assert all(client.got[stream].status == 403 for stream in streams)
        for stream in streams[::7]:  # what still comes on them is taken out, and on the others
            client.h2.send_data(stream, b"x" * 100)
            client.flush()
        for stream in streams[::3]:
            client.h2.send_headers(stream, [("x-trailer", "1")], end_stream=True)
        for stream in streams[1::3]:
            client.h2.reset_stream(stream)
        client.h2.send_data(asked, b"the upload", end_stream=True)
        client.flush()
        assert client.wait(asked)[0].status == 200
        assert client.get("/yes/last").status == 200
        assert client.goaway is None
        assert not site.h2.errors
        assert not site.h2.resets
        assert {one.body for one in site.h2.asked} == {b"", b"the upload"}


def test_a_reset_of_a_refused_stream_does_not_reach_the_server(site):
    site.start(site.http2(rules=DENY))
    client = site.client()
    client.get("/yes")
    stream = client.request("/no/1", method="POST", end=False)
    client.flush()
    client.h2.reset_stream(stream)
    client.flush()
    assert client.get("/yes/2").status == 200
    assert not site.h2.errors
    assert not site.h2.resets


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 10, 33])
def test_frames_in_many_messages(site, piece):
    site.start(site.http2(rules=DENY))
    client = site.client()
    client.piece = piece
    assert client.get("/yes").status == 200
    for number in range(3):
        streams = [
            client.request(f"/no/{number}", method="POST", body=b"n" * 50),
            client.request(f"/yes/{number}", method="POST", body=b"y" * 50),
        ]
        client.flush()
        assert [one.status for one in client.wait(*streams)] == [403, 200]
    assert [one.body for one in site.h2.asked[1:]] == [b"y" * 50] * 3
    assert not site.h2.errors


def test_a_message_is_cut_at_every_place(site):
    site.start(site.http2(rules=DENY))
    client = site.client()
    client.get("/yes")
    at = 1
    while True:
        streams = [
            client.request("/no/1", method="POST", body=b"n" * 9),
            client.request("/yes/1", method="POST", body=b"y" * 9),
        ]
        data = client.h2.data_to_send()
        if at >= len(data):
            break
        client.socket.sendall(data[:at])
        client.socket.sendall(data[at:])
        assert [one.status for one in client.wait(*streams)] == [403, 200]
        at += 1
    assert at > 60
    assert len(site.h2.asked) == at
    assert not site.h2.errors


def test_head_has_no_body_and_a_limit_says_when_to_come_again(site):
    limit = Limit("few", rate="1/m", burst=1, paths=("/limited",))
    site.start(site.http2(rules=DENY, limits=(limit,)))
    client = site.client()
    head = client.get("/no/1", method="HEAD")
    assert (head.status, head.body) == (403, b"")
    assert client.get("/limited").status == 200
    limited = client.get("/limited")
    assert limited.status == 429
    assert 1 <= int(limited.headers["retry-after"]) <= 60


def test_what_is_no_http2_is_refused(site):
    site.start(site.http2(rules=DENY))
    connection = site.connect()
    with pytest.raises(PermissionError):
        connection.sendall(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")
    assert not site.h2.errors


def test_a_connection_that_cannot_be_followed_any_more_ends_with_goaway(site):
    site.start(site.http2(rules=DENY))
    client = site.client()
    assert client.get("/yes").status == 200
    client.socket.sendall(b"\x00\x00\x01\x01\x05\x00\x00\x00\x03\xff")  # a block that ends inside an integer
    while client.goaway is None:
        client.pump()
    assert client.goaway.last_stream_id == 1
    client.socket.sendall(b"more of it")
    assert site.h2.paths == ["/yes"]
    assert not site.h2.errors


def test_a_connection_that_cannot_be_followed_passes_if_it_may(site):
    site.start(site.http2(rules=DENY, http=Http(undecodable="pass")))
    client = site.client()
    assert client.get("/yes").status == 200
    client.socket.sendall(b"\x00\x00\x01\x01\x05\x00\x00\x00\x03\xff")
    assert eventually(lambda: site.h2.errors)


@pytest.mark.parametrize("denied", [(0,), (1,), (0, 2, 3), (0, 1, 2, 3, 4, 5, 6)])
def test_requests_before_any_settings_with_the_dynamic_table(site, denied):
    """What a denied request put into the table is not in the server's: later requests are put in other words."""
    site.start(site.http2(rules=DENY))
    client = site.client()
    headers = [("x-one", "1" * 30), ("x-two", "two" * 60)]
    paths = [f"/{'no' if number in denied else 'yes'}/{number}" for number in range(8)]
    streams = [
        client.request(path, headers=[*headers, ("x-number", str(number))])
        for number, path in enumerate(paths)
    ]
    client.flush()
    got = client.wait(*streams)
    assert [one.status for one in got] == [403 if number in denied else 200 for number in range(8)]
    for number in range(20):
        assert client.get(f"/{'no' if number % 4 == 1 else 'yes'}/late/{number}", headers=headers).status in (
            200,
            403,
        )
    assert not site.h2.errors
    assert client.goaway is None
    allowed = [one for one in site.h2.asked if "late" not in one.headers[":path"]]
    assert [one.headers[":path"] for one in allowed] == [path for path in paths if path.startswith("/yes")]
    for one in site.h2.asked:
        assert (one.headers["x-one"], one.headers["x-two"]) == (headers[0][1], headers[1][1])
        assert one.headers[":authority"] == "web"


def test_connect_is_no_way_past_the_rules(site):
    site.start(site.http2(rules=DENY))
    client = site.client()
    assert client.get("/yes").status == 200
    stream = client.h2.get_next_available_stream_id()
    client.h2.send_headers(stream, [(":method", "CONNECT"), (":authority", "web:80")])
    client.flush()
    assert client.wait(stream)[0].status == 400
    assert site.h2.paths == ["/yes"]


def test_a_client_of_a_grpc_service_gets_its_refusals(site):
    site.start(site.http2(l7="grpc", rules=DENY))
    client = site.client()
    got = client.get("/no/1")
    assert (got.status, got.headers["grpc-status"]) == (200, "7")
