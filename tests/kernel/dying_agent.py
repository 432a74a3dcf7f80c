"""An agent that ends itself with SIGKILL at a chosen moment: ``dying_agent.py FIRST SECOND RUN_ROOT BPFFS WRITE``.

It starts the mesh of the file FIRST, says "ready", waits for a line, applies the file SECOND, and dies in write number
WRITE (0: it does not die, and says how many writes there were).
"""

from __future__ import annotations

import os
import signal
import sys

from ebpfmesh.mesh import Mesh
from ebpfmesh.policy import toml


def main(first: str, second: str, run_root: str, bpffs: str, write: str) -> None:
    mesh = Mesh(toml.read(first), run_root=run_root, bpffs=bpffs).start()
    writes = 0

    def wrote(_: str) -> None:
        nonlocal writes
        writes += 1
        if writes == int(write):
            os.kill(os.getpid(), signal.SIGKILL)

    print("ready", flush=True)
    sys.stdin.readline()
    mesh.connect.tables._on_write = wrote
    mesh.apply(toml.read(second))
    print(writes, flush=True)
    mesh.close(keep=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
