"""Envoy between a client and a server, recorded before it and behind it: one request is one request on both sides."""

from __future__ import annotations

import subprocess
from pathlib import Path

import grpc

from differential.messages import Message
from ebpfmesh.l7 import grpc as ours
from peers.conftest import Decode
from peers.envoy import envoy
from peers.relay import Relay
from peers.servers import h11_server, nghttpd, program
from peers.test_peers_grpc import LOCAL, Service, serving


def read(decode: Decode, protocol: str, relay: Relay) -> tuple[list[Message], list[Message]]:
    """Requests and responses of all recorded connections, each complete; without interim responses."""
    found: tuple[list[Message], list[Message]] = ([], [])
    for recording in relay.recordings:
        reader = decode(protocol, recording)
        for direction in (0, 1):
            reading = reader.reading(direction)
            assert reading.error is None
            assert all(message.complete for message in reading.messages)
            found[direction].extend(m for m in reading.messages if (m.status or 200) >= 200)
    return found


def curl(at: str, paths: list[str], *options: str, data: bytes = b"") -> list[str]:
    """A run of curl for each path; status and size of each response."""
    command = [program("curl", "curl"), "-s", "--noproxy", "*", "--max-time", "20", *options]
    form = "%{http_code} %{size_download}"
    return [
        subprocess.run(
            [*command, "-w", form, "-o", "/dev/null", at + path], input=data, capture_output=True, timeout=30, check=True
        ).stdout.decode()
        for path in paths
    ]  # fmt: skip


def shape(messages: list[Message]) -> list[tuple[bytes | None, bytes | None, int | None, bytes]]:
    return [(m.method, m.target, m.status, m.body) for m in messages]


def test_http1_before_envoy_and_behind_it(tmp_path: Path, decode: Decode) -> None:
    body = b"0123456789abcdef" * 3000
    with (
        h11_server() as server,
        Relay(("127.0.0.1", server.port)) as behind,
        envoy(tmp_path, behind.port) as proxy,
        Relay(("127.0.0.1", proxy.port)) as before,
    ):
        at = f"http://127.0.0.1:{before.port}"
        printed = curl(at, ["/a?b=c", "/status/404", "/status/204"])
        printed += curl(at, ["/up"], "--upload-file", "-", "-H", "Expect: 100-continue", data=body)
        told = proxy.told(4)
    asked, answered = read(decode, "http1", before)
    assert shape(asked) == shape(read(decode, "http1", behind)[0])
    assert shape(answered) == shape(read(decode, "http1", behind)[1])
    assert [f"{m.status} {len(m.body)}" for m in answered] == printed
    assert [(m.method, m.target, len(m.body)) for m in asked] == [
        (entry["method"].encode(), entry["path"].encode(), entry["received"]) for entry in told
    ]
    assert [(m.status, len(m.body)) for m in answered] == [(entry["status"], entry["sent"]) for entry in told]
    assert [m.body for m in asked] == [served.body for served in server.served]


def test_http2_before_envoy_and_http1_behind_it(tmp_path: Path, decode: Decode) -> None:
    body = b"0123456789abcdef" * 3000
    with (
        h11_server() as server,
        Relay(("127.0.0.1", server.port)) as behind,
        envoy(tmp_path, behind.port) as proxy,
        Relay(("127.0.0.1", proxy.port)) as before,
    ):
        at = f"http://127.0.0.1:{before.port}"
        printed = curl(at, ["/a?b=c", "/status/404"], "--http2-prior-knowledge")
        printed += curl(at, ["/up"], "--http2-prior-knowledge", "--data-binary", "@-", data=body)
        told = proxy.told(3)
    asked, answered = read(decode, "http2", before)
    assert shape(asked) == shape(read(decode, "http1", behind)[0])
    assert shape(answered) == shape(read(decode, "http1", behind)[1])
    assert [f"{m.status} {len(m.body)}" for m in answered] == printed
    assert {entry["protocol"] for entry in told} == {"HTTP/2"}


def test_http2_before_envoy_and_behind_it(tmp_path: Path, decode: Decode) -> None:
    (tmp_path / "files").mkdir()
    with (
        nghttpd(tmp_path / "files") as port,
        Relay(("127.0.0.1", port)) as behind,
        envoy(tmp_path / "envoy", behind.port, http2=True) as proxy,
        Relay(("127.0.0.1", proxy.port)) as before,
    ):
        at = f"http://127.0.0.1:{before.port}"
        subprocess.run(
            [program("h2load", "nghttp2-client"), "-n60", "-c1", "-m10", at + "/hello", at + "/large"],
            capture_output=True, timeout=60, check=True,
        )  # fmt: skip
        told = proxy.told(60)
    asked, answered = read(decode, "http2", before)
    asked_behind, answered_behind = read(decode, "http2", behind)
    assert sorted(m.target or b"" for m in asked) == sorted(entry["path"].encode() for entry in told)
    assert sorted(m.target or b"" for m in asked_behind) == sorted(m.target or b"" for m in asked)
    assert sorted(len(m.body) for m in answered) == sorted(entry["sent"] for entry in told)
    assert sorted(m.body for m in answered_behind) == sorted(m.body for m in answered)


def test_grpc_before_envoy_and_behind_it(tmp_path: Path, decode: Decode) -> None:
    with (
        serving(Service()) as port,
        Relay(("127.0.0.1", port)) as behind,
        envoy(tmp_path, behind.port, http2=True) as proxy,
        Relay(("127.0.0.1", proxy.port)) as before,
        grpc.insecure_channel(f"127.0.0.1:{before.port}", options=LOCAL) as channel,
    ):
        answers = [channel.unary_unary("/test.Echo/Unary")(b"%d" % n, timeout=20) for n in range(10)]
        downloaded = list(channel.unary_stream("/test.Echo/Download")(b"20"))
        future = channel.unary_unary("/test.Echo/Fail").future(b"a")
        failure = future.exception()
        channel.close()
        before.close_open()
        behind.close_open()
    assert len(answers) == 10
    for relay in (before, behind):
        (recording,) = relay.recordings
        events = decode("grpc", recording).events
        calls = [event for event in events if isinstance(event, ours.Call)]
        ends = {event.stream: event for event in events if isinstance(event, ours.Status)}
        assert [call.method for call in calls] == ["Unary"] * 10 + ["Download", "Fail"]
        assert [ends[call.stream].code for call in calls] == [0] * 11 + [5]
        assert ends[calls[-1].stream].message == failure.details()
        told = [
            e.length
            for e in events
            if isinstance(e, ours.Message) and e.stream == calls[10].stream and e.direction
        ]
        assert told == [len(message) for message in downloaded]
