"""RingBuffer: records that programs send, as an iterator for threads and for asyncio."""

from __future__ import annotations

import errno
import mmap
import os
import select
import struct
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, Self

from ebpfmesh.errors import ClosedError, MapError, MapTypeError
from ebpfmesh.lowlevel import libbpf
from ebpfmesh.lowlevel.descriptor import Descriptor
from ebpfmesh.lowlevel.libbpf import ffi
from ebpfmesh.maps.codec import Codec
from ebpfmesh.maps.info import MapInfo
from ebpfmesh.maps.map import V
from ebpfmesh.maps.open_map import OpenMap

if TYPE_CHECKING:
    import asyncio

_AT_ONCE = (
    1024  # records taken in one go; those beyond stay in the ring, which tells programs that it is full
)
_BUSY_PAUSE = 0.0005  # seconds; a record that is reserved and not yet submitted makes the ring readable
_STOP = -errno.ECANCELED


class RingBuffer(OpenMap, Generic[V]):
    """BPF_MAP_TYPE_RINGBUF: the records of all CPUs in their order, each ``V`` (bytes unless a type was given).

    ``for record in ring`` and ``async for record in ring`` wait for records until close(). Nothing that a program submitted
    is dropped here: a record is taken out of the ring only to be handed on, and an error in between says what it held.
    A program whose reserve fails, because the ring is full, must count that itself; fill() shows how near it is.

    One process reads a ring. Several threads and tasks may: each record goes to one of them.
    Records sent with BPF_RB_NO_WAKEUP wake nobody; drain() finds them.

    Minimum kernel: 5.8 (commit 457f44363a88). Capabilities: CAP_BPF to make it, none to read.
    """

    def __init__(
        self,
        descriptor: Descriptor,
        info: MapInfo,
        *,
        name: str = "",
        key: Codec | None = None,
        value: Codec | None = None,
    ) -> None:
        super().__init__(descriptor, info, name)
        self.value = value
        self._reader: _Reader | None = None
        self._opening = threading.Lock()

    # --- reading -------------------------------------------------------------------------------------------------------

    def read(self, timeout: float | None = None) -> V | None:
        """The next record; None if none came within ``timeout`` seconds (None: wait as long as it takes).

        Errors: ClosedError, also when close() comes while it waits; MapTypeError (with its bytes) if a record
        is not a ``V``.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._open_reader() as reader:
            while (record := reader.take()) is None:
                remaining = None if deadline is None else deadline - time.monotonic()
                if remaining is not None and remaining <= 0:
                    return None
                reader.wait(remaining)
        return self._typed(record)

    def drain(self) -> list[V]:
        """All records that were submitted before the call, without waiting; at most one filling of the ring."""
        records: list[V] = []
        size = 0
        with self._open_reader() as reader:
            while size <= self.max_entries and (record := reader.take()) is not None:
                size += len(record) + 8
                try:
                    records.append(self._typed(record))
                except MapTypeError:
                    if not records:
                        raise
                    reader.put_back(
                        record
                    )  # what came before it must not be lost with it; the next call says so
                    break
        return records

    def fill(self) -> tuple[int, int]:
        """Bytes in the ring that were not taken yet, headers included, and the bytes that it holds at most."""
        positions = []
        for page in (0, mmap.PAGESIZE):  # the consumer's position, then the producer's
            with (
                self.descriptor as fd,
                mmap.mmap(fd, mmap.PAGESIZE, prot=mmap.PROT_READ, offset=page) as memory,
            ):
                positions.append(struct.unpack_from("=Q", memory)[0])
        return max(0, positions[1] - positions[0]), self.max_entries

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> V:
        try:
            record = self.read()
        except ClosedError:
            raise StopIteration from None
        assert record is not None  # read() without a time-out returns a record or raises
        return record

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> V:
        try:
            with self._open_reader() as reader:
                while (record := reader.take()) is None:
                    await reader.readable()
        except ClosedError:
            raise StopAsyncIteration from None
        return self._typed(record)

    def close(self) -> None:
        """End all iterations and give the ring back; records that nobody took stay in it if it is pinned."""
        with self._opening:
            reader, self._reader = self._reader, None
            super().close()
        if reader is not None:
            reader.close()

    # --- inside --------------------------------------------------------------------------------------------------------

    def _open_reader(self) -> _Reader:
        if (reader := self._reader) is not None:
            return reader
        with self._opening:
            if self._reader is None:
                self._reader = _Reader(self.descriptor, self._label())
            return self._reader

    def _typed(self, record: bytes) -> V:
        if self.value is None:
            return record  # type: ignore[return-value]
        try:
            return self.value.unpack(record)  # type: ignore[no-any-return]
        except MapTypeError as error:
            raise MapTypeError(
                f"a record is not of this type: {error.what}: {record.hex()}", where=self._label()
            ) from None


class _Reader:
    """libbpf's consumer of one ring, and who waits for it; freed after close() with the end of its last use."""

    def __init__(self, descriptor: Descriptor, where: str) -> None:
        self._where = where
        self._records: deque[bytes] = deque()
        self._lock = threading.Lock()  # a ring has one consumer position
        self._waiters: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
        self._users, self._closed = 0, False
        self._handle = ffi.new_handle(self._records)
        self._ring: Any = libbpf.lib().ring_buffer__new(descriptor.fd, _take_record, self._handle, ffi.NULL)
        if self._ring == ffi.NULL:
            raise MapError("opening it for reading", errno=ffi.errno, where=where)
        self._descriptor: Descriptor | None = descriptor  # libbpf's consumer uses its number
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll = select.epoll()
        self._epoll.register(descriptor.fd, select.EPOLLIN)
        self._epoll.register(self._wake, select.EPOLLIN)

    def __enter__(self) -> Self:
        with self._lock:
            if self._closed:
                raise ClosedError("it was closed before this call", where=self._where)
            self._users += 1
        return self

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._users -= 1
            self._free_if_unused()

    def close(self) -> None:
        """Wake everybody; they find it closed, and the last one to go frees it."""
        with self._lock:
            self._closed = True
            os.eventfd_write(self._wake, 1)
            self._free_if_unused()

    def __del__(self) -> None:
        self._closed, self._users = True, 0
        self._free_if_unused()

    def _free_if_unused(self) -> None:
        if self._closed and not self._users and getattr(self, "_descriptor", None) is not None:
            self._epoll.close()
            os.close(self._wake)
            libbpf.lib().ring_buffer__free(self._ring)
            self._descriptor = None

    def take(self) -> bytes | None:
        """The next record that is there, or None. Errors: ClosedError, MapError."""
        if self._closed:
            raise ClosedError("it was closed", where=self._where)
        try:
            return self._records.popleft()
        except IndexError:
            pass
        with self._lock:
            if not self._records:
                self._consume()
            try:
                return self._records.popleft()
            except IndexError:  # another thread was faster
                return None

    def put_back(self, record: bytes) -> None:
        """Make ``record`` the next one again."""
        self._records.appendleft(record)

    def _consume(self) -> None:
        """Move records into our queue; the caller holds the lock."""
        result = libbpf.lib().ring_buffer__consume(self._ring)
        if result < 0 and result != _STOP:
            raise MapError("taking a record out of the ring", errno=-result, where=self._where)

    def wait(self, timeout: float | None) -> None:
        """Wait until there may be a record, or close() was called."""
        if self._epoll.poll(timeout) and self._readable_without_record():
            time.sleep(_BUSY_PAUSE)

    def _readable_without_record(self) -> bool:
        """Whether the ring is readable only for a record that is not submitted yet."""
        with self._lock:
            if self._records or self._closed:
                return False
            self._consume()
            return not self._records

    async def readable(self) -> None:
        """The same for asyncio."""
        import asyncio

        loop = asyncio.get_running_loop()
        future = loop.create_future()
        waiters = self._waiters.setdefault(loop, [])
        waiters.append(future)
        if len(waiters) == 1:
            loop.add_reader(self._epoll.fileno(), self._wake_waiters, loop)
        try:
            await future
        finally:
            if future in waiters:  # cancelled
                waiters.remove(future)
                if not waiters and self._waiters.get(loop) is waiters:
                    self._stop_watching(loop)
        if self._readable_without_record():
            await asyncio.sleep(_BUSY_PAUSE)

    def _wake_waiters(self, loop: asyncio.AbstractEventLoop) -> None:
        waiters = self._waiters.get(loop, [])
        self._stop_watching(loop)
        for future in list(waiters):
            waiters.remove(future)
            if not future.done():
                future.set_result(None)

    def _stop_watching(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.remove_reader(self._epoll.fileno())
        self._waiters.pop(loop, None)


@ffi.callback("int(void *, void *, size_t)", error=-errno.ENOMEM)
def _take_record(context: Any, data: Any, size: int) -> int:
    """libbpf's sample callback: copies one record out; after a negative result libbpf stops behind that record."""
    records: deque[bytes] = ffi.from_handle(context)
    records.append(ffi.buffer(data, size)[:])
    return _STOP if len(records) >= _AT_ONCE else 0
