"""Servers for the tests of enrolled sockets, in a process of their own that knows nothing of the mesh.

``l7_peers.py FAMILY ADDRESS`` listens once for each behaviour of `MODES` and prints a line of JSON: the port of each. A
server of `Peers` is such a process in a network namespace.
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from ebpfmesh.testing import NetNs

SMALL = 4608
CRASH_AFTER = 10_000  # bytes


class Peers:
    """A process with a server of each mode in ``netns`` at ``address``; a context manager."""

    def __init__(self, netns: NetNs, family: int, address: str) -> None:
        self.netns, self.family, self.address = netns, family, address
        words = [sys.executable, "-S", str(Path(__file__)), str(int(family)), address]
        self.process: subprocess.Popen[str] = netns.call(
            lambda: subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        )
        assert self.process.stdout is not None
        self.ports: dict[str, int] = json.loads(self.process.stdout.readline())

    def at(self, mode: str) -> tuple[str, int]:
        """Where the server of ``mode`` listens."""
        return self.address, self.ports[mode]

    def kill(self) -> None:
        """SIGKILL: the kernel closes all its sockets."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(5)

    def close(self) -> None:
        """End the process."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def __enter__(self) -> Peers:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


# --- what a connection meets ----------------------------------------------------------------------------------------------


def echo(one: socket.socket) -> None:
    """All that comes goes back, at once; at the end, the end."""
    while data := one.recv(1 << 16):
        one.sendall(data)


def late_echo(one: socket.socket) -> None:
    """All that came goes back after the end."""
    data = bytearray()
    while piece := one.recv(1 << 16):
        data += piece
    one.sendall(data)


def slow_echo(one: socket.socket) -> None:
    """An echo with small buffers, which reads little at a time and pauses in between."""
    while data := one.recv(3000):
        time.sleep(0.0005)
        one.sendall(data)


def digest(one: socket.socket) -> None:
    """At the end, the digest of all that came and its length."""
    seen, size = hashlib.sha256(), 0
    while data := one.recv(1 << 16):
        seen.update(data)
        size += len(data)
    one.sendall(f"{size} {seen.hexdigest()}".encode())


def _number(one: socket.socket) -> int:
    line = b""
    while not line.endswith(b"\n"):
        if not (more := one.recv(1)):
            raise ConnectionResetError
        line += more
    return int(line)


def send(one: socket.socket) -> None:
    """As many bytes as the first line says, then the end: the client's end is not waited for."""
    one.sendall(pattern(_number(one)))


def counted(one: socket.socket) -> None:
    """The digest of as many bytes as a line says, again and again: an upload that is answered, as in HTTP."""
    while True:
        seen, left = hashlib.sha256(), _number(one)
        while left and (data := one.recv(min(left, 1 << 16))):
            seen.update(data)
            left -= len(data)
        one.sendall(seen.digest())


def reset(one: socket.socket) -> None:
    """After CRASH_AFTER bytes an RST, with what else came unread."""
    left = CRASH_AFTER
    while left and (data := one.recv(left)):
        left -= len(data)
    one.sendall(b"half an answer")
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def close_unread(one: socket.socket) -> None:
    """Reads ten bytes, answers, and closes with the rest unread: the kernel answers that with an RST."""
    one.recv(10, socket.MSG_WAITALL)
    one.sendall(b"enough")
    select.select([one], [], [], 1)
    time.sleep(0.02)


def die(one: socket.socket) -> None:
    """After CRASH_AFTER bytes the whole process is killed."""
    left = CRASH_AFTER
    while left and (data := one.recv(left)):
        left -= len(data)
    os.kill(os.getpid(), signal.SIGKILL)


def mute(one: socket.socket) -> None:
    """Reads nothing for a while, then echoes."""
    time.sleep(0.2)
    echo(one)


CHUNKS = (1, 4095, 2, 16, 4096, 10_000, 100, 65_535)


def chunked(body: bytes) -> bytes:
    """``body`` in chunks of odd sizes, to its end."""
    pieces, at, number = [], 0, 0
    while at < len(body):
        piece = body[at : at + CHUNKS[number % len(CHUNKS)]]
        pieces.append(b"%x\r\n%s\r\n" % (len(piece), piece))
        at, number = at + len(piece), number + 1
    return b"".join((*pieces, b"0\r\n\r\n"))


OK = b"HTTP/1.1 200 OK\r\n"


def http(one: socket.socket) -> None:
    """HTTP/1.1: POST /echo gives the body back in the framing that it came in, while it comes; GET /bytes/N and /chunks/N
    give the pattern; everything else is an empty 200."""
    reader = one.makefile("rb")
    with reader:
        while first := reader.readline():
            method, target, _ = first.split(b" ")
            fields = {}
            while (line := reader.readline()) not in (b"\r\n", b""):
                name, _, value = line.partition(b":")
                fields[name.lower()] = value.strip()
            word, _, number = target[1:].partition(b"/")
            if word == b"bytes":
                one.sendall(OK + b"Content-Length: %d\r\n\r\n" % int(number) + pattern(int(number)))
            elif word == b"chunks":
                one.sendall(OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(pattern(int(number))))
            elif method == b"POST" and b"transfer-encoding" in fields:
                one.sendall(OK + b"Transfer-Encoding: chunked\r\n\r\n")
                while size := int(line := reader.readline(), 16):
                    one.sendall(line + reader.read(size + 2))
                one.sendall(line + reader.read(2))
            elif method == b"POST":
                left = int(fields[b"content-length"])
                one.sendall(OK + b"Content-Length: %d\r\n\r\n" % left)
                while left and (data := reader.read1(min(left, 1 << 16))):
                    one.sendall(data)
                    left -= len(data)
            else:
                one.sendall(OK + b"Content-Length: 0\r\n\r\n")


class _Slow(socket.socket):
    """Takes little at a time, and pauses in between."""

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        time.sleep(0.0003)
        return super().recv_into(buffer, min(nbytes or len(buffer), 3000), flags)


def slow_http(one: socket.socket) -> None:
    """The same with small buffers, reading little at a time."""
    with _Slow(fileno=one.detach()) as slow:
        http(slow)


def dying_http(one: socket.socket) -> None:
    """After CRASH_AFTER bytes half a response, and the whole process is killed."""
    left = CRASH_AFTER
    while left and (data := one.recv(left)):
        left -= len(data)
    one.sendall(OK + b"Content-Length: 1000\r\n\r\nhalf")
    time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGKILL)


MODES: dict[str, Callable[[socket.socket], None]] = {
    function.__name__: function
    for function in (
        echo,
        late_echo,
        slow_echo,
        digest,
        counted,
        http,
        slow_http,
        dying_http,
        send,
        reset,
        close_unread,
        die,
        mute,
    )
}


def pattern(size: int) -> bytes:
    """``size`` bytes in which every place of four differs from its neighbours."""
    return b"".join(
        struct.pack("<I", number * 2_654_435_761 & 0xFFFFFFFF) for number in range(size // 4 + 1)
    )[:size]


# --- the process ----------------------------------------------------------------------------------------------------------


def serve(family: int, address: str) -> None:
    """Listen for each mode, say where, and serve each connection in a thread."""
    listeners: dict[str, socket.socket] = {}
    for mode in MODES:
        one = listeners[mode] = socket.socket(family, socket.SOCK_STREAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if mode in ("slow_echo", "slow_http", "mute"):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
        one.bind((address, 0))
        one.listen(256)
    print(json.dumps({mode: one.getsockname()[1] for mode, one in listeners.items()}), flush=True)
    by_descriptor = {one.fileno(): mode for mode, one in listeners.items()}
    while True:
        for one in select.select(list(listeners.values()), [], [])[0]:
            connection, _ = one.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            arguments: tuple[Any, ...] = (connection, MODES[by_descriptor[one.fileno()]])
            threading.Thread(target=_serve, args=arguments, daemon=True).start()


def _serve(connection: socket.socket, function: Callable[[socket.socket], None]) -> None:
    with connection, suppress(OSError, ValueError):  # the client may be gone, in the middle of a request too
        function(connection)


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2])
