"""Every built-in parser, over mutations of its own vectors: only ParseError escapes, and splits make no difference."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tally import pieces

from ebpfmesh import l7
from ebpfmesh.errors import ParseError
from ebpfmesh.l7 import Code
from ebpfmesh.l7.events import Data, Undecodable
from ebpfmesh.l7.registry import BUILT_IN
from ebpfmesh.l7.vectors import outcome

bounded = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
names = pytest.mark.parametrize("name", BUILT_IN)


@st.composite
def mutated(draw: st.DrawFn, parser: l7.Parser) -> tuple[l7.Config, list[tuple[int, bytes]]]:
    """Inputs of a vector, of which some bytes are others, absent, or twice there."""
    vector = draw(st.sampled_from(parser.vectors))
    inputs = []
    for direction, data in vector.inputs:
        changed = bytearray(data[: 1 << 12])
        for _ in range(draw(st.integers(0, 2))):
            at = draw(st.integers(0, len(changed)))
            what = draw(st.sampled_from(["byte", "cut", "insert", "again"]))
            if what == "byte" and at < len(changed):
                changed[at] = draw(st.integers(0, 255))
            elif what == "cut":
                del changed[at : at + draw(st.integers(1, 4))]
            elif what == "insert":
                changed[at:at] = draw(st.sampled_from([b"\r", b"\n", b"\0", b" ", b"\r\n\r\n", b"\xff\xff"]))
            else:
                changed += changed[at : at + 100]
        inputs.append((direction, bytes(changed)))
    return vector.config, inputs


@names
@bounded
@given(st.data())
def test_where_bytes_are_split_makes_no_difference(name: str, data: st.DataObject) -> None:
    parser = l7.parser(name)
    config, inputs = data.draw(mutated(parser))
    whole = outcome(parser.connection(config), [one for one in inputs if one[1]])
    if "tcp" in parser.transports:
        cut = [
            (direction, piece)
            for direction, stream in inputs
            for piece in data.draw(st.composite(lambda draw, s=stream: pieces(draw, s))())
            if piece
        ]
        assert outcome(parser.connection(config), cut) == whole
        single = [
            (direction, stream[at : at + 1]) for direction, stream in inputs for at in range(len(stream))
        ]
        assert outcome(parser.connection(config), single) == whole


@names
@bounded
@given(st.data())
def test_nothing_but_the_one_error_escapes_and_no_payload_comes_twice(name: str, data: st.DataObject) -> None:
    parser = l7.parser(name)
    config, inputs = data.draw(mutated(parser))
    connection = parser.connection(config)
    behind = [0, 0]
    for direction, stream in inputs:
        calls: list[Any] = [lambda d=direction, s=stream: connection.feed(d, s)]
        if data.draw(st.booleans()):
            lost = data.draw(st.integers(0, 50))
            calls.insert(0, lambda d=direction, n=lost: connection.lost(d, n))
        if data.draw(st.booleans()):
            calls.append(lambda d=direction: connection.end(d))
        for call in calls:
            try:
                events = call()
            except ParseError as error:
                events = error.events
                assert error.code and error.reason and not error.reason.startswith("code_")
                assert 0 <= error.position <= connection.position(direction)
            for event in events:
                assert event.direction == direction
                if isinstance(event, Data):
                    assert event.position >= behind[direction]
                    behind[direction] = event.position + len(event.data)
                if isinstance(event, Undecodable):
                    assert event.code != Code.FAULT, event.reason
                    assert not event.reason.startswith("code_")
