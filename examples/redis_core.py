"""A Redis core in C of one's own, built, and loaded into the kernel next to the built-in parsers.

sudo python examples/redis_core.py DIRECTORY    # where redis_guard.so and redis_guard.bpf.o are to be made; needs clang
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

from ebpfmesh import harness, l7
from ebpfmesh.l7.build import build_parser
from ebpfmesh.l7.redis import Command, Redis

if len(sys.argv) != 2:
    sys.exit("usage: sudo python examples/redis_core.py DIRECTORY (for what is built)")

HERE = Path(__file__).parent
BUILT = build_parser(HERE / "redis_core.h", name="redis_guard", output=Path(sys.argv[1]))
FLUSH = b"*1\r\n$8\r\nflushall\r\n"
REFUSED = [
    Command(l7.REQUEST, 18, 1, "FLUSHALL", 1, 18),
    l7.Replied(l7.REQUEST, 18, b"-NOPERM it would empty it\r\n"),
]


@l7.register
class RedisGuard(Redis):
    """The events are Redis's; the library is ours, so its vectors run before it is used."""

    name = "redis-guard"
    core_name = "redis_guard"
    library = BUILT.library
    vectors = (*Redis.vectors, l7.Vector("what is refused is answered", [(l7.REQUEST, FLUSH)], REFUSED))


if __name__ == "__main__":
    parser = l7.parser("redis-guard")
    with ExitStack() as stack:
        loaded = [stack.enter_context(harness.load(name)) for name in ("http1", "redis", "dns")]
        own = stack.enter_context(harness.load(path=BUILT.object))
        for engine in (*loaded, own):
            print(f"in the kernel: {engine.name}, {max(engine.cost().values())} instructions to verify")
        print(f"{l7.run_vectors(parser, engine=own)} runs of vectors in the kernel")
        connection = parser.connection(engine=own)
        for event in connection.feed(l7.REQUEST, b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n" + FLUSH):
            print(event)
