"""HTTP/2 between real peers, recorded and decoded: curl, nghttp and h2load as clients, nghttpd and nginx as servers."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from differential.messages import Message
from differential.ours import Reader
from ebpfmesh.l7 import http2
from peers.conftest import Decode
from peers.relay import Relay
from peers.servers import nghttpd, nginx, program


def run(*command: str) -> str:
    """Runs a client; what it prints."""
    result = subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=60, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def curl(at: str, paths: list[str], *options: str) -> list[str]:
    """A run of curl for each path (7.88 fails when it uses such a connection again); status and size of each response."""
    command = [
        program("curl", "curl"),
        "-s",
        "--noproxy",
        "*",
        "--http2-prior-knowledge",
        "--max-time",
        "20",
        *options,
    ]
    form = "%{http_code} %{size_download}"
    return [run(*command, "-w", form, "-o", "/dev/null", at + path) for path in paths]


def assert_whole(reader: Reader) -> None:
    """Everything was read to its end, and every response has its request."""
    requests, responses = reader.reading(0), reader.reading(1)
    assert (requests.error, responses.error) == (None, None)
    assert all(message.complete for message in requests.messages + responses.messages)
    assert {message.stream for message in responses.messages} == {
        message.stream for message in requests.messages
    }


def messages(decode: Decode, relay: Relay) -> tuple[list[Message], list[Message]]:
    """Requests and responses of all recorded connections, each whole."""
    readers = [decode("http2", recording) for recording in relay.recordings]
    for reader in readers:
        assert_whole(reader)
    return tuple([m for reader in readers for m in reader.reading(side).messages] for side in (0, 1))  # type: ignore[return-value]


@pytest.mark.parametrize("padding", [0, 50])
def test_curl_with_prior_knowledge_and_nghttpd(tmp_path: Path, decode: Decode, padding: int) -> None:
    with nghttpd(tmp_path, f"--padding={padding}") as port, Relay(("127.0.0.1", port)) as relay:
        at = f"http://127.0.0.1:{relay.port}"
        paths = ["/hello", "/large", "/missing", "/hello"]
        printed = curl(at, paths)
    requests, responses = messages(decode, relay)
    assert [(m.method, m.target) for m in requests] == [(b"GET", path.encode()) for path in paths]
    assert [f"{m.status} {len(m.body)}" for m in responses] == printed
    assert responses[1].body == (tmp_path / "large").read_bytes()


def test_an_upload_by_curl(tmp_path: Path, decode: Decode) -> None:
    body = b"0123456789abcdef" * 10_000
    (tmp_path / "body").write_bytes(body)
    with nghttpd(tmp_path, "--echo-upload") as port, Relay(("127.0.0.1", port)) as relay:
        echoed = subprocess.run(
            [
                program("curl", "curl"), "-s", "--noproxy", "*", "--http2-prior-knowledge", "--data-binary",
                f"@{tmp_path}/body", f"http://127.0.0.1:{relay.port}/echo",
            ],
            capture_output=True, timeout=30, check=True,
        ).stdout  # fmt: skip
    reader = decode("http2", relay.recordings[0])
    assert_whole(reader)
    (request,), (response,) = reader.reading(0).messages, reader.reading(1).messages
    assert (request.method, request.body) == (b"POST", body)
    assert response.body == echoed


def test_h2load_with_concurrent_streams(tmp_path: Path, decode: Decode) -> None:
    with nghttpd(tmp_path) as port, Relay(("127.0.0.1", port)) as relay:
        at = f"http://127.0.0.1:{relay.port}"
        printed = run(
            program("h2load", "nghttp2-client"), "-n200", "-c2", "-m20", at + "/hello", at + "/missing"
        )
    statuses = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx", printed)
    traffic = re.search(r"\((\d+)\) total, \S+ \((\d+)\) headers .*? \((\d+)\) data", printed)
    assert statuses and traffic, printed
    readers = [decode("http2", recording) for recording in relay.recordings if recording.data(0)]
    for reader in readers:
        assert_whole(reader)
    responses = [message for reader in readers for message in reader.reading(1).messages]
    assert len(responses) == 200
    assert [sum(m.status // 100 == n for m in responses if m.status) for n in (2, 3, 4)] == [
        int(count) for count in statuses.groups()
    ]
    assert sum(len(m.body) for m in responses) == int(traffic[3])


def test_nghttp_with_priorities_continuation_and_trailers(tmp_path: Path, decode: Decode) -> None:
    (tmp_path / "body").write_bytes(b"x" * 3000)
    with nghttpd(tmp_path, "--trailer=x-sum: 1") as port, Relay(("127.0.0.1", port)) as relay:
        at = f"http://127.0.0.1:{relay.port}"
        run(
            program("nghttp", "nghttp2-client"), "-n", "--continuation", "--header-table-size=0", "--padding=20",
            "--trailer=x-end: yes", f"--data={tmp_path}/body", "-H", "x-long: " + "l" * 2000, at + "/hello", at + "/large",
        )  # fmt: skip
    recording = relay.recordings[0]
    assert b"\t\4\0\0\0" in recording.data(0)  # a CONTINUATION frame, with END_HEADERS
    reader = decode("http2", recording)
    if reader.reading(0).error:  # the kernel has no room for such a block, and says so
        assert reader.engine is not None
        assert [reader.reading(side).error for side in (0, 1)] == ["too_long"] * 2
        return
    assert_whole(reader)
    requests, responses = reader.reading(0).messages, reader.reading(1).messages
    assert [(m.method, m.body, m.trailers) for m in requests] == [
        (b"POST", b"x" * 3000, ((b"x-end", b"yes"),))
    ] * 2
    assert [m.trailers for m in responses] == [((b"x-sum", b"1"),)] * 2
    assert requests[0].values(b"x-long") == [b"l" * 2000]
    assert any(isinstance(event, http2.Settings) and event.table_size == 0 for event in reader.events)


def test_curl_and_nginx(tmp_path: Path, decode: Decode) -> None:
    with nginx(tmp_path / "here", http2=True) as web, Relay(("127.0.0.1", web.port)) as relay:
        at = f"http://127.0.0.1:{relay.port}"
        paths = ["/small", "/large", "/chunked/large", "/missing", "/moved"]
        printed = curl(at, paths)
        told = web.told(len(paths))
    requests, responses = messages(decode, relay)
    assert [m.target for m in requests] == [entry["target"].encode() for entry in told]
    assert [f"{m.status} {len(m.body)}" for m in responses] == printed
    assert [m.status for m in responses] == [entry["status"] for entry in told]
    assert {entry["protocol"] for entry in told} == {"HTTP/2.0"}
