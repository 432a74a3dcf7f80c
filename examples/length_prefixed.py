"""A protocol of one's own in Python only: frames of a type byte, a length of 4 bytes, and so many bytes of payload.

python examples/length_prefixed.py FILE    # the recorded bytes of a client
"""

from __future__ import annotations

import struct
import sys
from enum import IntEnum
from pathlib import Path

from ebpfmesh import l7
from ebpfmesh.l7 import REQUEST


class Code(IntEnum):
    TOO_BIG = 16


class Frame(l7.Event, frozen=True):
    stream: int
    type: int
    length: int


VECTORS = (
    l7.Vector("a frame", [(REQUEST, b"\7\0\0\0\2hi")],
        [Frame(REQUEST, 5, 1, 7, 2), l7.Data(REQUEST, 5, 1, b"hi"), l7.End(REQUEST, 7, 1)]),
    l7.Vector("too big a frame", [(REQUEST, b"\1\xff\0\0\0")], error=(Code.TOO_BIG, 5)),
    l7.Vector("an end inside a head", [(REQUEST, b"\1\0\0"), (REQUEST, b"")], error=(l7.Code.INCOMPLETE, 3)),
)  # fmt: skip


@l7.register
class Frames(l7.PythonParser):
    name = "frames"
    ports = (7000,)
    codes = Code
    vectors = VECTORS

    def __init__(self) -> None:
        self.frames = [0, 0]

    def parse(self, direction: l7.Direction, data: bytes, end: bool) -> l7.Step:
        if len(data) < 5:
            return l7.More(5 - len(data))
        type, length = struct.unpack(">BI", data[:5])
        if length > 1 << 20:
            return l7.Error(Code.TOO_BIG, at=5)
        self.frames[direction] += 1
        event = Frame(direction, 0, self.frames[direction], type, length)  # the position is filled in
        return l7.Pass(5 + length, event, head=5, ends=True, stream=event.stream)


if __name__ == "__main__":
    [name] = sys.argv[1:] or sys.exit("usage: python examples/length_prefixed.py FILE (a client's bytes)")
    for event in l7.parser("frames").connection().feed(REQUEST, Path(name).read_bytes()):
        print(event)
