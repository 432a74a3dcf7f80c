"""Finds the protocol of a connection from its first bytes, as they come; what nobody knows is opaque, never held up.

python examples/find_the_protocol.py FILE...    # the recorded bytes of a client
"""

from __future__ import annotations

import sys
from pathlib import Path

from ebpfmesh import l7

if len(sys.argv) < 2:
    sys.exit("usage: python examples/find_the_protocol.py FILE... (of clients' bytes)")

for name in sys.argv[1:]:
    detector = l7.Detector(port=80)  # the server's port: a hint
    with Path(name).open("rb") as file:
        while detector.state == "undecided" and (byte := file.read(1)):
            detector.feed(l7.REQUEST, byte)
        seen = file.tell()
    detector.end()
    found = detector.parser.name if detector.parser else detector.state
    print(f"{name}: {found} after {seen} bytes")
