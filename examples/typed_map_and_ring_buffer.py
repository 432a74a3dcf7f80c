"""Reading a typed map and a ring buffer: who connects where, seen by a program in a private cgroup of this host.

`sudo python examples/typed_map_and_ring_buffer.py`; it makes three connections itself, prints them, and leaves nothing.
"""

import asyncio
import socket
from pathlib import Path

from ebpfmesh import hooks, objects
from ebpfmesh.layout import U16, U64, IPv4, Record
from ebpfmesh.maps import RingBuffer
from ebpfmesh.spec import ObjectSpec
from ebpfmesh.testing import private_cgroup
from ebpfmesh.testing.compile import compile_bpf

SOURCE = Path(__file__).with_suffix(".bpf.c")


class Destination(Record):  # the C struct's fields; they are compared with the object's BTF at load
    address: IPv4
    port: U16
    pad: U16 = 0


class Connect(Record):
    to: Destination
    cookie: U64


def connect_three_times() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        for _ in range(3):
            socket.create_connection(server.getsockname()).close()


async def three_records(ring: RingBuffer[Connect]) -> None:
    for _ in range(3):
        record = await anext(ring)  # or: async for record in ring
        print(f"record: socket {record.cookie} connects to {record.to.address}:{record.to.port}")


spec = ObjectSpec.from_bytes(compile_bpf(SOURCE.read_text()), "example")
types = {"counts": (Destination, U64), "connects": (None, Connect)}
with private_cgroup() as cgroup, objects.load(spec, types=types) as loaded:
    program = loaded.programs["on_connect"]
    link = hooks.for_program(program).attach(program, cgroup.path)
    with link, cgroup.enter():
        connect_three_times()
    asyncio.run(asyncio.wait_for(three_records(loaded.maps["connects"]), 5))
    for destination, count in loaded.maps["counts"].items():
        print(f"map: {destination.address}:{destination.port} was connected to {count} times")
    print(f"lost: {loaded.variables['lost'].get()} records")
