"""Writes the HPACK stories as the input of bench/native/hpack_bench.c: ``python -m bench.hpack_stories DIRECTORY FILE``."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

CONNECTION, LIMIT, BLOCK = range(3)


def steps(directory: Path) -> bytes:
    """All stories below the directory, one after the other: words of kind and value, and the bytes of a block."""
    result = bytearray()
    for path in sorted(directory.rglob("story_*.json")):
        result += struct.pack("<II", CONNECTION, 0)
        for case in json.loads(path.read_text())["cases"]:
            if "header_table_size" in case:
                result += struct.pack("<II", LIMIT, case["header_table_size"])
            wire = bytes.fromhex(case["wire"])
            result += struct.pack("<II", BLOCK, len(wire)) + wire + bytes(-len(wire) % 8)
    return bytes(result)


if __name__ == "__main__":
    Path(sys.argv[2]).write_bytes(steps(Path(sys.argv[1])))
