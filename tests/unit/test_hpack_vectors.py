"""The native HPACK core, over the examples of RFC 7541, malformed blocks, and its limits."""

from __future__ import annotations

import pytest

import hpack_decoders as codes
from hpack_decoders import ALL_HEADERS, Decoder, Entry, native
from hpack_vectors import EXAMPLES, REFUSALS, decode_all


@pytest.fixture
def decoder() -> Decoder:
    return native()


@pytest.mark.parametrize("section", EXAMPLES)
def test_the_examples_of_the_rfc_decode_and_leave_its_tables(decoder, section):
    for example in EXAMPLES[section]:
        decoded = decoder.decode(bytes.fromhex(example.block))
        assert (decoded.code, decoded.headers, decoder.size) == (0, example.headers, example.size)
        assert decoder.size == sum(32 + len(entry.name) + len(entry.value) for entry in decoder.table())


def test_the_table_after_the_examples_is_that_of_the_rfc(decoder):
    for example in EXAMPLES["C.5"]:
        decoder.decode(bytes.fromhex(example.block))
    assert [entry[:2] for entry in decoder.table()] == [
        EXAMPLES["C.5"][-1].headers[place] for place in (5, 4, 2)
    ]


@pytest.mark.parametrize("name", REFUSALS)
def test_a_malformed_block_is_refused_with_its_code_and_place(decoder, name):
    refusal = REFUSALS[name]
    decoded = decode_all(decoder, refusal)
    assert (decoded.code, decoded.at, decoder.escalates) == (refusal.code, refusal.at, refusal.escalates)


def literal(name: bytes, value: bytes, first: int = 0x40) -> bytes:
    """A field with both strings as text; ``first`` 0x40 is incremental indexing."""
    return bytes([first]) + string(name) + string(value)


def string(text: bytes) -> bytes:
    return integer(0, 7, len(text)) + text


def integer(first: int, bits: int, value: int) -> bytes:
    """RFC 7541 section 5.1."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([first | value])
    result, value = [first | most], value - most
    while value > 127:
        result.append(value & 127 | 128)
        value >>= 7
    return bytes([*result, value])


def size_update(size: int) -> bytes:
    return integer(0x20, 5, size)


def test_a_never_indexed_field_is_told_as_such_and_one_without_indexing_is_not(decoder):
    decoded = decoder.decode(literal(b"a", b"b", 0x10) + literal(b"c", b"d", 0x00) + literal(b"e", b"f"))
    assert [field.never for field in decoded.fields] == [True, False, False]
    assert decoder.table() == [Entry(b"e", b"f", 1001)]


def test_a_name_is_looked_at_once_and_its_tag_stays_with_the_entry(decoder):
    block = (
        literal(b"custom", b"1") + integer(0x40, 6, 62) + string(b"2") + bytes([0xBE, 0xBF]) + bytes([0x82])
    )
    decoded = decoder.decode(block)
    assert decoded.headers[:4] == ((b"custom", b"1"), (b"custom", b"2"), (b"custom", b"2"), (b"custom", b"1"))
    assert [field.tag for field in decoded.fields] == [1006] * 4 + [2]
    assert decoder.names_looked_at == 2


def test_an_entry_of_the_size_of_the_table_is_kept_and_a_larger_one_empties_it(decoder):
    value = bytes(range(256)) * 16
    assert decoder.decode(literal(b"a", b"b")).code == 0
    full = literal(b"n", value[: 4096 - 33], 0x40)
    assert decoder.decode(full).code == 0
    assert decoder.table() == [Entry(b"n", value[: 4096 - 33], 1001)]
    assert decoder.size == 4096
    decoded = decoder.decode(literal(b"n", value[: 4096 - 32]))
    assert decoded.headers == ((b"n", value[: 4096 - 32]),)
    assert (decoder.table(), decoder.size) == ([], 0)
    assert decoder.decode(b"\xbe").code == codes.INDEX


def test_the_name_of_an_entry_that_its_own_use_evicts_is_whole(decoder):
    name = b"n" * 1000
    decoder.decode(size_update(1100) + literal(name, b""))
    decoded = decoder.decode(integer(0x40, 6, 62) + string(b"v" * 68))
    assert decoded.headers == ((name, b"v" * 68),)
    assert decoder.table() == [Entry(name, b"v" * 68, 2000)]


def test_entries_go_all_round_the_ring(decoder):
    held: list[tuple[bytes, bytes]] = []
    for number in range(400):
        name, value = b"x%d" % number, bytes([number & 255]) * (number * 7 % 300)
        held.insert(0, (name, value))
        decoder.decode(literal(name, value))
        while sum(32 + len(name) + len(value) for name, value in held) > 4096:
            held.pop()
        assert [entry[:2] for entry in decoder.table()] == held


def test_as_many_entries_as_there_can_be(decoder):
    decoder.decode(literal(b"", b"") * 200)
    assert (len(decoder.table()), decoder.size) == (128, 4096)
    assert decoder.decode(integer(0x80, 7, 61 + 128)).headers == ((b"", b""),)
    assert decoder.decode(integer(0x80, 7, 61 + 129)).code == codes.INDEX


def test_every_octet_as_huffman_code(decoder):
    hpack = pytest.importorskip("hpack.huffman", reason="hpack is an independent encoder")
    from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

    encoder = hpack.HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
    for text in [bytes([octet]) * count for octet in range(256) for count in (1, 2, 7, 8, 9)]:
        coded = encoder.encode(text)
        decoded = decoder.decode(b"\x10\x00" + integer(0x80, 7, len(coded)) + coded)
        assert (decoded.code, decoded.headers) == (0, ((b"", text),))


def test_a_size_update_needs_no_reduction_and_may_come_several_times(decoder):
    decoder.decode(literal(b"a", b"b") + literal(b"c", b"d"))
    assert decoder.decode(size_update(34) + size_update(4096) + b"\xbe").headers == ((b"c", b"d"),)
    assert decoder.decode(b"\xbf").code == codes.INDEX


def test_a_reduction_must_be_followed_and_then_raised_to_the_new_limit(decoder):
    decoder.decode(literal(b"a", b"b"))
    decoder.set_limit(0)
    decoder.set_limit(8192)
    assert decoder.decode(size_update(0) + size_update(8192) + b"\x82").code == 0
    assert decoder.table() == []
    assert decoder.decode(size_update(8193)).code == codes.SIZE


def test_a_limit_at_or_above_what_is_used_asks_for_nothing(decoder):
    decoder.set_limit(4096)
    assert decoder.decode(b"\x82").code == 0
    decoder.decode(size_update(100))
    decoder.set_limit(100)
    assert decoder.decode(b"\x82").code == 0


def test_what_no_room_was_kept_for_is_never_guessed(decoder):
    decoder.set_limit(1 << 20)
    decoder.decode(size_update(1 << 20))
    for number in range(200):
        assert decoder.decode(literal(b"n%03d" % number, b"v")).code == 0
    assert decoder.decode(integer(0x80, 7, 61 + 110)).headers == ((b"n090", b"v"),)
    decoded = decoder.decode(integer(0x80, 7, 61 + 111))
    assert (decoded.code, decoder.escalates) == (codes.FORGOTTEN, True)


def test_a_table_that_comes_back_to_what_is_kept_is_known_again(decoder):
    decoder.set_limit(1 << 20)
    decoder.decode(size_update(1 << 20))
    for number in range(200):
        decoder.decode(literal(b"n%03d" % number, b"v"))
    decoder.decode(size_update(37 * 3))
    assert decoder.decode(integer(0x80, 7, 61 + 3)).headers == ((b"n197", b"v"),)
    assert decoder.decode(integer(0x80, 7, 61 + 4)).code == codes.INDEX


def test_more_room_follows_a_larger_table(decoder):
    decoder.reset(table_limit=65536)
    decoder.set_limit(65536)
    decoder.decode(size_update(65536))
    for number in range(200):
        decoder.decode(literal(b"n%03d" % number, b"v"))
    assert decoder.decode(integer(0x80, 7, 61 + 200)).headers == ((b"n000", b"v"),)


def test_with_room_for_no_table_every_reference_to_it_escalates():
    stateless = native(capacity=0)
    assert stateless.decode(bytes.fromhex(EXAMPLES["C.4"][0].block)).headers == EXAMPLES["C.4"][0].headers
    assert stateless.decode(b"\x82\xbe").code == codes.FORGOTTEN
    assert stateless.escalates


def test_with_room_for_no_table_and_a_size_of_0_a_reference_is_wrong():
    stateless = native(capacity=0)
    stateless.set_limit(0)
    assert stateless.decode(size_update(0) + literal(b"a", b"b")).headers == ((b"a", b"b"),)
    assert stateless.decode(b"\xbe").code == codes.INDEX
    assert not stateless.escalates


@pytest.mark.parametrize("first", [0x00, 0x10, 0x40])
def test_a_field_must_fit_the_text(decoder, first):
    decoder.reset(text_limit=100)
    assert decoder.decode(literal(b"n" * 40, b"v" * 60, first)).code == 0
    for name, value in ((40, 61), (101, 0), (0, 101)):
        decoder.reset(text_limit=100)
        assert decoder.decode(literal(b"n" * name, b"v" * value, first)).code == codes.LONG_FIELD
        assert decoder.escalates


def test_a_huffman_string_must_fit_the_text(decoder):
    coded = bytes(60) + b"\x07"  # zeroes are of 5 bits: 97 of them, and 3 ones
    for limit in range(90, 105):
        decoder.reset(text_limit=limit)
        assert decoder.decode(b"\x10\x00" + integer(0x80, 7, len(coded)) + coded).code == (
            0 if limit >= 97 else codes.LONG_FIELD
        )


def test_an_entry_of_either_table_must_fit_the_text(decoder):
    decoder.reset(text_limit=27)
    decoder.decode(literal(b"abcdefg", b"hijklmn"))
    assert decoder.decode(b"\xbe").code == 0
    assert decoder.decode(b"\xbe\xbe").code == codes.LONG_FIELD
    decoder.reset(text_limit=27)
    assert decoder.decode(b"\x90").code == codes.LONG_FIELD  # accept-encoding: gzip, deflate: 28
    decoder.reset(text_limit=28)
    assert decoder.decode(b"\x90").headers == ((b"accept-encoding", b"gzip, deflate"),)


def test_text_that_need_not_stay_makes_room(decoder):
    decoder.reset(text_limit=100, keep=0)
    decoded = decoder.decode(literal(b"n" * 40, b"v" * 60) * 10)
    assert (decoded.code, len(decoded.fields), decoder.used) == (0, 10, 0)


def test_a_hook_ends_the_decoding_with_its_own_code(decoder):
    decoder.reset(keep=-99)
    decoded = decoder.decode(b"\x82\x82")
    assert (decoded.code, len(decoded.fields), decoded.at) == (99, 1, 1)
    assert not decoder.escalates


def test_a_header_list_beyond_the_limit_escalates(decoder):
    decoder.reset(head_limit=3 * 42, keep=0)  # :method: GET counts for 42
    assert decoder.decode(b"\x82\x82\x82").code == 0
    assert decoder.decode(b"\x82\x82\x82\x82").code == codes.LONG_LIST
    assert decoder.escalates


def test_a_bomb_of_indexes_ends_at_the_limit_of_the_list(decoder):
    decoder.reset(keep=0)
    decoded = decoder.decode(literal(b"a", b"b" * 3000) + b"\xbe" * 4000)
    assert (decoded.code, len(decoded.fields)) == (codes.LONG_LIST, 10)


def test_all_headers_are_listed_in_the_text_whatever_the_hook_keeps(decoder):
    for keep in (0, 1):
        decoder.reset(flags=ALL_HEADERS, keep=keep)
        decoded = decoder.decode(bytes.fromhex(EXAMPLES["C.5"][0].block))
        assert decoded.headers == EXAMPLES["C.5"][0].headers
        assert tuple(decoder.listed()) == decoded.headers


def test_a_list_of_all_headers_counts_its_own_bytes(decoder):
    block = literal(b"name", b"value")
    decoder.reset(flags=ALL_HEADERS, text_limit=26)
    assert decoder.decode(block * 2).code == 0
    decoder.reset(flags=ALL_HEADERS, text_limit=25)
    assert decoder.decode(block * 2).code == codes.LONG_FIELD


def test_the_text_is_used_to_its_last_byte(decoder):
    decoder.reset(flags=ALL_HEADERS)
    block = literal(b"", b"v" * 4092)
    assert decoder.decode(block).code == 0
    assert decoder.listed() == [(b"", b"v" * 4092)]
    assert decoder.decode(block + b"\x82").code == codes.LONG_FIELD
    decoder.reset(flags=ALL_HEADERS)
    assert decoder.decode(literal(b"", b"v" * 4093)).code == codes.LONG_FIELD


def test_an_empty_block_has_no_fields(decoder):
    assert decoder.decode(b"") == codes.Decoded(0, 0, ())


def test_a_block_may_fill_its_room(decoder):
    decoder.reset(text_limit=65536, head_limit=1 << 20)
    assert decoder.decode(literal(b"", b"v" * (65536 - 6), 0x10)).code == 0
    assert decoder.decode(b"\x82" * 65537).code == codes.TOO_LONG
