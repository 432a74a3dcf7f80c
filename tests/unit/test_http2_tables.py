"""The dynamic tables of a connection: when a SETTINGS value binds whom (RFC 7541 section 4.2, RFC 9113 section 6.5)."""

from __future__ import annotations

from typing import Any

import pytest
from hpack.table import HeaderTable
from http2_wire import (
    CONTINUATION,
    END_HEADERS,
    END_STREAM,
    GET,
    HEADERS,
    PREFACE,
    PUSH_PROMISE,
    SETTINGS_ACK,
    WHOLE,
    block,
    brief,
    client,
    error,
    frame,
    headers,
    read,
    server,
    settings,
    text,
)

from ebpfmesh.l7.contract import Config

# :method GET, :scheme http, :path /, and an :authority of one letter, put into the table (entry 62 then)
INSERTING = b"\x82\x86\x84\x41" + text("a")
INDEXED = b"\x82\x86\x84\xbe"


def size(value: int) -> bytes:
    """A table size update."""
    if value < 31:
        return bytes((32 | value,))
    value, coded = value - 31, b"\x3f"
    while value >= 128:
        value, coded = value >> 7, coded + bytes((value & 127 | 128,))
    return coded + bytes((value,))


def get(stream: int, coded: bytes) -> bytes:
    return frame(HEADERS, coded, flags=WHOLE, stream=stream)


def test_the_table_has_its_default_size_from_the_first_frame_on() -> None:
    told = read(client(get(1, INSERTING), get(3, INDEXED)), begun=True)
    assert [event["host"] for event in told if event["event"] == "request"] == ["a", "a"]
    assert error(client(get(1, INDEXED))) == "hpack_index"


def test_each_direction_has_a_table_of_its_own() -> None:
    answer = frame(HEADERS, b"\x88\x40" + text("x") + text("1"), flags=END_HEADERS, stream=1)
    again = frame(HEADERS, b"\xbe", flags=WHOLE, stream=1)
    told = read(
        client(get(1, INSERTING)), server(answer, again), client(get(3, INDEXED)), config=Config(names=("x",))
    )
    assert brief(told, "registered", "host") == [
        ("request", 1, "a"), ("end", 1),
        ("response", 1, {"x": "1"}), ("trailers", 1, {"x": "1"}), ("end", 1),
        ("request", 3, "a"), ("end", 3),
    ]  # fmt: skip


def test_a_block_is_decoded_though_nobody_wants_its_stream() -> None:
    """What a reset stream inserts is in the table all the same."""
    told = read(
        client(headers(1, *GET, flags=END_HEADERS)),
        server(frame(3, bytes(4), stream=1)),
        client(frame(HEADERS, b"\x40" + text("x") + text("1"), flags=WHOLE, stream=1)),
        client(get(3, INDEXED[:3] + b"\x41" + text("b") + b"\xbf")),
        config=Config(names=("x",)),
    )
    assert told[-2]["registered"] == {"x": "1"}


def test_a_smaller_table_binds_once_it_is_acknowledged() -> None:
    smaller = server(settings(_1=0))
    assert brief(read(client(get(1, INSERTING)), smaller, client(get(3, INDEXED))))[-1] == ("end", 3)
    acknowledged = (client(get(1, INSERTING)), smaller, client(SETTINGS_ACK))
    assert error(*acknowledged, client(get(3, INDEXED))) == "hpack_no_size"
    assert error(*acknowledged, client(get(3, size(0) + INDEXED))) == "hpack_index"
    assert brief(read(*acknowledged, client(get(3, size(0) + INSERTING))))[-1] == ("end", 3)
    assert error(*acknowledged, client(get(3, size(1) + INSERTING))) == "hpack_size"


def test_without_a_table_every_head_stands_for_itself() -> None:
    stateless = Config(table_limit=1)
    pieces = (server(settings(_1=0)), client(SETTINGS_ACK, get(1, size(0) + INSERTING), get(3, INSERTING)))
    assert [event["host"] for event in read(*pieces, config=stateless) if event["event"] == "request"] == [
        "a",
        "a",
    ]
    assert (
        error(client(get(1, INSERTING), get(3, INDEXED)), config=stateless) == "undecodable: hpack_forgotten"
    )


def test_a_larger_table_may_be_used_as_soon_as_it_is_allowed() -> None:
    assert error(client(get(1, size(5000) + INSERTING))) == "hpack_size"
    larger = server(settings(_1=8192))
    assert brief(read(larger, client(get(1, size(5000) + INSERTING), get(3, INDEXED))))[-1] == ("end", 3)
    assert error(larger, client(SETTINGS_ACK, get(1, size(8193) + INSERTING))) == "hpack_size"
    assert brief(read(larger, client(SETTINGS_ACK, get(1, size(8192) + INSERTING))))[-1] == ("end", 1)


def test_of_two_sizes_in_one_settings_frame_both_bind() -> None:
    both = server(frame(4, b"\0\1\0\0\0\0" + b"\0\1\0\0\x10\0"))
    assert error(both, client(SETTINGS_ACK, get(1, INSERTING))) == "hpack_no_size"
    assert brief(read(both, client(SETTINGS_ACK, get(1, size(0) + size(4096) + INSERTING), get(3, INDEXED))))[
        -1
    ] == (
        "end",
        3,
    )


def test_each_acknowledgement_is_of_the_oldest_settings() -> None:
    two = server(settings(_1=100), settings(_1=50))
    assert brief(read(two, client(SETTINGS_ACK, get(1, size(100) + INSERTING))))[-1] == ("end", 1)
    assert error(two, client(SETTINGS_ACK, SETTINGS_ACK, get(1, size(100) + INSERTING))) == "hpack_size"
    assert brief(read(two, client(SETTINGS_ACK, SETTINGS_ACK, get(1, size(50) + INSERTING))))[-1] == (
        "end",
        1,
    )


def test_a_table_that_is_larger_than_what_is_kept_is_followed_as_far_as_it_goes() -> None:
    larger = server(settings(_1=65536))
    fill = b"".join(b"\x40" + text(f"name-{n:03}") + text("v" * 100) for n in range(40))
    first = get(1, size(65536) + INSERTING + fill[: len(fill) // 2])
    parts = [client(SETTINGS_ACK, first, get(3, INDEXED[:3] + b"\x41" + text("b") + fill[len(fill) // 2 :]))]
    config = Config(block_limit=8192, table_limit=4096, text_limit=8192)
    assert brief(
        read(larger, *parts, client(get(5, INDEXED[:3] + b"\x41" + text("c") + b"\xc0")), config=config)
    )[-1] == (
        "end",
        5,
    )
    oldest = client(get(5, INDEXED[:3] + b"\xe7"))  # 42 entries ago
    assert error(larger, *parts, oldest, config=config) == "undecodable: hpack_forgotten"
    everything = Config(block_limit=8192, table_limit=65536, text_limit=8192)
    assert brief(read(larger, *parts, oldest, config=everything))[-1] == ("end", 5)


def test_acknowledgements_may_be_seen_before_what_they_acknowledge() -> None:
    """Two recordings, one after the other."""
    requests = client(SETTINGS_ACK, get(1, size(8000) + INSERTING), get(3, INDEXED))
    told = read(requests, server(settings(_1=8192)), client(get(5, INDEXED)))
    assert brief(told)[-1] == ("end", 5)
    assert error(requests, server(settings(_1=8192)), client(get(5, size(8193) + INDEXED))) == "hpack_size"


def test_of_one_direction_alone_it_is_not_known_what_the_other_allows() -> None:
    alone = Config(one_direction=True)
    sent = client(PREFACE, settings(), get(1, size(8000) + INSERTING), get(3, INDEXED))
    assert brief(read(sent, config=alone, begun=False))[-1] == ("end", 3)


def test_what_hpack_refuses_ends_the_connection() -> None:
    cases = {
        b"\x80": "hpack_index",
        b"\xff\xff\xff\xff\xff\xff\xff\xff": "hpack_integer",
        b"\x82\x3f\xe1\x1f": "hpack_late_size",
        b"\x00\x05ab": "hpack_cut",
        b"\x40": "hpack_cut",
        b"\x00\x81\x00\x01a": "hpack_padding",
    }
    for coded, code in cases.items():
        assert error(client(get(1, coded))) == code


def test_a_representation_may_be_cut_between_frames_at_every_byte() -> None:
    coded = INSERTING + b"\x40" + text("x") + text("12345")
    for at in range(len(coded) + 1):
        parts = frame(HEADERS, coded[:at], flags=END_STREAM, stream=1) + frame(
            CONTINUATION, coded[at:], flags=END_HEADERS, stream=1
        )
        told = read(client(parts, get(3, INDEXED[:3] + b"\xbf\xbe")), config=Config(names=("x",)))
        assert [event["registered"] for event in told if event["event"] == "request"] == [{"x": "12345"}] * 2


def test_a_huffman_coded_head_is_the_same() -> None:
    """www.example.com, of RFC 7541 appendix C.4.1."""
    coded = bytes.fromhex("828684418cf1e3c2e5f23a6ba0ab90f4ff")
    assert read(client(get(1, coded)))[0]["host"] == "www.example.com"
    assert block(*GET).startswith(b"\0\7:method\3GET")


# --- what is known of a table's entries --------------------------------------------------------------------------------


def told_of(direction: str, coded: bytes) -> list[Any]:
    config = Config(names=("accept-language", "via", "x"), all_headers=True)
    opening = headers(1, *GET)
    if direction == "request":
        told = read(client(frame(HEADERS, coded, flags=WHOLE, stream=1)), config=config)
    else:
        told = read(client(opening), server(frame(HEADERS, coded, flags=WHOLE, stream=1)), config=config)
    return [{key: value for key, value in event.items() if key != "position"} for event in told]


@pytest.mark.parametrize("index", range(1, 62))
def test_a_name_of_the_static_table_is_what_it_is_as_text(index: int) -> None:
    name, value = (octets.decode() for octets in HeaderTable.STATIC_TABLE[index - 1])
    pseudo = name.startswith(":")
    coded = bytes((index,)) if index < 15 else bytes((15, index - 15))
    direction = "response" if name == ":status" else "request"
    head = [header for header in GET if header[0] != name] if direction == "request" else [(":status", "200")]
    head = [header for header in head if header[0] != name]
    for given in {value, "7", "trailers", "a b", "\x01", ""}:
        literal = block(*head, (name, given))
        indexed = block(*head) + coded + text(given)
        assert told_of(direction, indexed) == told_of(direction, literal), given
    if value or not pseudo:
        whole = block(*head) + bytes((0x80 | index,))
        assert told_of(direction, whole) == told_of(direction, block(*head, (name, value)))


def test_an_entry_is_judged_again_by_where_it_is_used() -> None:
    """What is no value is refused as it enters a table; what only some heads may not have, each time."""
    assert error(client(get(1, INDEXED[:3] + b"\x40" + text("x") + text("\n")))) == "field_value"
    assert error(client(get(1, INDEXED[:3] + b"\x40" + text("X") + text("1")))) == "field_name"
    # the host of a response means nothing; that of the request which is promised does
    answer = frame(HEADERS, b"\x88\x40" + text("host") + text("a b"), flags=END_HEADERS, stream=1)
    promise = frame(PUSH_PROMISE, b"\0\0\0\2" + INDEXED, flags=END_HEADERS, stream=1)
    assert error(client(headers(1, *GET)), server(answer, promise)) == "field_value"
    # trailers may say anything of the length; a request has one, and no second
    opening = frame(HEADERS, INDEXED[:3] + block(("host", "a")), flags=END_HEADERS, stream=1)
    trailers = frame(HEADERS, b"\x40" + text("content-length") + text("x"), flags=WHOLE, stream=1)
    assert error(client(opening, trailers, get(3, INDEXED[:3] + b"\x0f\x17" + text("a") + b"\xbe"))) == (
        "content_length_form"
    )
    # pseudo-headers stand in front, once, however they are coded
    assert error(client(get(1, INSERTING), get(3, INDEXED + b"\xbe"))) == "pseudo_repeated"
    assert (
        error(client(get(1, INSERTING), get(3, INDEXED[:3] + block(("x", "1")) + b"\xbe"))) == "pseudo_order"
    )
    assert error(client(get(1, INSERTING)), server(frame(HEADERS, b"\x82", flags=WHOLE, stream=1))) == (
        "pseudo_unknown"
    )
