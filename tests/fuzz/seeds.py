"""Seeds for the fuzzer, made anew for each run: they need not be kept, and cover what the tests know already.

A seed is in the form that ``target.h`` reads: 8 bytes of configuration, then pieces with a direction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import conformance
from differential.conversations import CONVERSATIONS, Pieces

PIECE = 0x1FFF
STRICT = bytes(8)
LENIENT = bytes([0, 1, 0xFF, 0xFF, 0, 0, 0, 2])
EVERYTHING = bytes([1, 3, 0xFF, 0xFF, 0, 0, 7, 1])  # all headers, registered names, every leniency
SMALL = bytes([1, 2, 0, 0, 0x2C, 0x2C, 3, 1])  # small limits
CONFIGURATIONS = (STRICT, LENIENT, EVERYTHING, SMALL)


def seed(pieces: Pieces, configuration: bytes = STRICT, *, ends: bool = True) -> bytes:
    """Pieces, of a direction each, as an input of the fuzzer; both directions end behind them."""
    found = bytearray(configuration)
    for direction, data in pieces:
        for at in range(0, len(data), PIECE):
            part = data[at : at + PIECE]
            found += (len(part) | direction << 13).to_bytes(2, "little") + part
    if ends:
        found += (0x8000).to_bytes(2, "little") + (0xA000).to_bytes(2, "little")
    return bytes(found)


def write(target: str, directory: Path) -> int:
    """Writes the seeds of a target; the number of them."""
    directory.mkdir(parents=True, exist_ok=True)
    count = 0
    for found in of(target):
        (directory / hashlib.sha256(found).hexdigest()[:16]).write_bytes(found)
        count += 1
    return count


def of(target: str) -> Iterator[bytes]:
    """The seeds of a target."""
    if target == "hpack":
        yield from hpack()
        return
    for pieces in CONVERSATIONS[target]():
        for configuration in CONFIGURATIONS:
            yield seed(pieces, configuration)


def hpack() -> Iterator[bytes]:
    """Stories of HPACK, as ``hpack.c`` reads them: those of the conformance data, and some of nghttp2's encoder."""
    for story in conformance.hpack_stories():
        found = bytearray(b"\x3d")  # a table of 4096, all the text that there is
        for block in story.blocks[:12]:
            if block.table_size is not None:
                found += (0x8000 | block.table_size // 16).to_bytes(2, "little")
            found += len(block.wire).to_bytes(2, "little") + block.wire
        yield bytes(found)
    yield from _encoded()


def _encoded() -> Iterator[bytes]:
    from differential.nghttp2 import Deflater

    head = ((b":method", b"GET"), (b":path", b"/a"), (b"x-id", b"7"), (b"authorization", b"secret"))
    for limits in range(128):
        encoder = Deflater()
        found = bytearray([limits])
        for size in (4096, 0, 4096, 64, 65520):
            encoder.resize(size)
            found += (0x8000 | size // 16).to_bytes(2, "little")
            for n in range(3):
                block = encoder.encode((*head, (b"x-%d" % n, b"v" * (n * 40))))
                found += len(block).to_bytes(2, "little") + block
        yield bytes(found)
