"""An agent of a mesh with policies, in a process of its own: ``l7_agent.py CONFIG RUN_ROOT BPFFS [WRITE]``.

It starts the mesh of the file CONFIG (JSON), says "ready", and does what each line on standard input says: ``apply FILE``,
``collect``, ``close``, ``keep``. With WRITE it dies by SIGKILL in that write of the policy maps after "ready"; with 0 it
says after each ``apply`` how many there were.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import msgspec

from ebpfmesh.mesh import Mesh
from ebpfmesh.policy.model import Config


def read(file: str) -> Config:
    return msgspec.json.decode(Path(file).read_bytes(), type=Config)


def main(file: str, run_root: str, bpffs: str, write: str = "-1") -> None:
    mesh = Mesh(read(file), run_root=run_root, bpffs=bpffs, drain_for=0.5).start()
    writes = 0

    def wrote(_: str) -> None:
        nonlocal writes
        writes += 1
        if writes == int(write):
            os.kill(os.getpid(), signal.SIGKILL)

    if mesh.l7 is not None and int(write) >= 0:
        mesh.l7.tables._on_write = wrote
    print("ready", flush=True)
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command == "apply":
            mesh.apply(read(argument))
            print("applied", writes, flush=True)
        elif command == "collect":
            print("collected", mesh.collect(), flush=True)
        else:
            print("closed", *mesh.close(keep=command == "keep"), flush=True)
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
