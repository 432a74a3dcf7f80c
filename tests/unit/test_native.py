"""The native engine: what a core is shown, what comes out of it, and what a wrong library or caller is told."""

from __future__ import annotations

import array
import copy
import gc
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from probe import CONFIG, COUNT, END, ENDLESS, GAP, HEADER, PAYLOAD, TEXT, library, payload, text

from ebpfmesh.errors import ClosedError, EbpfMeshError, HostError, SpecError
from ebpfmesh.l7 import native
from ebpfmesh.l7.contract import REQUEST, RESPONSE, Code, Config, Op, RawEvent, RecordFlag


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> native.Core:
    return native.load(library(tmp_path_factory.mktemp("probe")), "probe")


@pytest.fixture
def connection(core: native.Core) -> native.NativeConnection:
    return core.connection()


def kinds(events: list[RawEvent]) -> list[int]:
    return [event.kind for event in events]


# --- feeding ----------------------------------------------------------------------------------------------------------

STREAM = b"".join((text(b"hello"), payload(b"never seen"), text(b""), b"n", text(b"x" * 300), b"c"))


def test_events_tell_what_the_core_found_and_where(connection: native.NativeConnection) -> None:
    hello, unseen, empty, count = connection.feed(REQUEST, STREAM[:32])[:4]
    assert (hello.kind, hello.op, hello.position, hello.count, hello.head) == (TEXT, Op.PASS, 0, 10, 10)
    assert (hello.flags, hello.bytes_of(3), hello.text) == (RecordFlag.MESSAGE_ENDS, b"hello", b"hello")
    assert (unseen.kind, unseen.position, unseen.count, unseen.head) == (PAYLOAD, 10, 15, 5)
    assert (unseen.number(0), unseen.number(1), unseen.bytes_of(3)) == (10, None, None)
    assert (empty.position, empty.bytes_of(3)) == (25, b"")
    assert (count.kind, count.number(0)) == (COUNT, 4)
    assert (connection.position(REQUEST), connection.op(REQUEST)) == (32, Op.MORE)
    assert (connection.position(RESPONSE), connection.op(RESPONSE)) == (0, Op.MORE)


def found(events: list[RawEvent]) -> list[tuple[object, ...]]:
    """What does not depend on where a stream was split: an event counts from where the last call began."""
    return [
        (event.kind, event.flags, event.op, event.code, event.position + event.head, event.position + event.count,
         event.present, event.values, event.text)
        for event in events
    ]  # fmt: skip


def test_where_a_stream_is_split_makes_no_difference(core: native.Core) -> None:
    events = core.connection().feed(REQUEST, STREAM, end=True)
    whole = found(events)
    assert kinds(events) == [TEXT, PAYLOAD, TEXT, COUNT, TEXT, CONFIG, END]
    for at in range(len(STREAM) + 1):
        connection = core.connection()
        events = connection.feed(REQUEST, STREAM[:at]) + connection.feed(REQUEST, STREAM[at:], end=True)
        assert found(events) == whole
    connection = core.connection()
    events = [event for byte in STREAM for event in connection.feed(REQUEST, bytes([byte]))]
    assert found(events + connection.feed(REQUEST, b"", end=True)) == whole


def test_a_head_longer_than_a_window_is_one_text(connection: native.NativeConnection) -> None:
    data = bytes(range(256)) * 80
    (event,) = connection.feed(REQUEST, text(data))
    assert event.bytes_of(3) == data


def test_the_longest_text_comes_whole(connection: native.NativeConnection) -> None:
    data = bytes(range(256)) * 256
    events = connection.feed(REQUEST, text(data) * 3 + b"n")
    assert [event.bytes_of(3) for event in events[:3]] == [data] * 3
    assert kinds(events[3:]) == [COUNT]


def test_payload_is_not_shown(connection: native.NativeConnection) -> None:
    size = 10_000_000
    (event,) = connection.feed(REQUEST, payload(b"\xff" * size)[: size // 2])
    assert (event.head, event.count) == (5, size + 5)
    assert connection.feed(REQUEST, b"\xff" * (size + 5 - size // 2) + b"n")[0].number(0) == 2


def test_directions_are_parsed_apart(connection: native.NativeConnection) -> None:
    assert connection.feed(REQUEST, text(b"question")[:7]) == []
    (answer,) = connection.feed(RESPONSE, text(b"answer"))
    (question,) = connection.feed(REQUEST, text(b"question")[7:])
    assert (answer.direction, answer.text) == (RESPONSE, b"answer")
    assert (question.direction, question.text) == (REQUEST, b"question")


def test_more_events_than_are_told_at_once_come_whole_and_in_order(
    connection: native.NativeConnection,
) -> None:
    events = connection.feed(REQUEST, b"n" * 5000 + text(b"last"), end=True)
    assert [event.number(0) for event in events[:5000]] == list(range(1, 5001))
    assert [event.position for event in events[:5000]] == list(range(5000))
    assert kinds(events[5000:]) == [TEXT, END]


@pytest.mark.parametrize("end", [False, True])
@pytest.mark.parametrize("count", range(895, 915))
def test_the_end_is_told_once_wherever_the_room_for_events_ends(
    core: native.Core, count: int, end: bool
) -> None:
    # 910 events of 72 bytes are L7_EVENTS_ENOUGH
    connection = core.connection()
    assert kinds(connection.feed(REQUEST, b"n" * count, end=end)) == [COUNT] * count + [END] * end
    assert kinds(connection.feed(REQUEST, b"", end=True)) == [END] * (not end)


@pytest.mark.parametrize(
    "make",
    [bytearray, memoryview, lambda data: memoryview(b"\0" + data)[1:], lambda data: array.array("B", data)],
)
def test_any_buffer_of_bytes_is_taken(connection: native.NativeConnection, make: type[bytearray]) -> None:
    assert kinds(connection.feed(REQUEST, make(text(b"hello") + b"n" * 2000))) == [TEXT] + [COUNT] * 2000


def test_a_wider_buffer_is_its_bytes(connection: native.NativeConnection) -> None:
    data = text(b"hello, world")[:16]
    assert connection.feed(REQUEST, memoryview(array.array("I", data))) == []
    assert connection.feed(REQUEST, b"d")[0].text == b"hello, world"


# --- the end, and what was lost ---------------------------------------------------------------------------------------


def test_the_end_is_shown_alone_and_once(connection: native.NativeConnection) -> None:
    events = connection.feed(REQUEST, text(b"a"), end=True)
    assert kinds(events) == [TEXT, END]
    assert events[1].number(0) == 0  # the window was empty
    assert connection.feed(REQUEST, b"", end=True) == []
    with pytest.raises(ClosedError, match="bytes after the end of their direction"):
        connection.feed(REQUEST, b"n")
    assert kinds(connection.feed(RESPONSE, b"n", end=True)) == [COUNT, END]


def test_a_stream_that_ends_inside_a_count_is_incomplete(connection: native.NativeConnection) -> None:
    events = connection.feed(REQUEST, payload(b"0123456789")[:-1], end=True)
    assert kinds(events) == [PAYLOAD, 0]
    assert (events[1].op, events[1].code, events[1].position) == (Op.ERROR, Code.INCOMPLETE, 14)


def test_a_stream_that_ends_inside_a_head_is_what_the_core_says(connection: native.NativeConnection) -> None:
    (event,) = connection.feed(REQUEST, text(b"0123456789")[:-1], end=True)
    assert (event.op, event.code, event.position) == (Op.ERROR, Code.INCOMPLETE, 14)


def test_after_an_error_nothing_is_shown(connection: native.NativeConnection) -> None:
    events = connection.feed(REQUEST, b"nn?nn", end=True)
    assert kinds(events) == [COUNT, COUNT, 0]
    assert (events[2].op, events[2].code, events[2].position) == (Op.ERROR, 16, 2)
    assert (connection.position(REQUEST), connection.op(REQUEST)) == (5, Op.ERROR)
    assert connection.feed(REQUEST, b"") == []
    assert kinds(connection.feed(RESPONSE, b"n")) == [COUNT]


def test_lost_payload_is_no_loss_and_lost_heads_are_told(connection: native.NativeConnection) -> None:
    connection.feed(REQUEST, payload(b"0123456789")[:8])
    connection.lost(REQUEST, 4)
    assert kinds(connection.feed(REQUEST, b"789n")) == [COUNT]
    connection.lost(REQUEST, 100)
    connection.lost(REQUEST, 11)
    gap, count = connection.feed(REQUEST, b"n")
    assert (gap.kind, gap.number(0), gap.position) == (GAP, 111, 127)
    assert (count.kind, connection.position(REQUEST)) == (COUNT, 128)
    with pytest.raises(ValueError, match="-1 bytes"):
        connection.lost(REQUEST, -1)


@pytest.mark.parametrize("wrong", [-1, 2])
def test_what_is_no_direction_is_refused(connection: native.NativeConnection, wrong: int) -> None:
    for use in (
        lambda: connection.feed(wrong, b"n"),
        lambda: connection.lost(wrong, 1),
        lambda: connection.position(wrong),
        lambda: connection.op(wrong),
        lambda: connection.core.detect(b"n", wrong),
    ):
        with pytest.raises(ValueError, match=f"{wrong} is not a valid Direction"):
            use()
    assert (connection.position(REQUEST), connection.position(RESPONSE)) == (0, 0)


# --- cores at fault ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("letter", [b"o", b"z"])
def test_an_answer_that_is_none_is_an_error(connection: native.NativeConnection, letter: bytes) -> None:
    *_, event = connection.feed(REQUEST, b"n" + letter + b"n")
    assert (event.op, event.code, event.position) == (Op.ERROR, Code.BAD_CALL, 1)


def test_a_core_that_tells_without_end_is_stopped(connection: native.NativeConnection) -> None:
    *told, event = connection.feed(REQUEST, b"ee")
    assert set(kinds(told)) == {ENDLESS}
    assert (event.op, event.code) == (Op.ERROR, Code.BAD_CALL)


@pytest.mark.parametrize("letter", b"esb")
def test_a_core_that_moves_its_window_is_not_called_for_ever(tmp_path: Path, letter: int) -> None:
    source = f'#include "{HEADER.with_name("liar.h")}"\n'
    connection = native.load(library(tmp_path, source, "liar"), "liar").connection()
    signal.alarm(60)  # C that does not return is ended by the default action only
    try:
        assert connection.feed(REQUEST, bytes((letter,)) * 10_000) == []
    finally:
        signal.alarm(0)
    assert connection.position(REQUEST) == 10_000


# --- connections ------------------------------------------------------------------------------------------------------


def test_the_configuration_reaches_the_core(core: native.Core) -> None:
    config = Config(
        all_headers=True, midstream=True, head_limit=1, text_limit=2, table_limit=3, block_limit=4, stream_limit=5,
        key=bytes(range(16)), names=("x-a", "x-other"), leniency_bits=0x8000_0001,
    )  # fmt: skip
    (event,) = core.connection(config).feed(REQUEST, b"c")
    assert [event.number(field) for field in range(7)] == [5, 0x8000_0001, 1, 2, 3, 4, 5]
    assert event.number(7) == int.from_bytes(config.key[:8], "little")
    assert event.number(8) == int.from_bytes(config.key[8:], "little")
    assert event.number(9) == 1 << 3 | 1 << 7
    assert event.bytes_of(31) == b"x-other"
    (event,) = core.connection().feed(REQUEST, b"c")
    assert [event.number(field) for field in range(10)] == [0] * 10


def test_a_connection_in_the_place_of_another_remembers_nothing_of_it(core: native.Core) -> None:
    gc.collect()
    for data in (b"n", b"nn" + text(b"unfinished")[:-1], b"?", payload(b"123")[:-1]):
        one = core.connection(Config(head_limit=7))
        one.feed(REQUEST, data)
        one.feed(RESPONSE, data, end=True)
        one.lost(REQUEST, 5)
        del one
        fresh = core.connection()
        assert (fresh.position(REQUEST), fresh.position(RESPONSE)) == (0, 0)
        assert (fresh.op(REQUEST), fresh.op(RESPONSE)) == (Op.MORE, Op.MORE)
        (count,), (config,) = fresh.feed(REQUEST, b"n"), fresh.feed(RESPONSE, b"c")
        assert (count.number(0), config.number(2)) == (1, 0)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_connection_is_not_copied(
    connection: native.NativeConnection, duplicate: Callable[[object], object]
) -> None:
    with pytest.raises(TypeError, match="neither copied nor pickled"):
        duplicate(connection)


def test_a_connection_costs_what_its_messages_need(core: native.Core) -> None:
    connections = [core.connection() for _ in range(200)]
    page = os.sysconf("SC_PAGESIZE")

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * page

    before = resident()
    connections = [core.connection() for _ in range(1000)]
    for one in connections:
        one.feed(REQUEST, text(b"hello"))
        one.feed(RESPONSE, text(b"hello"))
    assert resident() - before < 1000 * 40_000  # and room for 270,000 each


def test_use_by_two_threads_at_once_is_refused_and_harms_nothing(core: native.Core) -> None:
    connection = core.connection()
    data = text(b"x" * 60_000) * 20
    refused, stop = threading.Event(), threading.Event()

    def feed() -> None:
        while not stop.is_set():
            try:
                assert all(len(event.text) == 60_000 for event in connection.feed(REQUEST, data))
            except EbpfMeshError as error:
                assert "another thread" in str(error)
                refused.set()

    threads = [threading.Thread(target=feed) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert refused.wait(60)
    stop.set()
    for thread in threads:
        thread.join()
    assert len(connection.feed(REQUEST, data)) == 20


# --- detection --------------------------------------------------------------------------------------------------------


def test_a_core_says_how_sure_it_is_of_a_beginning(core: native.Core, tmp_path: Path) -> None:
    assert core.has_detect
    assert core.detect(b"", REQUEST) is None
    assert core.detect(b"t", REQUEST) == 60
    assert core.detect(bytearray(b"x" * 100_000), RESPONSE) == 0
    blind = native.load(library(tmp_path, OTHER.replace(", .FIELD = 424242", ""), "other"), "other")
    assert not blind.has_detect
    assert blind.detect(b"t", REQUEST) == 0


# --- libraries --------------------------------------------------------------------------------------------------------

SIZES = ", ".join(
    f".{name} = sizeof(struct l7_{type})"
    for name, type in (
        ("size", "core"),
        ("window_size", "window"),
        ("state_size", "state"),
        ("config_size", "config"),
        ("record_size", "record"),
    )
)
OTHER = """
#include <ebpfmesh/parser.h>
__attribute__((visibility("default"))) const struct l7_core l7_core_other = {SIZES, .FIELD = 424242};
""".replace("SIZES", SIZES)


@pytest.mark.parametrize("field", ["size", "window_size", "state_size", "config_size", "record_size"])
def test_a_core_of_another_contract_is_refused_with_both_sizes(tmp_path: Path, field: str) -> None:
    source = OTHER.replace("FIELD", field).replace(
        f".{field} = sizeof(struct l7_", ".tables_size = sizeof(struct l7_"
    )
    path = library(tmp_path, source, "other")
    struct = "struct l7_core" if field == "size" else "struct l7_" + field.removesuffix("_size")
    with pytest.raises(SpecError) as caught:
        native.load(path, "other")
    ours = getattr(native._lib().l7_sizes, field)
    assert f"{struct} has 424242 bytes there and {ours} here" in str(caught.value)
    assert str(path) in str(caught.value)
    assert "build-parser" in str(caught.value)


@pytest.fixture
def wrong(tmp_path: Path) -> Iterator[dict[str, Path]]:
    (tmp_path / "text.so").write_text("no library\n")
    (tmp_path / "directory.so").mkdir()
    undefined = 'extern int nowhere;\n__attribute__((visibility("default"))) int *somewhere = &nowhere;\n'
    yield {
        "absent": tmp_path / "absent.so",
        "text": tmp_path / "text.so",
        "directory": tmp_path / "directory.so",
        "undefined": library(tmp_path, undefined, "undefined"),
        "other": library(tmp_path, "int unused;\n", "empty"),
    }


@pytest.mark.parametrize(
    ("which", "reason"),
    [
        ("absent", "No such file"),
        ("text", "file too short|invalid ELF header"),
        ("directory", "cannot read file data: Is a directory"),
        ("undefined", "undefined symbol: nowhere"),
        ("other", "there is no symbol l7_core_probe"),
    ],
)
def test_a_file_that_holds_no_core_is_refused(wrong: dict[str, Path], which: str, reason: str) -> None:
    with pytest.raises(SpecError, match=reason) as caught:
        native.load(wrong[which], "probe")
    assert str(caught.value).count(str(wrong[which])) == 1


@pytest.mark.parametrize("name", ["", "a-b", "a b", "../x", "ä"])
def test_a_name_that_no_core_can_have_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match="cannot be the name of a core"):
        native.builtin(name)


def test_a_built_in_core_that_is_not_there_is_named() -> None:
    with pytest.raises(SpecError, match="has no core gopher"):
        native.builtin("gopher")


def test_a_tree_that_was_never_built_says_how_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "LIBRARY", tmp_path / "absent.so")
    with pytest.raises(HostError, match=r"absent\.so.*make objects"):
        native._lib.__wrapped__()


def test_a_library_that_was_built_again_is_not_taken_for_the_loaded_one(tmp_path: Path) -> None:
    source = OTHER.replace(", .FIELD = 424242", ", .tables_size = %d")
    path = library(tmp_path, source % 8, "other")
    assert native.load(path, "other").tables_size == 8
    assert native.load(path, "other") is native.load(path, "other")
    library(tmp_path, source % 16, "other")
    with pytest.raises(SpecError, match="an earlier version of this library is loaded"):
        native.load(path, "other")
    assert native.load(path.rename(tmp_path / "new.so"), "other").tables_size == 16
