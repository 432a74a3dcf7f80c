"""Redis and DNS in the kernel tell what they tell natively: their vectors, and long streams, wherever they are split."""

from __future__ import annotations

import random
import struct
from itertools import pairwise

import pytest

from ebpfmesh import harness, l7
from ebpfmesh.l7 import native
from ebpfmesh.l7.contract import RawEvent

pytestmark = pytest.mark.kernel(feature="loop")

CORES = {"redis": "redis", "dns": "dns", "dns-tcp": "dns_tcp"}


@pytest.mark.parametrize("name", CORES)
def test_the_vectors_hold_in_the_kernel_at_every_split_point(name: str) -> None:
    parser = l7.parser(name)
    with harness.load(CORES[name]) as kernel:
        assert l7.run_vectors(parser, engine=kernel) == l7.run_vectors(parser)


def _command(random_: random.Random) -> bytes:
    words = [
        random_.choice([b"get", b"SET", b"eval", b"XREAD", b"config", b"subscribe", b"hello", b"JSON.SET"])
    ]
    words += [
        random_.randbytes(random_.choice([0, 1, 7, 8, 9, 60, 700, 5000]))
        for _ in range(random_.randint(0, 4))
    ]
    if random_.random() < 0.2:
        return random_.choice([b"ping\r\n", b"set 'a b' \"c\\x41\"\n", b"\r\n", b"*0\r\n"])
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def _reply(random_: random.Random, depth: int = 0) -> bytes:
    kind = random_.choice("+-:$*%~>|_#,(!=") if depth < 4 else random_.choice("+:$_")
    if kind in "*%~>|":
        count = random_.randint(0, 3)
        items = b"".join(_reply(random_, depth + 1) for _ in range(count * (2 if kind in "%|" else 1)))
        return (
            kind.encode() + b"%d\r\n" % count + items + (_reply(random_, depth + 1) if kind == "|" else b"")
        )
    if kind in "$!=":
        data = random_.randbytes(random_.choice([0, 3, 300, 5000]))
        return kind.encode() + b"%d\r\n%s\r\n" % (len(data), data)
    line = {"_": "", "#": "t", ",": "1.5", ":": "-7", "(": "9" * 40}.get(
        kind, "word " * random_.choice([0, 1, 9, 90])
    )
    return (kind + line + "\r\n").encode()


def _message(random_: random.Random, answer: bool) -> bytes:
    labels = [random_.randbytes(random_.choice([1, 8, 20])) for _ in range(random_.randint(0, 5))]
    name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    records = random_.randint(0, 40) if answer else 0
    head = struct.pack(">6H", random_.randrange(65536), 0x8180 if answer else 0x100, 1, records, 0, 1)
    body = b"".join(
        b"\xc0\x0c" + struct.pack(">HHIH", 16, 1, 60, size) + random_.randbytes(size)
        for size in (random_.choice([0, 4, 100, 4500]) for _ in range(records))
    )
    message = head + name + struct.pack(">HH", 16, 1) + body + b"\0" + struct.pack(">HHIH", 41, 1232, 0, 0)
    return (
        struct.pack(">H", len(message) & 0xFFFF) + message
        if len(message) < 65536
        else _message(random_, answer)
    )


def _conversation(core: str, random_: random.Random) -> list[tuple[int, bytes]]:
    if core == "redis":
        sides = [b"".join(_command(random_) for _ in range(60)), b"".join(_reply(random_) for _ in range(60))]
    else:
        sides = [b"".join(_message(random_, bool(side)) for _ in range(8)) for side in (0, 1)]
    pieces = []
    for side, data in enumerate(sides):
        cuts = sorted({0, len(data), *(random_.randrange(len(data)) for _ in range(30))})
        pieces += [(side, data[at:behind]) for at, behind in pairwise(cuts)]
    return pieces


def _told(
    connection: harness.KernelConnection | native.NativeConnection, pieces: list[tuple[int, bytes]]
) -> list[RawEvent]:
    told = [event for side, data in pieces for event in connection.feed(side, data)]
    return told + [event for side in (0, 1) for event in connection.feed(side, b"", end=True)]


@pytest.mark.parametrize("core", ["redis", "dns_tcp"])
def test_the_kernel_tells_of_long_streams_what_the_library_tells(core: str) -> None:
    with harness.load(core) as kernel:
        messages = 0
        for seed in range(12):
            random_ = random.Random(seed)
            pieces = _conversation(core, random_)
            if seed >= 6:  # a byte is changed: where it ends, too
                side, data = pieces[at := random_.randrange(len(pieces))]
                pieces[at] = side, data[:-1] + bytes([data[-1] ^ 1 << random_.randrange(8)])
            told = _told(native.builtin(core).connection(), pieces)
            assert _told(kernel.connection(), pieces) == told, f"seed {seed}"
            messages += sum(event.kind != 0 for event in told)
    assert messages > 100
