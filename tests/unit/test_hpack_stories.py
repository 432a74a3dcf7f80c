"""The stories of other encoders, decoded by the native HPACK core."""

from __future__ import annotations

import pytest

import conformance
from hpack_decoders import Decoder, native


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return native()


@conformance.needs_data
@pytest.mark.parametrize("story", conformance.hpack_stories(), ids=str)
def test_a_story_decodes_exactly(decoder, story):
    decoder.reset()
    for block in story.blocks:
        if block.table_size is not None:
            decoder.set_limit(block.table_size)
        decoded = decoder.decode(block.wire)
        assert (decoded.code, decoded.headers) == (0, block.headers)
