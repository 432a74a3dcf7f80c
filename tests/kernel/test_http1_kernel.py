"""HTTP/1 in the kernel: the loaded object tells what the native library tells."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from ebpfmesh import harness, l7
from ebpfmesh.harness import KernelEngine
from ebpfmesh.l7 import REQUEST, Config
from ebpfmesh.l7.http1 import Http1
from ebpfmesh.l7.vectors import Vector, outcome

pytestmark = pytest.mark.kernel(feature="loop")

PARSER = Http1()
VECTORS = list(PARSER.vectors)
DAMAGES = [b"\r", b"\n", b" ", b":", b"\0", b"\xff", b"0", b"\r\n"]


@pytest.fixture
def kernel(_leaks_fail: None) -> Iterator[KernelEngine]:
    with harness.load("http1") as loaded:
        yield loaded


def test_every_vector_holds_at_every_split_point(kernel: KernelEngine) -> None:
    assert l7.run_vectors(PARSER, VECTORS, engine=kernel) > 10_000


@pytest.mark.parametrize("length", [4095, 4096, 4097, 12000, 32768])
def test_a_head_spans_windows(kernel: KernelEngine, length: int) -> None:
    before, behind = b"GET / HTTP/1.1\r\nHost: a\r\nCookie: ", b"\r\nUser-Agent: behind all\r\n\r\n"
    data = before + b"c" * (length - len(before) - len(behind)) + behind
    natively = PARSER.connection().feed(REQUEST, data)
    assert PARSER.connection(engine=kernel).feed(REQUEST, data) == natively
    assert natively[0].position == length


def test_damaged_vectors_tell_the_same_in_both_engines(kernel: KernelEngine) -> None:
    random = Random(9112)
    for number in range(1500):
        vector: Vector = random.choice(VECTORS)
        pieces = []
        for direction, data in vector.inputs:
            damaged = bytearray(data)
            for _ in range(random.randrange(3) if data else 0):
                at = random.randrange(len(damaged))
                damaged[at : at + 1] = random.choice(DAMAGES)
            pieces.append((direction, bytes(damaged)))
        config = random.choice([vector.config, Config(), Config(all_headers=True)])
        natively = outcome(PARSER.connection(config), pieces)
        assert outcome(PARSER.connection(config, engine=kernel), pieces) == natively, (number, pieces)
