"""The kernel's log of decisions: the stream of them, and the recent ones, which are there without anybody listening."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import msgspec

from ebpfmesh.observe.decision import Clock, Decision, unpack
from ebpfmesh.observe.names import MAPS, Names
from ebpfmesh.observe.opened import Opened
from ebpfmesh.observe.wire import LOG_ENTRY, LOG_STATE

if TYPE_CHECKING:
    from ebpfmesh.maps import RingBuffer

STREAM_MAPS = ("l7_log", "l7_log_state", *MAPS)
RECENT_MAPS = ("l7_recent", "l7_log_state", *MAPS)
_SEQUENCE = 8  # bytes
_TRIES = 8


class LogCounters(msgspec.Struct, frozen=True, kw_only=True):
    """What became of entries since the mesh was installed, and of requests that found no metrics row."""

    told: int
    """Entries, in the ring and among the recent ones."""
    sampled: int
    """Allowed requests that were drawn."""
    rate_dropped: int
    """Entries that were no denials and beyond the log's rate."""
    ring_full: int
    """Entries that are not in the stream: nobody read, or not fast enough."""
    metrics_overflow: int
    """Requests counted in the overflow row."""


def counters(opened: Opened) -> LogCounters:
    """The counters of the log, as they are now."""
    written, _, dropped, ring_full, samples, metrics_full = LOG_STATE.unpack(opened.row("l7_log_state", 0))
    return LogCounters(
        told=written,
        sampled=samples,
        rate_dropped=dropped,
        ring_full=ring_full,
        metrics_overflow=metrics_full,
    )


class Stream:
    """Decisions as they are made: ``for decision in stream``, ``async for decision in stream``, or `read`.

    The ring has one reading process: of two, each gets a part. What is in it from before this stream was opened is passed
    over unless ``earlier``: nobody read it, and it may be old. Closing it ends the iterations.
    """

    def __init__(self, opened: Opened, *, earlier: bool = False) -> None:
        self._opened = opened
        self._ring: RingBuffer[bytes] = opened.maps["l7_log"]
        self._names, self._clock = Names(opened), Clock()
        self._since = 0 if earlier else time.monotonic_ns()
        self.before = counters(opened)
        """The counters when it was opened; see `dropped`."""

    @property
    def counters(self) -> LogCounters:
        """The counters of the log, as they are now."""
        return counters(self._opened)

    @property
    def dropped(self) -> int:
        """How many entries this stream lacks, since it was opened: beyond the rate, or the ring was full."""
        now, before = self.counters, self.before
        return now.rate_dropped + now.ring_full - before.rate_dropped - before.ring_full

    def read(self, timeout: float | None = None) -> Decision | None:
        """The next decision; None if none came within ``timeout`` seconds. ClosedError once it is closed."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            remaining = None if deadline is None else max(0.0, deadline - time.monotonic())
            record = self._ring.read(remaining)
            if record is None:
                return None
            if (decision := self._decision(record)) is not None:
                return decision

    def __iter__(self) -> Iterator[Decision]:
        for record in self._ring:
            if (decision := self._decision(record)) is not None:
                yield decision

    async def __aiter__(self) -> AsyncIterator[Decision]:
        async for record in self._ring:
            if (decision := self._decision(record)) is not None:
                yield decision

    def close(self) -> None:
        """End the iterations and close the maps."""
        self._opened.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _decision(self, record: bytes) -> Decision | None:
        decision = unpack(bytes(record), self._names, self._clock)
        return decision if decision is not None and decision.monotonic >= self._since else None


def recent(opened: Opened) -> list[Decision]:
    """The last decisions, at most 1024, oldest first. Nobody is kept from anything: it only reads memory."""
    names, clock = Names(opened), Clock()
    found = (_settled(opened, index) for index in range(opened.size("l7_recent")))
    decisions = (unpack(entry, names, clock) for entry in found if entry is not None)
    return sorted((one for one in decisions if one is not None), key=lambda one: one.number)


def _settled(opened: Opened, index: int) -> bytes | None:
    """An entry that nobody wrote to while it was read; None if it keeps being written."""
    for _ in range(_TRIES):
        entry = opened.row("l7_recent", index)
        again = opened.row("l7_recent", index)[:_SEQUENCE]
        if entry[:_SEQUENCE] == again and not entry[0] & 1:
            return entry[: LOG_ENTRY.size]
    return None
