"""Pushes that fail for want of memory, in a buffer that has room: the client's memory cgroup is at its limit.

The program has judged the message by then. What did not leave must come again as it was, or not at all: a client that sends
other bytes in its place must not get them past the policy. Memory is short only for the client's own sockets: they are of a
memory cgroup of the test, whose limit for TCP is a few pages more than they have.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from l7_bypass import ADDRESS, EVIL, GOOD, OK, BypassSite

from ebpfmesh.testing import NetNs, PrivateCgroup

MEMORY = Path("/sys/fs/cgroup/memory")  # of cgroup v1: it can limit the memory of sockets alone
PLENTY, PAGE = 16 << 20, os.sysconf("SC_PAGESIZE")
SO_SNDBUFFORCE = 32  # include/uapi/asm-generic/socket.h

pytestmark = [
    pytest.mark.kernel(feature="sockhash"),
    pytest.mark.skipif(
        not (MEMORY / "memory.kmem.tcp.limit_in_bytes").exists(),
        reason="the host has no memory cgroup of v1, whose memory of TCP can be limited",
    ),
]

# A socket is of the cgroups of the process that makes it: this one joins ours, and hands over as many as it is asked for.
MAKER = """
import socket, sys
open(sys.argv[1] + "/cgroup.procs", "w").write("0")
asked = socket.socket(fileno=int(sys.argv[2]))
while asked.recv(1):
    with socket.socket() as made:
        socket.send_fds(asked, [b"x"], [made.fileno()])
"""


class Poor:
    """A memory cgroup, and clients' sockets that are charged to it."""

    def __init__(self, site: BypassSite) -> None:
        self.site, self.path = site, MEMORY / f"ebpfmesh-test-{os.getpid()}"
        self.path.mkdir()
        self.limit(PLENTY)  # before the first socket: it is charged only where there is a limit
        self._asked, asked = socket.socketpair()
        with asked:
            words = [sys.executable, "-c", MAKER, str(self.path), str(asked.fileno())]
            self._maker: subprocess.Popen[bytes] = site.cgroup.popen(
                ["nsenter", f"--net={site.netns.path}", "--", *words], pass_fds=[asked.fileno()]
            )

    def close(self) -> None:
        """End it; its sockets are closed."""
        self._asked.close()
        self._maker.wait(10)
        deadline = time.monotonic() + 5
        while True:
            try:
                return self.path.rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def limit(self, size: int) -> None:
        """What all sockets may take, bytes."""
        (self.path / "memory.kmem.tcp.limit_in_bytes").write_text(str(size))

    def leave(self, pages: int) -> None:
        """So much more than they have may they take."""
        used = int((self.path / "memory.kmem.tcp.usage_in_bytes").read_text())
        self.limit(used + pages * PAGE)

    def connect(self) -> socket.socket:
        """A connection to the service, which has been answered once."""
        self.limit(PLENTY)
        self._asked.send(b"x")
        _, [number], _, _ = socket.recv_fds(self._asked, 1, 1)
        one = socket.socket(fileno=number)
        one.settimeout(3)
        one.connect(ADDRESS)
        one.sendall(GOOD)
        assert one.recv(1000) == OK
        one.setblocking(False)
        return one


@pytest.fixture
def poor(cgroup: PrivateCgroup, netns: NetNs, bpffs: Path, tmp_path: Path) -> Iterator[Poor]:
    with BypassSite(cgroup, netns, bpffs, tmp_path) as site:
        site.start()
        made = Poor(site)
        try:
            yield made
        finally:
            made.close()


HEAD = b"POST /public/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = b"100\r\n" + b"c" * 256 + b"\r\n"
LAST = b"0\r\n\r\n"


def chunks(count: int) -> bytes:
    return HEAD + CHUNK * count + LAST


def other_end(message: bytes, at: int) -> bytes:
    """What goes on from ``at`` like ``message``, for one chunk, and is another request then."""
    inside = (at - len(HEAD)) % len(CHUNK)
    return (CHUNK[inside:] + LAST + EVIL * 2000)[: len(message) - at]


def send(one: socket.socket, message: bytes, *, lies: bool, poor: Poor) -> tuple[int, int]:
    """Send all of it, with plenty of memory at last; how many bytes were taken, and in how many calls it was cut."""
    at = cuts = failed = 0
    while at < len(message):
        try:
            taken = one.send(message[at:])
        except BlockingIOError:
            taken, failed = 0, failed + 1
            time.sleep(0.002)
            if failed == 3:
                poor.limit(PLENTY)
            assert failed < 1000
        except PermissionError:
            break
        at += taken
        if at < len(message) and not cuts:
            cuts += 1
            if lies and at > len(HEAD):
                message = message[:at] + other_end(message, at)
    return at, cuts


@pytest.mark.parametrize("count", [16, 60, 120, 228])
def test_what_is_sent_in_the_place_of_judged_bytes_does_not_pass(poor, count):
    message, cut = chunks(count), 0
    for pages in range(24):
        one = poor.connect()
        poor.leave(pages)
        _, cuts = send(one, message, lies=True, poor=poor)
        cut += cuts
        one.close()
    time.sleep(0.1)
    assert b"/admin" not in poor.site.witness.everything()
    print(count, "chunks were cut", cut, "times of 24;", poor.site.counters())
    assert cut or count < 228


@pytest.mark.parametrize("size", [40, 500, 2000, 4000])
def test_nor_behind_what_the_server_has_not_read(poor, size):
    """The queue is not empty, so that even a small push may find no memory."""
    witness, failed = poor.site.witness, 0
    body = 300_000
    fill = b"POST /public/x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % body + b"b" * body
    good, evil = (each[:-2] + b"X: " + b"y" * size + b"\r\n\r\n" for each in (GOOD, EVIL))
    for pages in range(10):
        one = poor.connect()
        one.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 4 << 20)
        witness.reading.clear()
        time.sleep(0.03)  # until it stands still
        at = 0
        while at < len(fill):
            at += one.send(fill[at:])
        poor.leave(pages)
        for _ in range(40):
            try:
                sent = one.send(good)
            except BlockingIOError:
                sent = 0
            except PermissionError:
                break
            if sent < len(good):
                failed += 1
                poor.limit(PLENTY)
                with suppress(BlockingIOError, PermissionError):
                    one.send(evil[sent:])
                break
        poor.limit(PLENTY)
        witness.reading.set()
        time.sleep(0.05)
        one.close()
    print("failed", failed, "times of 10;", poor.site.counters())
    assert witness.evil() == []
    assert failed or size < 500


@pytest.mark.parametrize("count", [16, 60, 120, 228])
def test_an_honest_client_loses_nothing_or_its_connection(poor, count):
    """What the server has read is the beginning of what was sent, whatever becomes of the rest."""
    message, whole = chunks(count), 0
    for pages in range(24):
        one = poor.connect()
        poor.leave(pages)
        at, _ = send(one, message, lies=False, poor=poor)
        deadline = time.monotonic() + 3
        wanted = GOOD + message[:at]
        while len(poor.site.witness.received[-1]) < len(wanted) and time.monotonic() < deadline:
            time.sleep(0.005)
        assert bytes(poor.site.witness.received[-1]) == wanted
        whole += at == len(message)
        one.close()
    print(count, "chunks:", whole, "of 24 whole;", poor.site.counters())
    assert whole > 0
