"""A send that comes between the pieces of another.

One thread's message was judged as a whole, and its push waits for room in the socket's buffer, the socket's lock released.
What another thread sends then looks as if the rest of that message had been lost and came again: first the rest of the
body, then a request that is allowed, with a body so long that nothing behind it is looked at. But the first thread's rest
is not lost. If it gets the lock between the second's judgement and its push, it stands where the second request was judged
to stand, and is a request.

Neither the guard nor the count of bytes can tell: as many left as were judged. What prevents it is `l7_is_alone()`; without
it some one attempt in eight succeeds (Linux 6.18). How much of the first message is in the socket, the kernel tells its
sender (TCP_INFO, SIOCOUTQ).
"""

from __future__ import annotations

import fcntl
import random
import socket
import struct
import termios
import threading
import time
from contextlib import suppress

import pytest
from l7_bypass import SMALL, CrampedSite

pytestmark = pytest.mark.kernel(feature="sockhash")
SITE = CrampedSite

SECONDS = 5.0
BODIES = range(
    9600, 11700, 300
)  # a little more than the socket takes: the rest finds room at once, what is behind it does not
EVIL = b"GET /admin HTTP/1.1\r\n\r\n"  # as short as can be: where it stands in a piece is a matter of chance
LONG = b"POST /public/p HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
BYTES_ACKED = 120  # its place in struct tcp_info


def queued(one: socket.socket) -> int:
    """Bytes that the socket has taken since it was made, the SYN included."""
    info = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232)
    [acknowledged] = struct.unpack_from("=Q", info, BYTES_ACKED)
    [waiting] = struct.unpack("=i", fcntl.ioctl(one, termios.TIOCOUTQ, bytes(4)))
    return int(acknowledged + waiting)


def stands_still(one: socket.socket) -> int:
    """The same, once it grows no more."""
    before = -1
    while (now := queued(one)) != before:
        before = now
        time.sleep(0.01)
    return now


def send(one: socket.socket, data: bytes) -> threading.Thread:
    def run() -> None:
        with suppress(OSError):
            one.send(data)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


chance = random.Random(4)


def test_nothing_comes_between_the_pieces_of_a_message(site):
    site.start()
    end = time.monotonic() + SECONDS
    tried, rests = 0, dict[int, int]()
    while time.monotonic() < end and not site.witness.evil():
        site.witness.pace = (chance.choice((300, 600, 1500, 3000)), chance.choice((0.0, 0.0002, 0.001)))
        body = chance.choice(BODIES)
        head = b"POST /public/p HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % body
        rest = rests.get(body, 0)
        site.witness.reading.clear()
        one = site.connect(send_buffer=SMALL)
        one.setblocking(True)
        begun = queued(one)
        first = send(one, head + b"a" * (body - rest) + (EVIL * 1000)[:rest])
        rests[body] = rest = len(head) + body - (stands_still(one) - begun)
        second = first
        if first.is_alive() and rest > len(EVIL):
            tried += 1
            second = send(one, b"b" * rest + LONG)
            time.sleep(0.005)
            site.witness.reading.set()
            second.join(0.1)
        one.shutdown(socket.SHUT_RDWR)  # also ends a send that waits
        for thread in (first, second):
            thread.join(5)
            assert not thread.is_alive()
        one.close()
    site.witness.reading.set()
    assert tried >= 10
    assert site.witness.evil() == []
