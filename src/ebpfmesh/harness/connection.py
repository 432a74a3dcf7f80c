"""KernelConnection: one connection, whose bytes a core is shown in the kernel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from ebpfmesh.errors import ClosedError, ParseError
from ebpfmesh.harness.structures import CHUNK, CHUNKS, FLOW, INPUT, SIZES, Chunk, RunFlag, flow_offset
from ebpfmesh.l7.contract import Bytes, Config, Direction, Op, RawEvent, raw_events

if TYPE_CHECKING:
    from ebpfmesh.harness.engine import KernelEngine

_NO_FLAGS = RunFlag(0)


class Measured(NamedTuple):
    """Nanoseconds of one pass, the filling of windows included, and how often it called the core."""

    nanoseconds: int
    calls: int


class KernelConnection:
    """Both directions of one connection; see `KernelEngine.connection`. It has the methods of the native engine's.

    Any number of them may be open: the kernel holds the one that is in use, the others wait here.
    """

    def __init__(self, engine: KernelEngine, config: Config) -> None:
        self.engine = engine
        self._config = config.pack()
        self._link = bytes(SIZES["l7_link"])
        self._tables = bytes(engine.memory.tables_size)

    def feed(
        self, direction: int, data: Bytes, *, end: bool = False, splits: Iterable[int] = ()
    ) -> list[RawEvent]:
        """Give it the next bytes of a direction, and with ``end`` its end; what the core tells, in order.

        ``splits`` are offsets in ``data`` where a window ends, as if the bytes had arrived in such pieces.

        Errors: ClosedError for bytes after the end of their direction, or after the engine was closed; CapabilityError.
        """
        return raw_events(self.told(direction, data, end=end, splits=splits))

    def told(self, direction: int, data: Bytes, *, end: bool = False, splits: Iterable[int] = ()) -> bytes:
        """As `feed`; the events as a stream of ``struct l7_event``, which `raw_events` reads."""
        direction = Direction(direction)
        data = bytes(data)
        with self.engine.lock:
            self._activate()
            if data and self._flow(direction)[4]:
                raise ClosedError(
                    "bytes after the end of their direction", where=f"parser {self.engine.name}"
                )
            return b"".join(
                self._run(chunks, count, part)
                for chunks, count, part in _batches(direction, data, _pieces(len(data), splits), end)
            )

    def lost(self, direction: int, count: int) -> None:
        """``count`` bytes of a direction are missing here: the capture did not see them."""
        if count < 0:
            raise ValueError(f"{count} bytes cannot be lost")
        with self.engine.lock:
            self._activate()
            self._run(CHUNK.pack(count, Chunk.LOST, Direction(direction)), 1, b"")

    def position(self, direction: int) -> int:
        """How many bytes of a direction were given, or lost."""
        with self.engine.lock:
            return int(self._flow(direction)[0])

    def op(self, direction: int) -> int:
        """The last operation of a direction: a number of `contract.Op`."""
        with self.engine.lock:
            return int(self._flow(direction)[3])

    def measure(self, *pieces: tuple[int, bytes], repeat: int = 1000, tables: bool = False) -> Measured:
        """How long ``pieces``, each a direction and its bytes, take from where the connection stands now.

        The whole of them is passed ``repeat`` times inside one call of the kernel, each time from the same state, and the
        connection is then as it was. Windows are filled each time, nothing is written down. ``tables``: bring back the
        protocol's tables before each pass too; the copy is then part of the figure, and a measurement without
        pieces says what it takes.

        Errors: ParseError if the core does not follow the bytes; ConfigError if they exceed a run; CapabilityError.
        """
        chunks = b"".join(CHUNK.pack(len(data), Chunk.BYTES, direction) for direction, data in pieces)
        data = b"".join(bytes(data) for _, data in pieces)
        if len(data) > INPUT or len(pieces) > CHUNKS:
            raise ValueError(f"a run takes {INPUT} bytes in {CHUNKS} pieces")
        with self.engine.lock:
            self._activate()
            self._link, self._tables = self.engine.memory.take()
            try:
                self._check(self._run(chunks, len(pieces), data))
                self.engine.memory.put(self._config, self._link, self._tables)
                self.engine.memory.save()
                flags = RunFlag.QUIET | RunFlag.AGAIN | RunFlag.FROM_SAVED
                if tables:
                    flags |= RunFlag.SAVED_TABLES
                self.engine.memory.begin(chunks, len(pieces), data, flags=flags)
                progress, nanoseconds = self.engine.memory.run(repeat)
            finally:
                self.engine.memory.put(self._config, self._link, self._tables)
        return Measured(nanoseconds, progress.calls // repeat)

    # --- inside ----------------------------------------------------------------------------------------------------------

    def _activate(self) -> None:
        """Make this the connection that the kernel holds; the caller holds the lock."""
        engine = self.engine
        engine.require_open()
        before = engine.active()
        if before is self:
            return
        if before is not None:
            before._link, before._tables = engine.memory.take()
        engine.memory.put(self._config, self._link, self._tables)
        engine.set_active(self)

    def _flow(self, direction: int) -> tuple[int, ...]:
        active = self.engine.active() is self
        if active:
            self.engine.require_open()
        link = self.engine.memory.links if active else self._link
        return FLOW.unpack_from(link, flow_offset(Direction(direction)))

    def _run(self, chunks: bytes, count: int, data: bytes) -> bytes:
        memory = self.engine.memory
        memory.begin(chunks, count, data, limit=self.engine.output, flags=_NO_FLAGS)
        events = []
        while True:
            progress, _ = memory.run()
            if progress.written:
                events.append(memory.told(progress.written))
            if progress.done:
                return b"".join(events)

    def _check(self, told: bytes) -> None:
        for event in raw_events(told):
            if event.op >= Op.ESCALATE:
                side = Direction(event.direction).name.lower()
                raise ParseError(self.engine.name, side, event.position, event.code, f"code_{event.code}")


def _pieces(length: int, splits: Iterable[int]) -> list[int]:
    """The lengths of the pieces between ``splits``, none longer than a run takes."""
    borders = sorted({0, length, *(at for at in splits if 0 < at < length)})
    found = []
    for start, end in pairwise(borders):
        found += [INPUT] * ((end - start) // INPUT)
        if rest := (end - start) % INPUT:
            found.append(rest)
    return found


def _batches(
    direction: Direction, data: bytes, lengths: list[int], end: bool
) -> Iterator[tuple[bytes, int, bytes]]:
    """The pieces of as many runs as they need: their chunks, how many, and their bytes."""
    at = start = 0
    chunks: list[bytes] = []
    for length in lengths:
        if at + length - start > INPUT or len(chunks) == CHUNKS - 1:
            yield b"".join(chunks), len(chunks), data[start:at]
            start, chunks = at, []
        chunks.append(CHUNK.pack(length, Chunk.BYTES, direction))
        at += length
    if end:
        chunks.append(CHUNK.pack(0, Chunk.ENDS, direction))
    if chunks:
        yield b"".join(chunks), len(chunks), data[start:at]
