"""The native HPACK core, over connections of a free encoder, and against two other decoders.

Where the decoders differ by intent:

- PyPI's hpack reads integers of any length. RFC 7541 section 5.1 asks for a bound; nghttp2's is that of the core: 32 bits,
  and five octets behind the prefix.
"""

from __future__ import annotations

from typing import Any

import hpack
import pytest
from hpack.exceptions import HPACKError
from hypothesis import given, settings
from hypothesis import strategies as st

from differential.nghttp2 import Inflater, RefusedError
from hpack_connections import Block, connections, spoilt
from hpack_decoders import Decoder, native

LARGE = {"text_limit": 65536, "head_limit": 1 << 24, "table_limit": 65536}

HEADERS = st.tuples(st.binary(min_size=1, max_size=30), st.binary(max_size=300), st.booleans())

Reading = list[tuple[tuple[bytes, bytes], ...] | None]


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return native()


@settings(max_examples=100, deadline=None)
@given(blocks=connections())
def test_fields_and_tables_are_those_of_the_encoder(decoder, blocks):
    decoder.reset(**LARGE)
    for block in blocks:
        for limit in block.limits:
            decoder.set_limit(limit)
        decoded = decoder.decode(block.wire)
        assert (decoded.code, tuple(field[:3] for field in decoded.fields)) == (0, block.fields)
        assert tuple(entry[:2] for entry in decoder.table()) == block.table


@settings(max_examples=100, deadline=None)
@given(
    lists=st.lists(st.lists(HEADERS, max_size=20)),
    sizes=st.lists(st.integers(0, 4096)),
    huffman=st.booleans(),
)
def test_what_another_encoder_wrote_is_read(decoder, lists, sizes, huffman):
    encoder = hpack.Encoder()
    decoder.reset(**LARGE)
    for number, headers in enumerate(lists):
        if number < len(sizes):
            encoder.header_table_size = sizes[number]
        wire = encoder.encode(
            [hpack.NeverIndexedHeaderTuple(*h[:2]) if h[2] else h[:2] for h in headers], huffman=huffman
        )
        if not wire:
            continue
        decoded = decoder.decode(wire)
        assert (decoded.code, list(decoded.headers)) == (0, [header[:2] for header in headers])
        assert all(header[2] for header, field in zip(headers, decoded.fields, strict=True) if field.never)


def by_ours(decoder: Decoder, blocks: list[Block]) -> Reading:
    """What each block means, up to the first that is refused: that one is None."""
    decoder.reset(**LARGE)
    result: Reading = []
    for block in blocks:
        for limit in block.limits:
            decoder.set_limit(limit)
        decoded = decoder.decode(block.wire)
        assert not decoder.escalates, "the limits of ours are not to be met here"
        result.append(None if decoded.code else decoded.headers)
        if decoded.code:
            break
    return result


def by_nghttp2(blocks: list[Block]) -> Reading:
    inflater = Inflater()
    result: Reading = []
    for block in blocks:
        for limit in block.limits:
            inflater.allow(limit)
        try:
            result.append(inflater.decode(block.wire))
        except RefusedError:
            return [*result, None]
    return result


def by_hpack(blocks: list[Block]) -> Reading:
    decoder = hpack.Decoder(max_header_list_size=1 << 24)
    result: Reading = []
    for block in blocks:
        for limit in block.limits:
            decoder.max_allowed_table_size = limit
        try:
            result.append(tuple((bytes(h[0]), bytes(h[1])) for h in decoder.decode(block.wire, raw=True)))
        except HPACKError:
            return [*result, None]
    return result


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_spoilt_blocks_are_read_as_nghttp2_reads_them(decoder, data: Any):
    blocks = data.draw(spoilt(data.draw(connections(blocks=3, fields=6))))
    assert by_ours(decoder, blocks) == by_nghttp2(blocks)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_spoilt_blocks_are_read_as_hpack_reads_them(decoder, data: Any):
    blocks = data.draw(spoilt(data.draw(connections(blocks=3, fields=6))))
    ours = by_ours(decoder, blocks)
    if any(len(block.limits) > 1 for block in blocks) and ours != by_hpack(blocks):
        # hpack knows the last limit only: the first update must go down to the smallest one (RFC 7541 section 4.2)
        assert ours == by_nghttp2(blocks)
    else:
        assert ours == by_hpack(blocks)
