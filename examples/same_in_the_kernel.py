"""One core, two engines: what the loaded BPF object tells of a recording is what the native library tells of it.

sudo python examples/same_in_the_kernel.py examples/recorded/shop.requests
"""

from __future__ import annotations

import sys
from pathlib import Path

from ebpfmesh import harness, l7

if len(sys.argv) != 2:
    sys.exit("usage: sudo python examples/same_in_the_kernel.py FILE (of requests)")

data = Path(sys.argv[1]).read_bytes()
parser = l7.parser("http1")

with harness.load("http1") as kernel:  # loads the object; nothing is attached to anything
    here = parser.connection().feed(l7.REQUEST, data)
    there = parser.connection(engine=kernel).feed(l7.REQUEST, data)
    print(f"{len(here)} events, the same in the kernel: {here == there}")
    print(f"{kernel.cost()['tc']} instructions verified")
    print(f"{kernel.measure(l7.REQUEST, data).nanoseconds} ns in the kernel for {len(data)} bytes")
