"""Ways to give bytes to a socket, and styles of waiting for it: what programs do, as small as it can be.

A `Way` gives the next bytes from where it stands and says how many were taken; a style of `STYLES` drives it to the end,
and reads what comes back meanwhile. Both know nothing of the mesh.
"""

from __future__ import annotations

import asyncio
import errno
import mmap
import os
import select
import socket
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import ClassVar, NamedTuple

SO_ZEROCOPY, MSG_ZEROCOPY = 60, 0x4000000  # include/uapi/asm-generic/socket.h, include/linux/socket.h
PATIENCE = 10.0
"""Seconds that an exchange may take."""


class Result(NamedTuple):
    """What a client saw: the bytes that came back, whether the stream ended, and the errno that ended it else."""

    received: bytes
    ended: bool
    error: int


class Way:
    """Gives ``data`` to a socket, piece by piece; a context manager."""

    def __init__(self, data: bytes) -> None:
        self.data, self.view, self.at = data, memoryview(data), 0
        self._undo = ExitStack()

    def __enter__(self) -> Way:
        return self

    def __exit__(self, *exception: object) -> None:
        self._undo.close()

    @property
    def done(self) -> bool:
        """Whether the socket has taken everything."""
        return self.at == len(self.data)

    def give(self, one: socket.socket) -> None:
        """One call. Errors: BlockingIOError if the socket takes nothing now; OSError."""
        self.at += self._give(one)

    def tell(self, one: socket.socket) -> None:
        """The socket has something in its error queue; most ways expect nothing there."""

    def _give(self, one: socket.socket) -> int:
        return one.send(self.view[self.at :])


class Vectors(Way):
    """sendmsg() of up to 16 pieces of odd lengths, empty ones among them."""

    lengths: ClassVar[tuple[int, ...]] = (
        1,
        0,
        3,
        1000,
        4096,
        17,
        4095,
        2,
        8193,
        0,
        5,
        100,
        16_000,
        1,
        31,
        700,
    )

    def _give(self, one: socket.socket) -> int:
        pieces, at = [], self.at
        for length in self.lengths:
            pieces.append(self.view[at : at + length])
            at += len(pieces[-1])
        return one.sendmsg(pieces)


class SendFile(Way):
    """sendfile(2) from a file."""

    def __enter__(self) -> Way:
        self.file = self._undo.enter_context(tempfile.TemporaryFile())
        self.file.write(self.data)
        self.file.flush()
        return self

    def _give(self, one: socket.socket) -> int:
        return os.sendfile(one.fileno(), self.file.fileno(), self.at, len(self.data) - self.at)


class Splice(SendFile):
    """splice(2) from a file through a pipe."""

    def __enter__(self) -> Way:
        super().__enter__()
        self.reader, self.writer = os.pipe()
        self._undo.callback(os.close, self.reader)
        self._undo.callback(os.close, self.writer)
        self.piped = 0  # bytes that are in the pipe
        return self

    def _give(self, one: socket.socket) -> int:
        if not self.piped:
            left = len(self.data) - self.at
            self.piped = os.splice(self.file.fileno(), self.writer, min(left, 50_000), offset_src=self.at)
        moved = os.splice(self.reader, one.fileno(), self.piped)
        self.piped -= moved
        return moved


class ZeroCopy(Way):
    """send(MSG_ZEROCOPY) of pages that stay as they are until the kernel has given them back."""

    def __enter__(self) -> Way:
        self.pages = self._undo.enter_context(mmap.mmap(-1, max(len(self.data), 1)))
        self.pages[: len(self.data)] = self.data
        self.view = memoryview(self.pages)
        self._undo.callback(self.view.release)
        self.sent = self.given_back = 0
        return self

    def _give(self, one: socket.socket) -> int:
        if not self.sent:
            one.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
        with self.view[self.at : len(self.data)] as part:
            try:
                taken = one.send(part, MSG_ZEROCOPY)
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # too many notices are unread
                    raise
                self.tell(one)
                raise BlockingIOError(errno.EAGAIN, "notices were unread") from error
        self.sent += 1
        return taken

    def tell(self, one: socket.socket) -> None:
        """Read the notices that are there."""
        with suppress(BlockingIOError):
            while True:
                _, ancillary, _, _ = one.recvmsg(0, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
                first, last = (int.from_bytes(ancillary[0][2][at : at + 4], "little") for at in (8, 12))
                self.given_back += last - first + 1

    def all_given_back(self, one: socket.socket) -> bool:
        """Whether every call's pages came back; waits for it. An enrolled socket may tell more than there were calls."""
        poll = select.poll()
        poll.register(one, 0)
        while self.given_back < self.sent and poll.poll(1000):
            self.tell(one)
        return self.given_back >= self.sent


class More(Way):
    """send(MSG_MORE) of pieces of odd lengths; the last without."""

    def _give(self, one: socket.socket) -> int:
        length = Vectors.lengths[self.at % 16] or 1400
        last = self.at + length >= len(self.data)
        return one.send(self.view[self.at : self.at + length], 0 if last else socket.MSG_MORE)


WAYS: dict[str, type[Way]] = {
    "send": Way,
    "sendmsg": Vectors,
    "sendfile": SendFile,
    "splice": Splice,
    "zerocopy": ZeroCopy,
    "more": More,
}


# --- styles: a way is driven to its end, and what comes back is read meanwhile --------------------------------------------


def blocking(one: socket.socket, way: Way, wanted: int) -> Result:
    """A thread that writes and one that reads, each blocked in its call."""
    one.setblocking(True)
    errors: list[int] = []

    def write() -> None:
        try:
            while not way.done:
                with suppress(BlockingIOError):
                    way.give(one)
        except OSError as error:
            errors.append(error.errno or -1)

    writing = threading.Thread(target=write, daemon=True)
    writing.start()
    received, ended = bytearray(), False
    try:
        while len(received) < wanted and not ended:
            try:
                data = one.recv(min(1 << 16, wanted - len(received)))
            except BlockingIOError:
                continue  # the probe blocked_receive fails here: room to send ends a blocked recv()
            received += data
            ended = not data
    except OSError as error:
        errors.append(error.errno or -1)
    writing.join(PATIENCE)
    if writing.is_alive():
        errors.append(errno.ETIMEDOUT)
    return Result(bytes(received), ended, errors[0] if errors else 0)


class _Duplex:
    """What the styles with events share: as much as can be done now, of each direction."""

    def __init__(self, one: socket.socket, way: Way, wanted: int) -> None:
        one.setblocking(False)
        self.one, self.way, self.wanted = one, way, wanted
        self.received, self.ended, self.error = bytearray(), False, 0

    @property
    def done(self) -> bool:
        return bool(self.error or self.ended or (self.way.done and len(self.received) >= self.wanted))

    def write(self, *, once: bool = True) -> None:
        self._guarded(self._write, once)

    def read(self, *, once: bool = True) -> None:
        self._guarded(self._read, once)

    def _guarded(self, function: Callable[[], None], once: bool) -> None:
        try:
            while not self.done:
                function()
                if once:
                    return
        except BlockingIOError:
            return
        except OSError as error:
            self.error = error.errno or -1

    def _write(self) -> None:
        if self.way.done:
            raise BlockingIOError
        self.way.give(self.one)

    def _read(self) -> None:
        if len(self.received) >= self.wanted:
            raise BlockingIOError
        data = self.one.recv(min(1 << 16, self.wanted - len(self.received)))
        self.received += data
        self.ended = not data

    def result(self) -> Result:
        error = self.error if self.done else errno.ETIMEDOUT
        return Result(bytes(self.received), self.ended, error)


def nonblocking(one: socket.socket, way: Way, wanted: int) -> Result:
    """Tries both, and waits with poll() when neither goes."""
    duplex, poll = _Duplex(one, way, wanted), select.poll()
    poll.register(one, 0)
    while not duplex.done:
        before = way.at, len(duplex.received)
        duplex.write()
        duplex.read()
        if duplex.done or before != (way.at, len(duplex.received)):
            continue
        poll.modify(one, select.POLLIN | (0 if way.done else select.POLLOUT))
        found = poll.poll(PATIENCE * 1000)
        if not found:
            break
        if found[0][1] & select.POLLERR:
            way.tell(one)
    return duplex.result()


def _epoll(one: socket.socket, way: Way, wanted: int, *, edge: bool) -> Result:
    duplex = _Duplex(one, way, wanted)
    interest = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP
    with select.epoll() as epoll:
        epoll.register(one, interest | (select.EPOLLET if edge else 0))
        while not duplex.done:
            found = epoll.poll(PATIENCE)
            if not found:
                break
            events = found[0][1]
            if events & select.EPOLLERR:
                way.tell(one)
            if events & (select.EPOLLOUT | select.EPOLLERR):
                duplex.write(once=not edge)
            if events & (select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLHUP):
                duplex.read(once=not edge)
            if not edge and way.done:
                epoll.modify(one, select.EPOLLIN | select.EPOLLRDHUP)
    return duplex.result()


def epoll_level(one: socket.socket, way: Way, wanted: int) -> Result:
    """epoll, level-triggered: one call an event."""
    return _epoll(one, way, wanted, edge=False)


def epoll_edge(one: socket.socket, way: Way, wanted: int) -> Result:
    """epoll, edge-triggered: calls until EAGAIN, and not again before the next edge."""
    return _epoll(one, way, wanted, edge=True)


def with_asyncio(one: socket.socket, way: Way, wanted: int) -> Result:
    """An event loop: its streams for what is sent plainly, its watchers for the rest."""
    one.setblocking(False)
    loop = asyncio.new_event_loop()  # not asyncio.run(): that sets this thread's loop, and forgets it
    try:
        run = _streams if type(way) is Way else _watchers
        return loop.run_until_complete(run(one, way, wanted))
    finally:
        loop.close()


async def _streams(one: socket.socket, way: Way, wanted: int) -> Result:
    reader, writer = await asyncio.open_connection(sock=one.dup())

    async def write() -> None:
        writer.write(way.data)
        await writer.drain()
        way.at = len(way.data)

    received, error = bytearray(), 0
    writing = asyncio.ensure_future(write())
    try:
        async with asyncio.timeout(PATIENCE):
            while len(received) < wanted and (data := await reader.read(wanted - len(received))):
                received += data
            await writing
    except OSError as failure:  # TimeoutError is one
        error = failure.errno or errno.ETIMEDOUT
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        writer.transport.abort()
        await asyncio.sleep(0)
    return Result(bytes(received), len(received) < wanted and not error, error)


async def _watchers(one: socket.socket, way: Way, wanted: int) -> Result:
    duplex, loop = _Duplex(one, way, wanted), asyncio.get_running_loop()
    finished = loop.create_future()

    def step(function: Callable[[], None]) -> None:
        way.tell(one)
        function()
        if way.done:
            loop.remove_writer(one)
        if duplex.done and not finished.done():
            finished.set_result(None)

    loop.add_reader(one, step, duplex.read)
    loop.add_writer(one, step, duplex.write)
    try:
        with suppress(TimeoutError):
            await asyncio.wait_for(finished, PATIENCE)
    finally:
        loop.remove_reader(one)
        loop.remove_writer(one)
    return duplex.result()


STYLES: dict[str, Callable[[socket.socket, Way, int], Result]] = {
    "blocking": blocking,
    "nonblocking": nonblocking,
    "epoll_level": epoll_level,
    "epoll_edge": epoll_edge,
    "asyncio": with_asyncio,
}
