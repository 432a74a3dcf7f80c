"""The structures of ``harness.h``, ``drive.h`` and ``parser.h`` that this process reads and writes.

A test compares every number here with the headers.
"""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag

SIZES = {
    "l7_window": 4184,
    "l7_state": 256,
    "l7_config": 440,
    "l7_record": 4472,
    "l7_event": 64,
    "l7_flow": 32,
    "l7_link": 9264,
    "l7_chunk": 16,
    "l7_run": 56,
}
"""Of the kernel build, in bytes. An object with others was built with another version."""

INPUT = 256 << 10
OUTPUT = 1 << 20
CHUNKS = 32 << 10
LINKS = 16

CHUNK = struct.Struct("<QBB6x")
"""``struct l7_chunk``: length, kind, direction."""

RUN = struct.Struct("<IIIIQIIIHH16x")
"""``struct l7_run``: flags, chunks, limit, chunk, taken, input, written, calls, full, done; the rest is the program's."""

FLOW = struct.Struct("<QQQBBB5x")
"""``struct l7_flow``: position, remaining, gap, op, ended, idle."""

PORTS = struct.Struct("<I4s")
"""``struct l7_ports``: local, remote; the kernel has the remote port in the last two bytes of its four."""


class Chunk(IntEnum):
    """``enum l7_chunk_kind``."""

    BYTES = 0
    LOST = 1
    ENDS = 2


class RunFlag(IntFlag):
    """``enum l7_run_flag``."""

    QUIET = 1
    AGAIN = 2
    FROM_SAVED = 4
    SAVED_TABLES = 8


class Counter(IntEnum):
    """``enum l7_counter``: what the programs of sockets counted."""

    RUNS_MSG = 0
    RUNS_SKB = 1
    EMPTY_AT_FIRST = 2
    PART_AT_FIRST = 3
    PULLED = 4
    NOT_FILLED = 5
    NO_SCRATCH = 6
    RING_FULL = 7
    STRANGERS = 8


def flow_offset(direction: int) -> int:
    """Where the flow of a direction is in ``struct l7_link``."""
    return SIZES["l7_state"] + direction * FLOW.size
