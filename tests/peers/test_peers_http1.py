"""HTTP/1 between real peers, recorded on its way and decoded: curl and Python as clients, nginx and h11 as servers.

What is read is what both sides report: curl of what it received, the servers of what they were asked.
"""

from __future__ import annotations

import json
import socket
import subprocess
from typing import Any

import pytest

from differential.messages import Message
from peers.conftest import Decode
from peers.relay import Recording, Relay
from peers.servers import Nginx, h11_server, program

LARGE = 100_000


def curl(*arguments: str, data: bytes = b"") -> list[dict[str, Any]]:
    """Runs curl; what it reports of each transfer."""
    form = '{"status":%{http_code},"size":%{size_download},"headers":%{num_headers},"version":"%{http_version}"}\\n'
    command = [program("curl", "curl"), "--silent", "--show-error", "--noproxy", "*", "--max-time", "20"]
    result = subprocess.run(
        [*command, "--write-out", form, *arguments], input=data, capture_output=True, timeout=30, check=True
    )
    return [json.loads(line) for line in result.stdout.splitlines() if line.startswith(b'{"status"')]


def only(relay: Relay) -> Recording:
    """The recording of the one connection that there was."""
    assert len(relay.recordings) == 1
    return relay.recordings[0]


def final(messages: tuple[Message, ...]) -> list[Message]:
    """Without interim responses."""
    return [message for message in messages if (message.status or 200) >= 200]


def test_curl_and_nginx_with_keep_alive(web: Nginx, decode: Decode) -> None:
    before = len(web.told(0))
    with Relay(("127.0.0.1", web.port)) as relay:
        at = f"http://127.0.0.1:{relay.port}"
        paths = ["/small", "/large?a=b", "/chunked/large", "/missing", "/moved", "/small"]
        reports = curl(*[part for path in paths for part in (at + path, "-o", "/dev/null")])
    told = web.told(before + len(paths))[before:]
    reader = decode("http1", only(relay))
    requests, responses = reader.reading(0), reader.reading(1)
    assert (requests.error, responses.error) == (None, None)
    assert all(message.complete for message in requests.messages + responses.messages)
    assert [(m.method, m.target) for m in requests.messages] == [(b"GET", path.encode()) for path in paths]
    assert [m.target.decode() for m in requests.messages if m.target] == [entry["target"] for entry in told]
    assert (
        [m.status for m in responses.messages]
        == [r["status"] for r in reports]
        == [t["status"] for t in told]
    )
    assert [len(m.body) for m in responses.messages] == [report["size"] for report in reports]
    assert [len(m.headers) for m in responses.messages] == [report["headers"] for report in reports]
    assert responses.messages[2].values(b"transfer-encoding") == [b"chunked"]
    assert (
        responses.messages[1].body
        == responses.messages[2].body
        == (web.here / "files" / "large").read_bytes()
    )


def test_ranges_conditions_and_head(web: Nginx, decode: Decode) -> None:
    with Relay(("127.0.0.1", web.port)) as relay:
        large = f"http://127.0.0.1:{relay.port}/large"
        reports = [
            report
            for options in (
                ["--head"],
                ["--range", "100-199"],
                ["--range", "0-9,50-59"],
                ["-H", "If-None-Match: *"],
                ["--range", "100000-"],
            )
            for report in curl(*options, large, "-o", "/dev/null")
        ]
    recordings = relay.recordings
    messages = [m for recording in recordings for m in decode("http1", recording).reading(1).messages]
    assert [m.status for m in messages] == [r["status"] for r in reports] == [200, 206, 206, 304, 416]
    assert [len(m.body) for m in messages] == [report["size"] for report in reports]
    assert messages[0].values(b"content-length") == [b"%d" % LARGE]
    assert all(message.complete for message in messages)


def test_uploads_in_chunks_with_100_continue(decode: Decode) -> None:
    body = b"0123456789abcdef" * 5000
    with h11_server() as server, Relay(("127.0.0.1", server.port)) as relay:
        at = f"http://127.0.0.1:{relay.port}"
        reports = curl(
            "--upload-file", "-", "-H", "Expect: 100-continue", "-o", "/dev/null", at + "/up", data=body
        )
        reports += curl("--data-binary", "@-", "-o", "/dev/null", at + "/post", data=body)
    assert [served.body for served in server.served] == [body, body]
    for recording, served, report in zip(relay.recordings, server.served, reports, strict=True):
        reader = decode("http1", recording)
        (request,), (response,) = reader.reading(0).messages, final(reader.reading(1).messages)
        assert (request.method, request.target, request.body) == (served.method, served.target, served.body)
        assert request.headers == served.headers
        assert (response.status, len(response.body)) == (report["status"], report["size"])
        assert request.complete and response.complete
    first = decode("http1", relay.recordings[0]).reading(1).messages
    assert [message.status for message in first] == [100, 200]


def test_what_has_no_body_and_what_ends_with_the_connection(decode: Decode) -> None:
    with h11_server() as server, Relay(("127.0.0.1", server.port)) as relay:
        at = f"http://127.0.0.1:{relay.port}"
        for arguments in (
            [at + "/status/204", at + "/status/304", at + "/x"],
            ["--head", at + "/status/200"],
            ["--http1.0", at + "/old"],
        ):
            curl(*[part for argument in arguments for part in (argument, "-o", "/dev/null")])
    read = [decode("http1", recording) for recording in relay.recordings]
    responses = [message for reader in read for message in reader.reading(1).messages]
    assert (
        [m.status for m in responses]
        == [served.status for served in server.served]
        == [204, 304, 200, 200, 200]
    )
    assert [m.body for m in responses] == [b"", b"", b"nothing\n", b"", b"nothing\n"]
    assert all(message.complete for message in responses)
    assert responses[-1].headers and not responses[-1].values(
        b"transfer-encoding"
    )  # to the end of the stream


def test_pipelined_requests_to_nginx(web: Nginx, decode: Decode) -> None:
    paths = [b"/small", b"/large", b"/chunked/small", b"/missing"] * 10
    requests = b"".join(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % path for path in paths)
    before = len(web.told(0))
    with (
        Relay(("127.0.0.1", web.port)) as relay,
        socket.create_connection(("127.0.0.1", relay.port), 20) as client,
    ):
        client.sendall(requests + b"GET /small HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        while client.recv(1 << 16):
            pass
    told = web.told(before + len(paths) + 1)[before:]
    reader = decode("http1", only(relay))
    assert [m.target for m in reader.reading(0).messages] == [*paths, b"/small"]
    assert [m.status for m in reader.reading(1).messages] == [entry["status"] for entry in told]
    framed = [
        10 if path == b"/chunked/small" else 0 for path in paths
    ]  # nginx counts the framing of chunks as body
    assert [len(m.body) + more for m, more in zip(reader.reading(1).messages, [*framed, 0], strict=True)] == [
        entry["length"] for entry in told
    ]
    assert reader.reading(1).error is None


@pytest.mark.parametrize("at", [10, 60, 150])
def test_a_connection_that_breaks_is_incomplete_and_nothing_is_made_up(
    web: Nginx, decode: Decode, at: int
) -> None:
    with (
        Relay(("127.0.0.1", web.port)) as relay,
        socket.create_connection(("127.0.0.1", relay.port), 20) as client,
    ):
        client.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        client.recv(at, socket.MSG_WAITALL)
        relay.close_open()
    reader = decode("http1", only(relay))
    (request,) = reader.reading(0).messages
    assert request.complete and request.target == b"/large"
    for message in reader.reading(1).messages:
        assert message.complete == (len(message.body) == LARGE)
