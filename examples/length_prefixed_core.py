"""The protocol of length_prefixed.py, parsed by the core in length_prefixed.h: natively, and in the kernel.

ebpfmesh build-parser length_prefixed.h
python length_prefixed_core.py FILE
sudo python length_prefixed_core.py FILE kernel
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

from length_prefixed import VECTORS, Code, Frame

from ebpfmesh import harness, l7


@l7.register
class FramesCore(l7.CoreParser):
    """The face of the core: where it is, and what its records are as events."""

    name = "frames-core"
    core_name = "frames"
    library = Path(__file__).with_name("frames.so")  # and beside it frames.bpf.o
    ports = (7000,)
    codes = Code
    kinds: ClassVar = {1: l7.Kind(Frame, (l7.Number(0, "type"), l7.Number(1, "length")))}
    vectors = VECTORS  # they run before the library is used


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python length_prefixed_core.py FILE [kernel] (after build-parser)")
    parser = l7.parser("frames-core")
    with ExitStack() as stack:
        engine = stack.enter_context(harness.load(path=parser.object)) if sys.argv[2:] == ["kernel"] else None
        print(f"{l7.run_vectors(parser, engine=engine)} runs of vectors")
        connection = parser.connection(engine=engine)
        for event in connection.feed(l7.REQUEST, Path(sys.argv[1]).read_bytes()):
            print(event)
