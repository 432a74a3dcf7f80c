"""The built-in parsers in the kernel: their vectors hold there at every split point, event for event as natively."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conformance import http1_cases, needs_data
from ebpfmesh import harness, l7
from ebpfmesh.errors import ClosedError
from ebpfmesh.harness import KernelEngine
from ebpfmesh.l7.contract import REQUEST, Config, EngineConnection, RawEvent
from ebpfmesh.l7.parser import CoreParser
from ebpfmesh.l7.registry import BUILT_IN
from ebpfmesh.l7.vectors import Piece, Vector, run_vectors, splits
from http2_repeats import conversation

pytestmark = pytest.mark.kernel(feature="loop")


def core_parser(name: str) -> CoreParser:
    parser = l7.parser(name)
    assert isinstance(parser, CoreParser)
    return parser


@pytest.fixture(scope="module", params=sorted(BUILT_IN))
def parser(request: pytest.FixtureRequest) -> CoreParser:
    return core_parser(request.param)


@pytest.fixture
def kernel(parser: CoreParser, _leaks_fail: None) -> Iterator[KernelEngine]:
    with harness.load(parser.core.name) as loaded:
        yield loaded


def told(connection: EngineConnection, pieces: list[Piece]) -> list[RawEvent]:
    events = []
    for direction, data in pieces:
        try:
            events += l7.contract.raw_events(connection.told(direction, data, end=not data))
        except ClosedError:  # nothing comes after an end
            break
    return events


def config_of(parser: CoreParser, vector: Vector) -> Config:
    return vector.config.resolved(parser.leniencies)


def test_vectors_hold_in_the_kernel(parser, kernel):
    assert run_vectors(parser, engine=kernel) > 0


def test_each_answer_is_the_native_one_wherever_the_bytes_are_split(parser, kernel):
    compared = 0
    for vector in parser.vectors:
        config = config_of(parser, vector)
        for split, pieces in splits(vector.inputs):
            expected = told(parser.core.connection(config), pieces)
            assert told(kernel.connection(config), pieces) == expected, f"{vector.name}, {split}"
            compared += 1
    assert compared > len(parser.vectors)


@needs_data
def test_other_projects_cases_are_answered_as_natively_wherever_they_are_split():
    parser, config = core_parser("http1"), Config()
    with harness.load(parser.core.name) as kernel:
        for case in http1_cases():
            for split, pieces in splits([(REQUEST, case.input), (REQUEST, b"")]):
                expected = told(parser.core.connection(config), pieces)
                assert told(kernel.connection(config), pieces) == expected, f"{case.name}, {split}"


@pytest.mark.parametrize("seed", range(8))
def test_header_blocks_that_come_again_are_told_as_natively(seed):
    parser, config = core_parser("http2"), Config(all_headers=True)
    pieces, heads = conversation(seed)
    with harness.load(parser.core.name) as kernel:
        expected = told(parser.core.connection(config), pieces)
        assert told(kernel.connection(config), pieces) == expected
        assert len(expected) >= len(heads)
