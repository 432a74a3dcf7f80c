"""Traffic between two connections of PyPI's h2, whatever they do and however the wire cuts and interleaves it.

What h2 received at each end is what the parser must have told.
"""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import pytest

from ebpfmesh import harness, l7
from ebpfmesh.l7 import http2
from ebpfmesh.l7.contract import Config, Engine

Pairs = list[tuple[str, str]]
Settings = h2.settings.SettingCodes
NAMES = ("accept", "x-token", "x-request-id", "x-long", "cache-control", "authorization")


class Wire:
    """A client and a server of h2, and the bytes between them in the order in which they were delivered."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.client, self.server = (
            h2.connection.H2Connection(h2.config.H2Configuration(client_side=side, header_encoding="utf-8"))
            for side in (True, False)
        )
        self.pieces: list[tuple[int, bytes]] = []
        self.waiting = (bytearray(), bytearray())
        self.heads: dict[tuple[int, int], list[Any]] = defaultdict(list)
        """What each end received, by direction and stream: heads, bytes, ends and resets, in order."""
        self.bodies: dict[tuple[int, int], bytes] = defaultdict(bytes)
        self.unanswered: list[int] = []
        self.talking: set[int] = set()
        self.answering: set[int] = set()
        self.bodiless: set[int] = set()
        """Streams whose request is HEAD."""
        self.over = False
        self.settled: list[h2.connection.H2Connection] = []
        """Peers whose settings are acknowledged."""

    def send(self) -> None:
        for direction, peer in enumerate((self.client, self.server)):
            self.waiting[direction].extend(peer.data_to_send())

    def deliver(self, direction: int, count: int) -> None:
        data = bytes(self.waiting[direction][:count])
        del self.waiting[direction][:count]
        if not data:
            return
        self.pieces.append((direction, data))
        for event in (self.server, self.client)[direction].receive_data(data):
            self.received(direction, event)
        self.send()

    def received(self, direction: int, event: h2.events.Event) -> None:
        heads = {
            h2.events.RequestReceived: "request",
            h2.events.ResponseReceived: "response",
            h2.events.InformationalResponseReceived: "interim",
            h2.events.TrailersReceived: "trailers",
        }
        stream = getattr(event, "stream_id", 0)
        told = self.heads[direction, stream]
        if type(event) in heads:
            told.append((heads[type(event)], tuple(tuple(pair) for pair in event.headers)))
            if isinstance(event, h2.events.RequestReceived):
                self.unanswered.append(stream)
        elif isinstance(event, h2.events.DataReceived):
            self.bodies[direction, stream] += event.data
            if event.flow_controlled_length:
                receiver = (self.server, self.client)[direction]
                receiver.acknowledge_received_data(event.flow_controlled_length, stream)
        elif isinstance(event, h2.events.SettingsAcknowledged):
            self.settled.append((self.server, self.client)[direction])
        elif isinstance(event, h2.events.StreamEnded):
            told.append("end")
        elif isinstance(event, h2.events.StreamReset):
            told.append(("reset", int(event.error_code)))
            self.forget(stream)

    def forget(self, stream: int) -> None:
        self.talking.discard(stream)
        self.answering.discard(stream)
        if stream in self.unanswered:
            self.unanswered.remove(stream)

    # --- what the peers do

    def headers(self) -> Pairs:
        found: Pairs = []
        for _ in range(self.random.randrange(6)):
            name = self.random.choice(NAMES)
            text = "".join(
                self.random.choice("abc =;/é0123456789XYZ") for _ in range(self.random.randrange(60))
            )
            found.append((name, text.strip()))
        return found

    def act(self) -> None:
        act = self.random.choice(
            (self.ask, self.ask, self.talk, self.answer, self.answer, self.talk_back, self.other)
        )
        try:
            act()
        except h2.exceptions.ProtocolError:
            self.over = (
                True  # too many streams, or no window: what h2's encoder did for the frame is in no frame
            )
        self.send()

    def ask(self) -> None:
        stream = self.client.get_next_available_stream_id()
        ends = self.random.random() < 0.5
        method = self.random.choice(("GET", "POST", "HEAD"))
        head = [(":method", method), (":scheme", "https"), (":path", "/a?b"), (":authority", "a.example")]
        self.client.send_headers(stream, head + self.headers(), end_stream=ends)
        if method == "HEAD":
            self.bodiless.add(stream)
        if not ends:
            self.talking.add(stream)

    def talk(self) -> None:
        self.speak(self.client, self.talking)

    def talk_back(self) -> None:
        self.speak(self.server, self.answering)

    def speak(self, peer: h2.connection.H2Connection, open_streams: set[int]) -> None:
        if not open_streams:
            return
        stream = self.random.choice(sorted(open_streams))
        what = self.random.random()
        if what < 0.1:
            self.forget(stream)
            peer.reset_stream(stream, self.random.choice((0, 2, 8)))
        elif what < 0.25:
            open_streams.discard(stream)
            peer.send_headers(stream, [*self.headers(), ("x-last", "1")], end_stream=True)
        else:
            ends = self.random.random() < 0.3
            payload = bytes(self.random.randrange(256) for _ in range(self.random.choice((0, 1, 50, 700))))
            padding = self.random.choice((None, None, 0, 1, 200))
            peer.send_data(stream, payload, end_stream=ends, pad_length=padding)
            if ends:
                open_streams.discard(stream)

    def answer(self) -> None:
        if not self.unanswered:
            return
        stream = self.unanswered.pop(self.random.randrange(len(self.unanswered)))
        if self.random.random() < 0.2:
            self.server.send_headers(stream, [(":status", "103"), *self.headers()])
        ends = stream in self.bodiless or self.random.random() < 0.4
        self.server.send_headers(stream, [(":status", "200"), *self.headers()], end_stream=ends)
        if not ends:
            self.answering.add(stream)

    def other(self) -> None:
        peer = self.random.choice((self.client, self.server))
        what = self.random.randrange(5)
        if what == 0:
            peer.ping(bytes(8))
        elif what == 1:
            # one at a time: h2 takes the first acknowledgement for one of all that it has sent
            if peer in self.settled:
                self.settled.remove(peer)
                value = self.random.choice((0, 100, 4096))
                size = {Settings.HEADER_TABLE_SIZE: value} if self.random.random() < 0.7 else {}
                peer.update_settings({Settings.MAX_FRAME_SIZE: self.random.choice((16384, 20000)), **size})
        elif what == 2:
            peer.ping(bytes(8))
        elif what == 3:
            peer.increment_flow_control_window(self.random.randrange(1, 1000))
        else:
            self.client.prioritize(self.client.get_next_available_stream_id() - 2 or 1, weight=5)

    def run(self, steps: int) -> None:
        self.client.initiate_connection()
        self.server.initiate_connection()
        self.send()
        for _ in range(steps):
            if not self.over and self.random.random() < 0.6:
                self.act()
            else:
                self.deliver(self.random.randrange(2), self.random.choice((1, 5, 9, 30, 1000, 10**6)))
        while any(self.waiting):
            self.deliver(self.random.randrange(2), 10**6)


def told(
    pieces: list[tuple[int, bytes]], engine: Engine | None = None
) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """The same as a wire's heads and bodies, by the parser."""
    connection = l7.parser("http2").connection(Config(all_headers=True), engine=engine)
    heads: dict[tuple[int, int], list[Any]] = defaultdict(list)
    bodies: dict[tuple[int, int], bytes] = defaultdict(bytes)
    for direction, data in pieces:
        for event in connection.feed(direction, data):
            assert not isinstance(event, l7.Undecodable), event
            if isinstance(event, http2.Settings | http2.Flood | http2.GoAway):
                continue
            place = event.direction, event.stream
            if isinstance(event, l7.Data):
                bodies[place] += event.data
            elif isinstance(event, l7.End):
                heads[place].append("end")
            elif isinstance(event, http2.Reset):
                heads[place].append(("reset", int(event.code)))
            else:
                pairs = tuple((n, v.encode("latin-1").decode("utf-8")) for n, v in event.headers)
                heads[place].append((type(event).__name__.lower(), pairs))
    return heads, bodies


def agrees(wire: Wire, heads: dict[Any, Any], bodies: dict[Any, Any]) -> int:
    """What is told is what was received; of a stream that was reset, its beginning. Returns how much was compared."""
    count = 0
    for place, received in wire.heads.items():
        if not place[1]:
            continue
        stopped = any(item[0] == "reset" for side in (0, 1) for item in wire.heads.get((side, place[1]), ()))
        mine = heads.get(place, [])
        if stopped:
            assert mine[: len(received)] == received or received[: len(mine)] == mine, place
            assert bodies.get(place, b"").startswith(wire.bodies.get(place, b"")), place
        else:
            assert mine == received, place
            assert bodies.get(place, b"") == wire.bodies.get(place, b""), place
        count += len(received)
    return count


def recut(pieces: list[tuple[int, bytes]], size: int) -> list[tuple[int, bytes]]:
    return [(side, data[at : at + size]) for side, data in pieces for at in range(0, len(data), size)]


@pytest.mark.parametrize("seed", range(40))
def test_what_h2_receives_is_what_is_told(seed: int) -> None:
    wire = Wire(seed)
    wire.run(300)
    assert agrees(wire, *told(wire.pieces)) > 10
    for size in (1, 7, 100):
        assert told(recut(wire.pieces, size)) == told(wire.pieces)


@pytest.mark.kernel(feature="loop")
def test_the_same_is_told_in_the_kernel() -> None:
    with harness.load("http2") as kernel:
        for seed in range(100, 106):
            wire = Wire(seed)
            wire.run(200)
            assert agrees(wire, *told(wire.pieces, kernel)) > 5
            cut = recut(wire.pieces, 11)
            mine, theirs = kernel.connection(Config()), l7.parser("http2").core.connection(Config())
            for side, data in cut:
                assert mine.feed(side, data) == theirs.feed(side, data)
