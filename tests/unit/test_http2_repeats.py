"""A header block that comes again is told as it was decoded first; where its bytes mean something else, as that."""

from __future__ import annotations

from typing import Any

import pytest
from http2_wire import BEGIN, HEADERS, WHOLE, client, error, frame, read, text

from ebpfmesh import l7
from ebpfmesh.l7.contract import Config
from ebpfmesh.l7.vectors import outcome
from http2_repeats import conversation

INDEXED = b"\x82\x86\x84\xbe"  # :authority is the newest entry


def get(stream: int, coded: bytes) -> bytes:
    return frame(HEADERS, coded, flags=WHOLE, stream=stream)


def inserting(host: str) -> bytes:
    return b"\x82\x86\x84\x41" + text(host)


def requests(*blocks: bytes, config: Config | None = None) -> list[Any]:
    """What requests with these blocks are told as; here without splits, which would be many."""
    pieces = [*BEGIN, client(*(get(2 * n + 1, each) for n, each in enumerate(blocks)))]
    events, failed = outcome(l7.parser("http2").connection(config or Config()), pieces)
    assert failed is None
    return [event for event in events if event["event"] == "request"]


@pytest.mark.parametrize("times", [1, 2, 3, 6])
def test_a_block_is_told_alike_every_time(times: int) -> None:
    told = read(client(get(1, inserting("a")), *(get(3 + 2 * n, INDEXED) for n in range(times))), begun=True)
    heads = [event for event in told if event["event"] == "request"]
    assert [head.pop("stream") for head in heads] == [1, *(3 + 2 * n for n in range(times))]
    assert all(head["host"] == "a" and head["path"] == "/" for head in heads)


def test_the_same_bytes_are_another_header_behind_an_insertion() -> None:
    told = requests(inserting("a"), INDEXED, INDEXED, INDEXED, inserting("b"), INDEXED, INDEXED, INDEXED)
    assert [head["host"] for head in told] == ["a"] * 4 + ["b"] * 4


def test_the_same_bytes_are_an_error_once_the_table_is_empty() -> None:
    empty = b"\x20\x82\x86\x84\x01" + text("c")
    many = [get(3 + 2 * n, INDEXED) for n in range(4)]
    assert error(client(get(1, inserting("a")), *many, get(11, empty), get(13, INDEXED))) == "hpack_index"


@pytest.mark.parametrize("length", [1, 7, 8, 9, 60, 120])
def test_a_block_that_differs_in_any_byte_is_another_one(length: int) -> None:
    same = b"\x82\x86\x04" + text("/" + "p" * length) + b"\x01" + text("a.example")
    assert [head["path"] for head in requests(same, same, same)] == ["/" + "p" * length] * 3
    for at in range(1, length + 1):
        path = "/" + "p" * (at - 1) + "q" + "p" * (length - at)
        told = requests(same, same, same, b"\x82\x86\x04" + text(path) + b"\x01" + text("a.example"))
        assert [head["path"] for head in told] == ["/" + "p" * length] * 3 + [path]


def test_what_is_listed_and_registered_is_told_each_time() -> None:
    same = b"\x82\x86\x84\x01" + text("a") + b"\x00" + text("x-user") + text("eve")
    told = requests(*[same] * 4, config=Config(names=("x-user",), all_headers=True))
    assert all(head["registered"] == {"x-user": "eve"} for head in told)
    assert all(("x-user", "eve") in [tuple(pair) for pair in head["headers"]] for head in told)


@pytest.mark.parametrize("seed", range(60))
def test_heads_are_what_python_hpack_reads_however_they_repeat(seed: int) -> None:
    pieces, wanted = conversation(seed)
    events, failed = outcome(l7.parser("http2").connection(Config(all_headers=True)), pieces)
    assert failed is None
    told = [event for event in events if event["event"] in ("request", "response", "trailers")]
    assert [dict(map(tuple, head["headers"])) for head in told] == wanted
