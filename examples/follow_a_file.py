"""An agent of your own that follows a file: a change is applied, or refused, and then what ran before keeps running.

`sudo python examples/follow_a_file.py FILE`; change the file while it runs, end it with Ctrl-C.
"""

import asyncio
import sys
from contextlib import suppress

from ebpfmesh import Mesh, Refused
from ebpfmesh.policy import toml


async def follow(mesh: Mesh, path: str) -> None:
    async for event in mesh.watch(path):
        if isinstance(event, Refused):
            print(f"refused: {event.error}", flush=True)
        else:
            print(event.plan, flush=True)


if len(sys.argv) != 2:
    sys.exit("usage: sudo python examples/follow_a_file.py FILE (a mesh in TOML)")

with Mesh(toml.read(sys.argv[1])) as mesh, suppress(KeyboardInterrupt):
    for notice in mesh.notices:
        print(notice)
    print("running", flush=True)
    asyncio.run(follow(mesh, sys.argv[1]))
