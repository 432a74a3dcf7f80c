"""The HPACK core in the kernel, dynamic table and all: it reads what the native one reads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import conformance
import hpack_decoders as codes
from hpack_connections import connections, spoilt, string
from hpack_decoders import ALL_HEADERS, KERNEL_TEXT, Decoder, kernel, native
from hpack_vectors import EXAMPLES, REFUSALS, decode_all

pytestmark = pytest.mark.kernel


@pytest.fixture
def decoder(_leaks_fail) -> Iterator[Decoder]:
    with kernel() as loaded:
        yield loaded


def test_the_examples_of_the_rfc_decode_and_leave_its_tables(decoder):
    for examples in EXAMPLES.values():
        decoder.reset(flags=ALL_HEADERS)
        for example in examples:
            decoded = decoder.decode(bytes.fromhex(example.block))
            assert (decoded.code, decoded.headers, decoder.size) == (0, example.headers, example.size)
            assert tuple(decoder.listed()) == example.headers


def test_malformed_blocks_are_refused_with_their_codes_and_places(decoder):
    for name, refusal in REFUSALS.items():
        decoder.reset()
        decoded = decode_all(decoder, refusal)
        assert (name, decoded.code, decoded.at) == (name, refusal.code, refusal.at)


@conformance.needs_data
def test_every_story_decodes_exactly(decoder):
    for story in conformance.hpack_stories():
        decoder.reset()
        for block in story.blocks:
            if block.table_size is not None:
                decoder.set_limit(block.table_size)
            decoded = decoder.decode(block.wire)
            assert (story.name, decoded.code, decoded.headers) == (story.name, 0, block.headers)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.data(),
    limits=st.fixed_dictionaries({"text_limit": st.sampled_from([0, 50, 500])}),
    changed=st.booleans(),
)
def test_it_reads_what_the_native_core_reads(decoder, data, limits, changed):
    blocks = data.draw(connections(blocks=3, fields=6))
    if changed:
        blocks = data.draw(spoilt(blocks))
    other = native()
    for one in (decoder, other):
        one.reset(
            **limits, flags=data.draw(st.sampled_from([0, ALL_HEADERS])) if one is decoder else decoder.flags
        )
    for block in blocks:
        if len(block.wire) > decoder.block_room:
            break
        for limit in block.limits:
            decoder.set_limit(limit)
            other.set_limit(limit)
        decoded = decoder.decode(block.wire)
        assert decoded == other.decode(block.wire)
        if decoded.code:
            break
        assert (decoder.table(), decoder.used) == (other.table(), other.used)


def test_fields_that_fill_block_text_and_table(decoder):
    other = native()
    for name in (0, 1, 31, 32, 33, 63, 64, 65, 1000, 4000, 4064, 4090):
        for value in (4064 - name, 4093 - 6 - name):
            if value < 0:
                continue
            wire = literal(b"n" * name, bytes(number & 255 for number in range(value)))
            if len(wire) > decoder.block_room:
                continue
            assert decoder.decode(wire) == other.decode(wire)
            assert decoder.table() == other.table()
            assert decoder.decode(b"\xbe") == other.decode(b"\xbe")


def literal(name: bytes, value: bytes) -> bytes:
    return b"\x40" + string(name, huffman=False) + string(value, huffman=False)


def test_a_block_beyond_the_room_is_refused(decoder):
    assert decoder.decode(b"\x82" * (decoder.block_room + 1)).code == codes.TOO_LONG


def test_with_room_for_no_table_every_reference_to_it_escalates(_leaks_fail):
    with kernel(capacity=0) as stateless:
        examples = EXAMPLES["C.4"]
        assert stateless.decode(bytes.fromhex(examples[0].block)).headers == examples[0].headers
        assert stateless.decode(bytes.fromhex(examples[1].block)).code == codes.FORGOTTEN
        assert stateless.escalates


def test_it_is_verified_in_every_type_of_program_and_cheaply(load):
    loaded = load(KERNEL_TEXT)
    costs = {str(program.type): program.info().verified_instructions for program in loaded.programs.values()}
    assert len(costs) == 3
    assert max(costs.values()) < 40_000, costs
