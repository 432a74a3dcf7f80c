"""The native core and the core that is loaded into the kernel tell the same of the same bytes at the same splits."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from differential.conversations import CONVERSATIONS
from differential.http1_strategies import mutants
from differential.http2_frames import mutated
from ebpfmesh import harness, l7
from ebpfmesh.l7 import native
from ebpfmesh.l7.contract import RawEvent, raw_events

Pieces = list[tuple[int, bytes | None]]
CONFIGURATIONS = (
    l7.Config(),
    l7.Config(all_headers=True, names=("x", "x-id", "cookie"), leniency_bits=0xFFFF, key=bytes(range(16))),
    l7.Config(head_limit=300, text_limit=700, table_limit=256, block_limit=200, stream_limit=2),
)


@pytest.fixture(scope="module", params=["http1", "http2", "grpc", "redis", "dns", "dns_tcp"])
def engine(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A built-in core, loaded."""
    with harness.load(request.param) as loaded:
        yield loaded


def told(connection: Any, pieces: Pieces, cuts: random.Random, sizes: tuple[int, ...]) -> list[RawEvent]:
    """All events of a connection whose pieces are cut at random."""
    found = []
    for direction, data in pieces:
        if data is None:
            found += raw_events(connection.told(direction, b"", end=True))
            continue
        rest = data
        while rest:
            size = cuts.choice(sizes)
            found += raw_events(connection.told(direction, rest[:size]))
            rest = rest[size:]
    return found


def inputs(protocol: str, chance: random.Random) -> Iterator[Pieces]:
    """Conversations of a protocol, and mutations of them."""
    for pieces in CONVERSATIONS[protocol]():
        yield list(pieces)
        for _ in range(12 if protocol in ("http2", "grpc") else 4 if protocol == "http1" else 40):
            if protocol == "http1":
                yield [
                    (direction, mutants(chance.randrange(1 << 30), 1, [data])[0])
                    for direction, data in pieces
                ]
            elif protocol in ("http2", "grpc"):
                yield [(direction, mutated(data, chance)) for direction, data in pieces]
            else:
                yield [(direction, scratched(data, chance)) for direction, data in pieces]


def scratched(data: bytes, chance: random.Random) -> bytes:
    """The bytes with one of them changed, dropped or doubled."""
    at = chance.randrange(len(data) or 1)
    return (
        data[:at]
        + chance.choice((b"", bytes([chance.randrange(256)]), data[at : at + 1] * 2))
        + data[at + 1 :]
    )


@pytest.mark.kernel
def test_native_and_kernel_tell_the_same(engine: Any) -> None:
    core = native.builtin(engine.name)
    sizes = (1 << 16,) if engine.name == "dns" else (1, 2, 7, 40, 300, 5000)  # a datagram comes whole
    for number, pieces in enumerate(inputs(engine.name, random.Random(engine.name))):
        for config in CONFIGURATIONS:
            both = [
                told(each.connection(config), [*pieces, (0, None), (1, None)], random.Random(number), sizes)
                for each in (core, engine)
            ]
            assert both[0] == both[1], (number, config, pieces)
