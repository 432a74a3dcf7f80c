"""The tables that HPACK's core is generated with: they are current, and they are the RFC's."""

from __future__ import annotations

import hpack_tables
import pytest


@pytest.mark.parametrize("name", ["huffman", "static"])
def test_the_committed_header_is_what_the_script_writes(name):
    assert (hpack_tables.HEADERS / f"{name}.h").read_text() == getattr(hpack_tables, name)()


def test_the_code_is_complete():
    assert sum(2.0**-length for _, length in hpack_tables.codes().values()) == 1


def test_codes_and_static_entries_are_those_of_another_implementation():
    from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
    from hpack.table import HeaderTable

    assert [hpack_tables.codes()[symbol] for symbol in range(257)] == list(
        zip(REQUEST_CODES, REQUEST_CODES_LENGTH, strict=True)
    )
    assert [(name.encode(), value.encode()) for name, value in hpack_tables.STATIC_TABLE] == list(
        HeaderTable.STATIC_TABLE
    )


def test_every_static_entry_fits_its_place():
    assert all(len(name) + len(value) <= hpack_tables.ENTRY_TEXT for name, value in hpack_tables.STATIC_TABLE)
