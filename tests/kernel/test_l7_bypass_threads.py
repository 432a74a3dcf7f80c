"""Two threads that send on one socket at once: what one sends comes into the middle of what the other is still pushing."""

from __future__ import annotations

import random
import socket
import threading
import time
from contextlib import suppress

import pytest
from l7_bypass import EVIL, SMALL, CrampedSite

pytestmark = pytest.mark.kernel(feature="sockhash")
SITE = CrampedSite

SECONDS = 3.0


def post(length: int, body: bytes) -> bytes:
    return b"POST /public/p HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % length + body


def honest_looking(chance: random.Random) -> bytes:
    """A message that is allowed by itself, and hides requests that are not in what it says is a body."""
    cover = b"c" * chance.randrange(200)
    hidden = cover + EVIL * chance.randrange(1, 40)
    match chance.randrange(3):
        case 0:
            return post(len(hidden), hidden)
        case 1:
            length = chance.randrange(1, 9000)
            return post(length, b"a" * length)
        case _:
            return post(len(cover), cover) + post(len(hidden), hidden)


def send_for(one: socket.socket, seed: int, flags: int, deadline: float) -> int:
    """Send such messages until the time is up, or the connection is ended; how many were taken as a whole."""
    chance, count = random.Random(seed), 0
    while time.monotonic() < deadline:
        data = honest_looking(chance)
        try:
            taken = one.send(data, flags)
        except BlockingIOError:
            time.sleep(0.0002)
            continue
        except OSError:
            return count
        count += taken == len(data)
        if taken < len(data) and not flags:
            with suppress(OSError):
                one.sendall(data[taken:])
    return count


@pytest.mark.parametrize(
    "flags", [(0, 0), (0, socket.MSG_DONTWAIT), (socket.MSG_DONTWAIT, socket.MSG_DONTWAIT)], ids=str
)
def test_threads_get_nothing_past_the_policy(site, flags):
    site.start()
    site.witness.pace = (3000, 0.0003)
    end = time.monotonic() + SECONDS
    seed = ended = 0
    while time.monotonic() < end:
        one = site.connect(send_buffer=SMALL)
        one.setblocking(True)
        deadline = min(time.monotonic() + 0.4, end)
        threads = [
            threading.Thread(target=send_for, args=(one, seed + number, flag, deadline), daemon=True)
            for number, flag in enumerate(flags)
        ]
        for thread in threads:
            thread.start()
        while time.monotonic() < deadline and all(thread.is_alive() for thread in threads):
            with suppress(BlockingIOError, OSError):
                one.recv(1 << 16, socket.MSG_DONTWAIT)
            time.sleep(0.001)
        one.shutdown(socket.SHUT_RDWR)  # also ends a send that waits
        for thread in threads:
            thread.join(5)
            assert not thread.is_alive()
        one.close()
        seed, ended = seed + 10, ended + 1
    assert ended >= 3
    assert site.witness.evil() == []


def test_one_thread_after_the_other_is_no_offence(site):
    """Each waits for the other to be done: nothing is concurrent, and nothing is ended, though buffers are full."""
    site.start()
    site.witness.pace = (3000, 0.0)
    one = site.connect(send_buffer=SMALL)
    one.settimeout(3)
    body = b"a" * 5000
    errors: list[BaseException] = []

    def send() -> None:
        try:
            one.sendall(post(len(body), body))
        except OSError as error:
            errors.append(error)

    for _ in range(30):
        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        thread.join(5)
        assert one.recv(1000)
    assert errors == []
    assert "out_of_step" not in site.counters()
