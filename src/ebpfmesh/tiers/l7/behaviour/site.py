"""Site: where the probes are made: the behaviour object in a cgroup, and connections whose clients it enrols."""

from __future__ import annotations

import array
import fcntl
import random
import select
import socket
import struct
import termios
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from enum import IntEnum
from importlib import resources
from pathlib import Path
from typing import NamedTuple, Self

from ebpfmesh import hooks, objects
from ebpfmesh.tiers.l7.behaviour.probe import UnlikeError

OBJECT = "behaviour.bpf.o"
PATIENCE = 0.5
"""Seconds that a call on a socket may take where the machine is not slow."""
_TIMES: ContextVar[float] = ContextVar("times", default=1.0)

REPLY = struct.pack("<Q", 0x0A21796C7065526C) * 8
"""REPLY_BYTES of the object's REPLY_WORD."""

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1  # include/uapi/linux/sockios.h, if.h


class Verdict(IntEnum):
    """enum verdict of the object: what becomes of the messages that are sent from now on."""

    PASSES = 0
    FORWARDS = 1
    REPLIES = 2
    SWALLOWS = 3
    REFUSES = 4
    DOES_AS_TOLD = 5


class Connection(NamedTuple):
    """Both ends of a connection over loopback; the client's is the one that is enrolled."""

    client: socket.socket
    server: socket.socket


class Site:
    """The behaviour object, attached to a cgroup that this process is in; a context manager.

    ``capacity`` is how many sockets can be enrolled at a time. ``ordinary``: connections made from now on are not enrolled,
    to see what a socket does here without us.

    Errors: those of `objects.load` and of the hooks. Minimum kernel: 5.13. Capabilities: CAP_BPF, CAP_NET_ADMIN.
    """

    def __init__(self, cgroup: int, capacity: int = 64) -> None:
        self.ordinary = False
        with ExitStack() as undo:
            self.loaded = undo.enter_context(objects.load(object_path(), max_entries={"sockets": capacity}))
            programs, sockets = self.loaded.programs, self.loaded.maps["sockets"]
            undo.enter_context(hooks.SK_MSG.attach(programs["sent"], sockets))
            undo.enter_context(hooks.SK_SKB_STREAM_VERDICT.attach(programs["received"], sockets))
            undo.enter_context(hooks.SOCKOPS.attach(programs["enrol"], cgroup))
            self._undo = undo.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._undo.close()

    def count(self, name: str) -> int:
        """A counter of the object, such as ``runs_sent``."""
        return int(self.loaded.variables[name].get())

    def says(self, verdict: Verdict, *, applies: int = 0, pulls: int = 0) -> None:
        """What becomes of messages from now on; ``applies`` and ``pulls`` are bytes, see the object."""
        for name, value in (("verdict", verdict), ("applies", applies), ("pulls", pulls)):
            self.loaded.variables[name].set(int(value))

    @contextmanager
    def connection(self, *, send_buffer: int = 0, receive_buffer: int = 0) -> Iterator[Connection]:
        """A new connection, whose client is enrolled unless ``ordinary``; buffers of the client and the server, bytes.

        Errors: UnlikeError if the client was not enrolled.
        """
        self.loaded.variables["refrains"].set(int(self.ordinary))
        before = self.count("enrolled")
        with socket.socket() as listener, socket.socket() as client:
            if receive_buffer:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            if send_buffer:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)
            listener.settimeout(patience())
            client.settimeout(patience())
            client.connect(listener.getsockname())
            server, _ = listener.accept()
            with server:
                server.settimeout(patience())
                if not self.ordinary and self.count("enrolled") == before:
                    raise UnlikeError("the client was not enrolled at ESTABLISHED")
                yield Connection(client, server)


def patience() -> float:
    """Seconds that a call on a socket may take now."""
    return PATIENCE * _TIMES.get()


@contextmanager
def more_patience(times: float) -> Iterator[None]:
    """In the block every wait may be ``times`` as long."""
    before = _TIMES.set(times)
    try:
        yield
    finally:
        _TIMES.reset(before)


def timeval(seconds: float) -> bytes:
    """``struct timeval``, for SO_RCVTIMEO."""
    return struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))


def object_path() -> Path:
    """The built object in the installed package."""
    return Path(str(resources.files("ebpfmesh.bpf"))) / OBJECT


def noise(size: int, seed: int = 0) -> bytes:
    """``size`` bytes that look like no other, so that what is lost, doubled or moved is seen; "F" is the first: forward."""
    return b"F" + random.Random(seed).randbytes(size - 1)


def take(one: socket.socket, size: int, flags: int = 0) -> bytes:
    """Exactly ``size`` bytes, or what came before the end of the stream. Errors: TimeoutError."""
    found = bytearray()
    while len(found) < size and (data := one.recv(size - len(found), flags)):
        found += data
    return bytes(found)


def unread(one: socket.socket) -> int:
    """What FIONREAD says."""
    found = array.array("i", [0])
    fcntl.ioctl(one, termios.FIONREAD, found, True)
    return found[0]


def becomes_readable(one: socket.socket, seconds: float | None = None) -> bool:
    """Whether poll() says within ``seconds`` that ``one`` can be read; `patience` unless given."""
    poll = select.poll()
    poll.register(one, select.POLLIN)
    return bool(poll.poll(int((patience() if seconds is None else seconds) * 1000)))


def all_in(one: socket.socket, size: int, seconds: float | None = None) -> bool:
    """Wait until FIONREAD says ``size``, for `patience` unless ``seconds`` says otherwise: what was sent is all there."""
    deadline = time.monotonic() + (patience() if seconds is None else seconds)
    while unread(one) != size:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


def raise_loopback() -> None:
    """Set ``lo`` of the calling thread's network namespace up."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = array.array("B", struct.pack("16sH22x", b"lo", 0))
        fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request, True)
        _, flags = struct.unpack("16sH22x", request.tobytes())
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | _IFF_UP))
