"""gRPC between grpcio's own client and server, recorded on its way and decoded: calls of every form and every end.

What is read is what both sides report: the client its status, the server what it was called with.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import grpc
import pytest

from ebpfmesh import l7
from ebpfmesh.l7 import grpc as ours
from ebpfmesh.l7 import http2
from peers.conftest import Decode
from peers.relay import Relay


class Seen(NamedTuple):
    """What the server was called with."""

    method: str
    messages: tuple[bytes, ...]
    metadata: dict[str, Any]
    timeout: float | None


class Service:
    """A service of messages that are bytes; it keeps what it saw."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []

    def _note(self, method: str, messages: tuple[bytes, ...], context: grpc.ServicerContext) -> None:
        remaining = context.time_remaining()
        self.seen.append(Seen(method, messages, dict(context.invocation_metadata()), remaining))

    def unary(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self._note("Unary", (request,), context)
        return request[::-1]

    def download(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        self._note("Download", (request,), context)
        for number in range(int(request)):
            yield b"%d" % number * number * 100

    def upload(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        messages = tuple(requests)
        self._note("Upload", messages, context)
        return b"%d" % sum(map(len, messages))

    def chat(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        messages = []
        for request in requests:
            messages.append(request)
            yield request.upper()
        self._note("Chat", tuple(messages), context)

    def fail(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self._note("Fail", (request,), context)
        context.set_trailing_metadata((("x-why", "because"),))
        context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: 100% é")

    def fail_late(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        self._note("FailLate", (request,), context)
        yield b"first"
        context.abort(grpc.StatusCode.DATA_LOSS, "lost")

    def wait(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        self._note("Wait", (request,), context)
        ended = threading.Event()
        context.add_callback(ended.set)
        yield b"begun"
        ended.wait(20)

    def handler(self) -> grpc.GenericRpcHandler:
        """The service's methods; without serializers, messages are bytes."""
        unary, download = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        return grpc.method_handlers_generic_handler(
            "test.Echo",
            {
                "Unary": unary(self.unary),
                "Download": download(self.download),
                "Upload": grpc.stream_unary_rpc_method_handler(self.upload),
                "Chat": grpc.stream_stream_rpc_method_handler(self.chat),
                "Fail": unary(self.fail),
                "FailLate": download(self.fail_late),
                "Wait": download(self.wait),
            },
        )


Run = Callable[[grpc.Channel, Service], Any]
LOCAL = (("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1), ("grpc.so_reuseport", 0))


@contextmanager
def serving(service: Service) -> Iterator[int]:
    """A server of the service; its port."""
    with ThreadPoolExecutor(8) as pool:
        server = grpc.server(pool, handlers=(service.handler(),), options=LOCAL)
        port: int = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield port
        finally:
            server.stop(0.5).wait(20)


@contextmanager
def peers() -> Iterator[tuple[Relay, grpc.Channel, Service]]:
    """A server, and a channel to it through a relay."""
    service = Service()
    with (
        serving(service) as port,
        Relay(("127.0.0.1", port)) as relay,
        grpc.insecure_channel(f"127.0.0.1:{relay.port}", options=LOCAL) as channel,
    ):
        yield relay, channel, service


class Calls:
    """The events of a recorded connection, by call."""

    def __init__(self, decode: Decode, relay: Relay) -> None:
        (recording,) = relay.recordings
        reader = decode("grpc", recording)
        assert [reader.reading(direction).error for direction in (0, 1)] == [None, None]
        self.events = [event for event in reader.events if getattr(event, "stream", 0)]

    def of(self, kind: type, stream: int | None = None) -> list[Any]:
        """The events of a kind, of one stream or of all."""
        return [e for e in self.events if isinstance(e, kind) and stream in (None, getattr(e, "stream", 0))]

    def messages(self, direction: int, stream: int) -> list[bytes]:
        """The messages of one direction of a call: cut out of its data by the lengths that were told."""
        data = b"".join(e.data for e in self.of(l7.Data, stream) if e.direction == direction)
        found = []
        for message in (e for e in self.of(ours.Message, stream) if e.direction == direction):
            assert len(data) >= message.length
            found.append(data[: message.length])
            data = data[message.length :]
        assert not data
        return found


def test_unary_calls(decode: Decode) -> None:
    bodies = [b"hello", b"", b"x" * 200_000, *(b"%d" % n for n in range(30))]
    with peers() as (relay, channel, service):
        call = channel.unary_unary("/test.Echo/Unary")
        answers = [call(body, timeout=20, metadata=(("x-id", str(n)),)) for n, body in enumerate(bodies)]
    calls = Calls(decode, relay)
    begun = calls.of(ours.Call)
    assert [(c.service, c.method) for c in begun] == [("test.Echo", "Unary")] * len(bodies)
    assert [calls.messages(0, c.stream) for c in begun] == [[body] for body in bodies]
    assert [calls.messages(1, c.stream) for c in begun] == [[answer] for answer in answers]
    assert [s.messages for s in service.seen] == [(body,) for body in bodies]
    assert [(s.code, s.message) for s in calls.of(ours.Status)] == [(0, "")] * len(bodies)
    for begins, seen in zip(begun, service.seen, strict=True):
        assert seen.timeout is not None and 10 < seen.timeout <= begins.timeout / 1e9 <= 20.1
        assert dict(begins.headers)["x-id"] == seen.metadata["x-id"]
        assert begins.user_agent == seen.metadata["user-agent"]


def test_streams_of_messages_in_each_direction(decode: Decode) -> None:
    sent = [b"%d" % n * (n * 50) for n in range(40)]
    with peers() as (relay, channel, _):
        downloaded = list(channel.unary_stream("/test.Echo/Download")(b"30"))
        uploaded = channel.stream_unary("/test.Echo/Upload")(iter(sent))
        chatted = list(channel.stream_stream("/test.Echo/Chat")(iter(sent)))
    calls = Calls(decode, relay)
    download, upload, chat = calls.of(ours.Call)
    assert [c.method for c in (download, upload, chat)] == ["Download", "Upload", "Chat"]
    assert calls.messages(0, download.stream) == [b"30"]
    assert calls.messages(1, download.stream) == downloaded
    assert calls.messages(0, upload.stream) == sent
    assert calls.messages(1, upload.stream) == [uploaded]
    assert calls.messages(0, chat.stream) == sent
    assert calls.messages(1, chat.stream) == chatted
    assert [
        message.number for message in calls.of(ours.Message, chat.stream) if message.direction == 0
    ] == list(range(1, len(sent) + 1))
    assert [status.code for status in calls.of(ours.Status)] == [0, 0, 0]


def test_calls_at_the_same_time_on_one_connection(decode: Decode) -> None:
    with peers() as (relay, channel, _):
        call = channel.unary_unary("/test.Echo/Unary")
        futures = [call.future(b"%d" % n * 5000) for n in range(40)]
        answers = [future.result(20) for future in futures]
    calls = Calls(decode, relay)
    begun = calls.of(ours.Call)
    assert len({c.stream for c in begun}) == 40
    read = {calls.messages(0, c.stream)[0]: calls.messages(1, c.stream)[0] for c in begun}
    assert read == {b"%d" % n * 5000: answer for n, answer in enumerate(answers)}


@pytest.mark.parametrize("method", ["Fail", "FailLate", "Nothing"])
def test_calls_that_fail(decode: Decode, method: str) -> None:
    with peers() as (relay, channel, _):
        with pytest.raises(grpc.RpcError) as failure:
            if method == "FailLate":
                list(channel.unary_stream(f"/test.Echo/{method}")(b"a"))
            else:
                channel.unary_unary(f"/test.Echo/{method}")(b"a")
        reported = failure.value
    calls = Calls(decode, relay)
    (begun,), (status,) = calls.of(ours.Call), calls.of(ours.Status)
    assert (begun.method, status.stream) == (method, begun.stream)
    assert (status.code, status.message) == (reported.code().value[0], reported.details())
    assert status.trailers_only == (method != "FailLate")
    trailing = {name: value for name, value in reported.trailing_metadata() or () if name.startswith("x-")}
    assert {name: value for name, value in status.headers if name.startswith("x-")} == trailing
    assert calls.messages(1, begun.stream) == ([b"first"] if method == "FailLate" else [])


def test_a_call_that_the_client_cancels(decode: Decode) -> None:
    with peers() as (relay, channel, _):
        call = channel.unary_stream("/test.Echo/Wait")(b"a")
        assert next(call) == b"begun"
        call.cancel()
        assert call.code() is grpc.StatusCode.CANCELLED
        assert channel.unary_unary("/test.Echo/Unary")(b"after") == b"retfa"
    calls = Calls(decode, relay)
    first, second = calls.of(ours.Call)
    (reset,) = [event for event in calls.of(http2.Reset) if event.direction == 0]
    assert (reset.stream, reset.code) == (first.stream, http2.ErrorCode.CANCEL)
    assert [status.stream for status in calls.of(ours.Status) if status.code == 0] == [second.stream]


def test_a_call_whose_deadline_passes(decode: Decode) -> None:
    with peers() as (relay, channel, _):
        call = channel.unary_stream("/test.Echo/Wait")(b"a", timeout=0.5)
        with pytest.raises(grpc.RpcError) as failure:
            list(call)
        assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    calls = Calls(decode, relay)
    (begun,) = calls.of(ours.Call)
    assert begun.timeout is not None and 0 < begun.timeout <= 500_000_000
    assert calls.messages(1, begun.stream) == [b"begun"]
    # whichever of the two sees it first: the client gives the stream up, or the server says so
    resets = [event.code for event in calls.of(http2.Reset) if event.direction == 0]
    assert http2.ErrorCode.CANCEL in resets or ours.StatusCode.DEADLINE_EXCEEDED in [
        status.code for status in calls.of(ours.Status)
    ]


def test_compressed_messages(decode: Decode) -> None:
    with peers() as (relay, channel, _):
        call = channel.unary_unary("/test.Echo/Unary")
        assert call(b"a" * 10_000, compression=grpc.Compression.Gzip) == b"a" * 10_000
    calls = Calls(decode, relay)
    (begun,) = calls.of(ours.Call)
    asked = [message for message in calls.of(ours.Message) if message.direction == 0]
    assert begun.encoding == "gzip"
    assert [message.compressed for message in asked] == [True]
    assert asked[0].length < 200
