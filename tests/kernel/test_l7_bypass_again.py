"""A client that sends other bytes when its push fails: what it was judged for is not what the server would get.

The kernel takes a message in part, or not at all, where the socket's buffer is full; an honest client then sends the same
bytes again. Here requests, bodies and cuts are drawn at random, and a strict server says which requests it read.
"""

from __future__ import annotations

import random
import socket
import threading
import time
from contextlib import suppress

import pytest
from l7_bypass import EVIL, SMALL, BypassSite, CrampedSite

pytestmark = pytest.mark.kernel(feature="sockhash")
SITE = CrampedSite

SECONDS = 3.0


def stream(chance: random.Random) -> bytes:
    """Requests that are allowed, some with bodies that look like requests which are not."""
    pieces = []
    for _ in range(chance.randrange(1, 30)):
        match chance.randrange(4):
            case 0:
                pieces.append(b"GET /public/%d HTTP/1.1\r\nHost: a\r\n\r\n" % chance.randrange(1000))
            case 1:
                pad = b"x" * chance.randrange(2000)
                pieces.append(b"GET /public/y HTTP/1.1\r\nHost: a\r\nX-Pad: " + pad + b"\r\n\r\n")
            case _:
                body = (EVIL * 200)[chance.randrange(30) :][: chance.randrange(1, 6000)]
                pieces.append(
                    b"POST /public/up HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body
                )
    return b"".join(pieces)


def otherwise(data: bytes, chance: random.Random) -> bytes:
    """Other bytes of the same length."""
    match chance.randrange(4):
        case 0:
            return data.replace(b"/public/", b"/admin/x")
        case 1:
            return data.replace(b"Content-Length: ", b"Content-Lengt_: ")
        case 2:
            return (EVIL * (len(data) // len(EVIL) + 1))[: len(data)]
        case _:
            at = chance.randrange(len(EVIL))
            return (EVIL[at:] + EVIL * (len(data) // len(EVIL) + 1))[: len(data)]


class Client:
    """Sends a stream on a connection that is full again and again, honestly or not, and counts."""

    def __init__(self, site: BypassSite, seed: int, lies: float) -> None:
        self.chance, self.lies = random.Random(seed), lies
        self.one = site.connect(send_buffer=SMALL)
        self.one.setblocking(False)
        self.cuts = self.lied = self.sent = 0

    def go(self, seconds: float) -> bool:
        """Send until the time is up; False if the connection was ended by then."""
        deadline = time.monotonic() + seconds
        data, at = stream(self.chance), 0
        while time.monotonic() < deadline:
            with suppress(BlockingIOError):
                while self.one.recv(1 << 16):
                    pass
                return False
            size = (
                len(data) - at if self.chance.random() < 0.7 else self.chance.randrange(1, len(data) - at + 1)
            )
            try:
                taken = self.one.send(data[at : at + size])
            except BlockingIOError:
                taken = 0
                time.sleep(0.0005)
            except OSError:
                return False
            at += taken
            self.sent += taken
            if taken < size:
                self.cuts += 1
                if self.chance.random() < self.lies:
                    self.lied += 1
                    data = data[:at] + otherwise(data[at:], self.chance)
            if at == len(data):
                data, at = stream(self.chance), 0
        return True


def slowly(site: BypassSite, stop: threading.Event) -> None:
    """Let the server read now little, now much, now nothing."""
    chance = random.Random(1)
    while not stop.wait(0.003):
        site.witness.pace = (chance.choice((100, 700, 3000, 60_000)), chance.choice((0, 0, 0.0005, 0.002)))
        if chance.random() < 0.1:
            site.witness.reading.clear()
            stop.wait(0.005)
            site.witness.reading.set()


@pytest.mark.parametrize("seed", range(3))
def test_a_client_that_lies_gets_nothing_past_the_policy(site, seed):
    site.start()
    stop = threading.Event()
    reader = threading.Thread(target=slowly, args=(site, stop), daemon=True)
    reader.start()
    deadline = time.monotonic() + SECONDS
    cuts = lied = connections = 0
    try:
        while time.monotonic() < deadline:
            client = Client(site, seed * 1_000_003 + connections, lies=0.15)
            client.go(min(0.5, deadline - time.monotonic()))
            client.one.close()
            cuts, lied, connections = cuts + client.cuts, lied + client.lied, connections + 1
    finally:
        stop.set()
        reader.join()
    assert cuts > 20
    assert lied > 5
    assert site.witness.evil() == []


@pytest.mark.parametrize("seed", range(2))
def test_an_honest_client_loses_nothing(site, seed):
    """The same without lies: no connection is ended, and the server reads exactly what was sent."""
    site.start()
    stop = threading.Event()
    reader = threading.Thread(target=slowly, args=(site, stop), daemon=True)
    reader.start()
    try:
        client = Client(site, seed + 77, lies=0)
        assert client.go(SECONDS), site.counters()
    finally:
        stop.set()
        reader.join()
        site.witness.pace = (1 << 16, 0.0)
    assert client.cuts > 20
    counted = site.counters()
    assert "out_of_step" not in counted
    client.one.setblocking(True)
    client.one.settimeout(3)
    client.one.shutdown(socket.SHUT_WR)
    while client.one.recv(1 << 16):
        pass
    assert len(site.witness.received[0]) == client.sent
