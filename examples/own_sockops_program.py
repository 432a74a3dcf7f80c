"""Attach a sockops program of your own next to whatever is on a cgroup already, a mesh or another team's program.

    sudo python examples/own_sockops_program.py [CGROUP]

Without CGROUP it makes one for itself, with two programs in it and some connections, and ends when they have been made.
"""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path

from ebpfmesh import hooks, objects
from ebpfmesh.spec import ObjectSpec
from ebpfmesh.testing import compile_bpf, private_cgroup

SOURCE = Path(__file__).with_suffix(".bpf.c")


def watch(cgroup: Path, seconds: float, traffic: int = 0) -> None:
    spec = ObjectSpec.from_bytes(compile_bpf(SOURCE.read_text()), name="own_sockops")
    # the two lines: load your object, attach its program; leaving the block detaches it
    with (
        objects.load(spec) as loaded,
        hooks.SOCKOPS.attach(loaded.programs["count_connections"], cgroup) as link,
    ):
        print(f"attached: {link.info()}")
        for place, one in enumerate(hooks.SOCKOPS.attached(cgroup), 1):
            print(f"{place}. {one}")
        connect(traffic)
        time.sleep(seconds)
        counts = loaded.maps["connections"]
        print(f"{counts[0]} connections opened, {counts[1]} accepted")


def connect(times: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        for _ in range(times):
            with socket.create_connection(server.getsockname()), server.accept()[0]:
                pass


def main() -> None:
    if len(sys.argv) > 1:
        watch(Path(sys.argv[1]), seconds=10)
        return
    with private_cgroup() as cgroup, cgroup.enter():
        spec = ObjectSpec.from_bytes(compile_bpf(SOURCE.read_text()), name="neighbour")
        with (
            objects.load(spec) as other,
            hooks.SOCKOPS.attach(other.programs["count_connections"], cgroup.path),
        ):
            watch(cgroup.path, seconds=0, traffic=3)


if __name__ == "__main__":
    main()
