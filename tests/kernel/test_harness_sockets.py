"""What only sk_msg and sk_skb see: messages of several elements, pages that must be pulled, two directions of a socket."""

from __future__ import annotations

import array
import fcntl
import mmap
import os
import socket
import struct
import tempfile
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import pytest
from parcel import EVERY_KIND, FINAL, build, parcel

from ebpfmesh import harness, l7
from ebpfmesh.errors import CapacityError, ClosedError, MapError, MapKeyError
from ebpfmesh.harness import KernelEngine, SocketEvent, Sockets
from ebpfmesh.harness.structures import LINKS, Counter
from ebpfmesh.l7.contract import REQUEST, RESPONSE, Code, Op, RawEvent
from ebpfmesh.testing import NetNs, eventually

pytestmark = pytest.mark.kernel(feature="loop")

SO_ZEROCOPY, MSG_ZEROCOPY = 60, 0x4000000  # include/uapi/asm-generic/socket.h, include/linux/socket.h
TEXT = 2

# longer than a page and than a window, with parcels across every border
STREAM = (
    b"".join(parcel(b"T", bytes([97 + number % 26]) * (number * 37 % 1500)) for number in range(60))
    + EVERY_KIND
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("parcel"))


@pytest.fixture
def engine(built: Path, _leaks_fail: None) -> Iterator[KernelEngine]:
    with harness.load(path=built, sockets=True) as loaded:
        yield loaded


@pytest.fixture
def sockets(engine: KernelEngine) -> Iterator[Sockets]:
    with Sockets(engine) as opened:
        yield opened


class Pair:
    """A connection inside a namespace, and a thread that reads what the server gets."""

    def __init__(self, netns: NetNs) -> None:
        with netns.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            self.client = netns.socket(socket.AF_INET, socket.SOCK_STREAM)
            self.client.connect(listener.getsockname())
            self.server = listener.accept()[0]
        for one in (self.client, self.server):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            one.settimeout(10)
        self.received = bytearray()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while data := self.server.recv(65536):
            self.received += data

    def sent(self) -> bytes:
        """All that the server got, up to the end of the client's stream."""
        self.client.shutdown(socket.SHUT_WR)
        self._thread.join(10)
        assert not self._thread.is_alive()
        return bytes(self.received)

    def close(self) -> None:
        self.client.close()
        self._thread.join(10)
        self.server.close()


@pytest.fixture
def pair(netns: NetNs, sockets: Sockets) -> Iterator[Pair]:
    made = Pair(netns)
    try:
        yield made
    finally:
        made.close()


def told(events: list[SocketEvent], direction: int = REQUEST) -> list[tuple[object, ...]]:
    """What does not depend on how the bytes came in pieces: what was found, and what is behind it."""
    return [behind(event.raw) for event in events if event.raw.direction == direction]


def behind(raw: RawEvent) -> tuple[object, ...]:
    return raw.kind, raw.op, raw.code, raw.position + raw.head, raw.stream, raw.values, raw.text


def by_hand(engine: KernelEngine, data: bytes, direction: int = REQUEST) -> list[tuple[object, ...]]:
    return [behind(raw) for raw in engine.connection().feed(direction, data)]


# --- ways to send ---------------------------------------------------------------------------------------------------------


def with_send(client: socket.socket, data: bytes) -> None:
    client.sendall(data)


def with_small_sends(client: socket.socket, data: bytes) -> None:
    for at in range(0, len(data), 997):
        client.sendall(data[at : at + 997])


def with_vectors(client: socket.socket, data: bytes) -> None:
    at = 0
    while at < len(data):
        at += client.sendmsg([data[start : start + 333] for start in range(at, at + 64 * 333, 333)])


def with_sendfile(client: socket.socket, data: bytes) -> None:
    with holding(data) as file:
        offset = 0
        while offset < len(data):
            offset += os.sendfile(client.fileno(), file.fileno(), offset, len(data) - offset)


def with_splice(client: socket.socket, data: bytes) -> None:
    reader, writer = os.pipe()
    try:
        with holding(data) as source:
            offset = 0
            while offset < len(data):
                moved = os.splice(source.fileno(), writer, min(8192, len(data) - offset), offset_src=offset)
                offset += moved
                while moved:
                    moved -= os.splice(reader, client.fileno(), moved)
    finally:
        os.close(reader)
        os.close(writer)


def with_zerocopy(client: socket.socket, data: bytes) -> None:
    client.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
    with mmap.mmap(-1, len(data)) as pages:  # the kernel sends these very pages
        pages[:] = data
        view = memoryview(pages)
        offset = 0
        while offset < len(data):
            part = view[offset:]
            offset += client.send(part, MSG_ZEROCOPY)
            part.release()
        view.release()


@contextmanager
def holding(data: bytes) -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        yield file


WAYS = {
    "send": with_send,
    "small sends": with_small_sends,
    "sendmsg of 64 vectors": with_vectors,
    "sendfile": with_sendfile,
    "splice": with_splice,
    "MSG_ZEROCOPY": with_zerocopy,
}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_sent_is_parsed_and_arrives_however_it_is_sent(engine, sockets, pair, way):
    assert sockets.enrol(pair.client) == 1
    WAYS[way](pair.client, STREAM)
    assert pair.sent() == STREAM
    assert told(sockets.events()) == by_hand(engine, STREAM)
    counted = sockets.counters()
    assert counted[Counter.RUNS_MSG] > 0
    assert counted[Counter.PULLED] >= len(STREAM) // 4096
    assert counted[Counter.NOT_FILLED] == counted[Counter.NO_SCRATCH] == counted[Counter.RING_FULL] == 0


def test_a_message_of_several_elements_is_pulled_to_be_seen(sockets, pair):
    sockets.enrol(pair.client)
    data = STREAM * 3  # in one message: of its elements, none longer than 32 KiB, the program sees the first
    assert pair.client.send(data) == len(data)
    assert pair.sent() == data
    counted = sockets.counters()
    assert counted[Counter.PART_AT_FIRST] + counted[Counter.EMPTY_AT_FIRST] > 0
    assert counted[Counter.NOT_FILLED] == 0
    assert sum(event.raw.kind == TEXT for event in sockets.events()) == 3 * 63


def test_payload_goes_on_unseen(sockets, pair):
    sockets.enrol(pair.client)
    data = parcel(b"P", bytes(60_000)) * 5 + parcel(b"T", b"end")
    pair.client.sendall(data)
    assert pair.sent() == data
    assert [event.raw.bytes_of(1) for event in sockets.events() if event.raw.kind == TEXT] == [b"end"]
    assert sockets.counters()[Counter.PULLED] < 5 * 60_000 // 4096


def test_answers_are_parsed_as_they_are_received(engine, sockets, pair):
    number = sockets.enrol(pair.client)
    pair.client.sendall(parcel(b"T", b"question"))
    pair.server.sendall(STREAM)
    received = b""
    while len(received) < len(STREAM):
        received += pair.client.recv(65536)
    assert received == STREAM
    events = sockets.events()
    assert told(events, RESPONSE) == by_hand(engine, STREAM, RESPONSE)
    assert {event.link for event in events} == {number}
    assert [event.raw.bytes_of(1) for event in events if event.raw.direction == REQUEST] == [b"question"]


def test_an_enrolled_socket_still_tells_how_much_it_can_read(sockets, pair):
    sockets.enrol(pair.client)
    pair.server.sendall(parcel(b"T", b"12345"))
    assert eventually(lambda: readable(pair.client) == 8)
    assert pair.client.recv(100) == parcel(b"T", b"12345")


def readable(one: socket.socket) -> int:
    found = array.array("i", [0])
    fcntl.ioctl(one, termios.FIONREAD, found, True)
    return found[0]


def test_a_stream_that_breaks_the_protocol_is_told_once_and_passes(sockets, pair):
    sockets.enrol(pair.client)
    data = FINAL["breaks"]
    pair.client.sendall(data)
    pair.client.sendall(data)
    assert pair.sent() == data * 2
    errors = [event.raw for event in sockets.events() if event.raw.op >= Op.ESCALATE]
    assert [(raw.op, raw.position) for raw in errors] == [(Op.ERROR, 6)]


# --- several at a time ----------------------------------------------------------------------------------------------------


def test_many_connections_at_once_do_not_share_a_window(netns, engine, sockets):
    """Senders preempt one another on two CPUs, and what arrives interrupts them: each finds a scratch of its own."""
    with ExitStack() as stack:
        pairs = [Pair(netns) for _ in range(LINKS - 1)]
        for one in pairs:
            stack.callback(one.close)
        numbers = {sockets.enrol(one.client): one for one in pairs}
        streams = {number: parcel(b"T", bytes([64 + number]) * 700) * 40 for number in numbers}

        def both(number: int, one: Pair) -> None:
            for at in range(0, len(streams[number]), 5000):
                one.client.sendall(streams[number][at : at + 5000])
                one.server.sendall(streams[number][at : at + 5000])
                one.client.recv(65536)

        run([lambda number=number, one=one: both(number, one) for number, one in numbers.items()])
        for number, one in numbers.items():
            assert one.sent() == streams[number]
        events = sockets.events()
    for number in numbers:
        expected = by_hand(engine, streams[number])
        assert told([event for event in events if event.link == number]) == expected
    counted = sockets.counters()
    assert counted[Counter.NOT_FILLED] == counted[Counter.NO_SCRATCH] == 0
    assert all(not taken for name in ("l7_scratch_msg", "l7_scratch_skb") for taken in flags(engine, name))


def run(functions: list[Callable[[], None]]) -> None:
    failures: list[BaseException] = []

    def guarded(function: Callable[[], None]) -> None:
        try:
            function()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not failures


def flags(engine: KernelEngine, name: str) -> list[int]:
    """Which scratches of all CPUs are taken."""
    scratches = engine.loaded.maps[name]
    stride = -(-scratches.value.value.size // 8) * 8
    found = []
    for index in range(scratches.max_entries):
        data = scratches.lookup_raw(struct.pack("<I", index)) or b""
        found += [int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data), stride)]
    return found


def test_bytes_that_found_no_scratch_are_lost_to_the_core_and_not_to_the_server(engine, sockets, pair):
    sockets.enrol(pair.client)
    pair.client.sendall(parcel(b"T", b"before"))
    scratches = engine.loaded.maps["l7_scratch_msg"]
    for index in range(scratches.max_entries):
        data = bytearray(scratches.lookup_raw(struct.pack("<I", index)))
        stride = len(data) // (len(flags(engine, "l7_scratch_msg")) // scratches.max_entries)
        for at in range(0, len(data), stride):
            data[at] = 1
        scratches.update_raw(struct.pack("<I", index), bytes(data))
    pair.client.sendall(parcel(b"T", b"unseen"))
    scratches.clear()
    pair.client.sendall(parcel(b"T", b"after"))
    assert pair.sent() == b"".join(parcel(b"T", text) for text in (b"before", b"unseen", b"after"))
    assert sockets.counters()[Counter.NO_SCRATCH] == 1
    events = [event.raw for event in sockets.events()]
    assert [raw.bytes_of(1) for raw in events if raw.kind == TEXT] == [b"before"]
    assert [(raw.op, raw.code, raw.position) for raw in events[1:]] == [(Op.ESCALATE, Code.GAP, 18)]


# --- enrolling ------------------------------------------------------------------------------------------------------------


def test_sockets_that_are_not_enrolled_are_left_alone(netns, engine, sockets, pair):
    other = Pair(netns)
    other.client.sendall(STREAM)
    assert other.sent() == STREAM
    other.close()
    assert sockets.events() == []
    assert sockets.counters()[Counter.RUNS_MSG] == 0


def test_what_cannot_be_enrolled_is_refused(netns, sockets, pair):
    with (
        netns.socket(socket.AF_INET, socket.SOCK_STREAM) as unconnected,
        pytest.raises(MapError, match=r"not connected: ENOTCONN"),
    ):
        sockets.enrol(unconnected)
    assert sockets.enrol(pair.client) == 1
    with pytest.raises(MapKeyError, match=r"enrolled already"):
        sockets.enrol(pair.client)
    pair.client.sendall(parcel(b"T", b"still seen"))
    assert [event.raw.bytes_of(1) for event in sockets.events()] == [b"still seen"]
    sockets.close()
    with pytest.raises(ClosedError, match=r"the programs are detached"):
        sockets.enrol(pair.server)


def test_a_link_is_free_again_when_its_socket_is_closed(netns, sockets):
    with ExitStack() as stack:
        pairs = [Pair(netns) for _ in range(LINKS)]
        for one in pairs:
            stack.callback(one.close)
        *enrolled, spare = pairs
        assert [sockets.enrol(one.client) for one in enrolled] == list(range(1, LINKS))
        with pytest.raises(CapacityError, match=r"15 sockets are enrolled"):
            sockets.enrol(spare.client)
        enrolled[4].client.sendall(parcel(b"T", b"x")[:-1])
        enrolled[4].close()
        assert sockets.enrol(spare.client) == 5
        spare.client.sendall(parcel(b"T", b"anew"))
        assert [event.raw.bytes_of(1) for event in sockets.events()] == [b"anew"]


# --- a built-in parser ----------------------------------------------------------------------------------------------------


def test_http_requests_and_their_answers_are_told_from_both_ends_of_a_socket(netns, _leaks_fail):
    parser = l7.parser("http1")
    body = b"x" * 20_000
    request = b"POST /upload?a=b HTTP/1.1\r\nHost: example.com\r\nContent-Length: 20000\r\n\r\n" + body
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4e20\r\n" + body + b"\r\n0\r\n\r\n"
    with harness.load("http1", sockets=True) as engine, Sockets(engine) as sockets:
        pair = Pair(netns)
        try:
            sockets.enrol(pair.client)
            for _ in range(2):
                pair.client.sendall(request)
                pair.server.sendall(answer)
                received = b""
                while len(received) < len(answer):
                    received += pair.client.recv(65536)
                assert received == answer
            assert pair.sent() == request * 2
        finally:
            pair.close()
        events = sockets.events()
        expected = parser.core.connection().feed(REQUEST, request * 2)
        assert heads(events, REQUEST) == [behind(raw) for raw in expected if raw.kind]
        assert [row[4] for row in heads(events, RESPONSE)] == [1, 2]  # each answers its request
        assert sockets.counters()[Counter.NOT_FILLED] == 0


def heads(events: list[SocketEvent], direction: int) -> list[tuple[object, ...]]:
    """What was told of messages, without their payload."""
    return [
        behind(one.raw) for one in events if one.raw.kind == 1 + direction and one.raw.direction == direction
    ]
