"""A core in the kernel tells what it tells natively, however its bytes come."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from parcel import EVERY_KIND, FINAL, build, build_native, parcel

from ebpfmesh import harness
from ebpfmesh.errors import ClosedError, ParseError, SpecError
from ebpfmesh.harness import KernelEngine
from ebpfmesh.harness.engine import LEAST_OUTPUT
from ebpfmesh.harness.structures import CHUNKS, INPUT
from ebpfmesh.l7 import native
from ebpfmesh.l7.contract import REQUEST, RESPONSE, Code, Config, Op, RawEvent

pytestmark = pytest.mark.kernel(feature="loop")

TEXT, TO_END = 2, 3  # the kinds of parcel.h


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("parcel"))


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> native.Core:
    return native.load(build_native(tmp_path_factory.mktemp("parcel")), "parcel")


@pytest.fixture
def kernel(built: Path, _leaks_fail: None) -> Iterator[KernelEngine]:
    with harness.load(path=built) as loaded:
        yield loaded


def natively(core: native.Core, pieces: list[bytes], *, end: bool = False) -> list[RawEvent]:
    connection = core.connection()
    told = [event for piece in pieces for event in connection.feed(REQUEST, piece)]
    return told + (connection.feed(REQUEST, b"", end=True) if end else [])


def cut(data: bytes, splits: tuple[int, ...]) -> list[bytes]:
    borders = [0, *splits, len(data)]
    return [data[start:end] for start, end in pairwise(borders)]


def behind(event: RawEvent) -> tuple[object, ...]:
    """What does not depend on where windows begin."""
    return (
        event.kind,
        event.op,
        event.flags,
        event.position + event.head,
        event.stream,
        event.values,
        event.text,
    )


def texts(events: list[RawEvent]) -> list[bytes | None]:
    return [event.bytes_of(1) for event in events if event.kind == TEXT]


# --- equality with the native engine ------------------------------------------------------------------------------------


def test_every_answer_is_told_as_natively_at_each_split_point(kernel, core):
    assert natively(core, [EVERY_KIND])[3].op == Op.DROP
    for at in range(1, len(EVERY_KIND)):
        told = kernel.connection().feed(REQUEST, EVERY_KIND, splits=[at])
        assert told == natively(core, cut(EVERY_KIND, (at,))), f"split at {at}"
        assert texts(told) == [b"hello", b"", b"last"]


def test_two_splits_within_the_first_parcels_make_no_difference(kernel, core):
    start = EVERY_KIND[:20]
    for splits in combinations(range(1, len(start)), 2):
        assert kernel.connection().feed(REQUEST, start, splits=splits) == natively(core, cut(start, splits))


def test_byte_by_byte_is_as_whole(kernel, core):
    told = kernel.connection().feed(REQUEST, EVERY_KIND, splits=range(len(EVERY_KIND)))
    assert told == natively(core, [EVERY_KIND[at : at + 1] for at in range(len(EVERY_KIND))])


@pytest.mark.parametrize("name", FINAL)
def test_the_end_of_a_stream_is_told_as_natively_at_each_split_point(kernel, core, name):
    data = FINAL[name]
    for at in range(1, len(data)):
        told = kernel.connection().feed(REQUEST, data, splits=[at], end=True)
        assert told == natively(core, cut(data, (at,)), end=True), f"split at {at}"


def test_what_an_end_means(kernel):
    ends = {name: kernel.connection().feed(REQUEST, data, end=True)[-1] for name, data in FINAL.items()}
    assert ends["to the end"].kind == TO_END
    assert (ends["escalates"].op, ends["escalates"].code) == (Op.ESCALATE, Code.TOO_MANY)
    assert (ends["breaks"].op, ends["breaks"].code, ends["breaks"].position) == (Op.ERROR, 16, 6)
    for name in ("unfinished text", "unfinished payload", "unfinished head"):
        assert (ends[name].op, ends[name].code) == (Op.ERROR, Code.INCOMPLETE), name
        assert ends[name].position == len(FINAL[name])


@pytest.mark.parametrize("size", [4095, 4096, 4097, 65535])
def test_messages_longer_than_a_window(kernel, core, size):
    data = parcel(b"T", b"t" * size) + parcel(b"P", b"p" * size) + parcel(b"T", b"end")
    told = kernel.connection().feed(REQUEST, data)
    assert told == natively(core, [data])
    assert [event.number(0) for event in told if event.kind == TEXT] == [size, 3]


def test_more_than_a_run_takes(kernel, core):
    data = parcel(b"T", b"text") * (INPUT // 7 + 1000)
    assert len(data) > INPUT
    connection = kernel.connection()
    # where windows begin differs here: the engines stop for many events at different points
    assert [behind(event) for event in connection.feed(REQUEST, data)] == [
        behind(event) for event in natively(core, [data])
    ]
    assert connection.position(REQUEST) == len(data)


def test_more_pieces_than_a_run_takes(kernel):
    data = parcel(b"T", b"0123456") * (CHUNKS // 5)
    assert len(data) > CHUNKS
    told = kernel.connection().feed(REQUEST, data, splits=range(len(data)))
    assert texts(told) == [b"0123456"] * (CHUNKS // 5)


# --- feeding in several runs ----------------------------------------------------------------------------------------------


def test_a_connection_goes_on_where_the_run_before_ended(kernel, core):
    connection, other = kernel.connection(), core.connection()
    for at in range(len(EVERY_KIND)):
        byte = EVERY_KIND[at : at + 1]
        assert connection.feed(REQUEST, byte) == other.feed(REQUEST, byte), f"byte {at}"
        assert connection.position(REQUEST) == at + 1
    assert connection.op(REQUEST) == other.op(REQUEST)


def test_connections_and_directions_keep_their_own_state_and_tables(kernel):
    first, second = kernel.connection(), kernel.connection()
    told: dict[str, list[RawEvent]] = {"first": [], "second": [], "answers": []}
    for at in range(0, len(EVERY_KIND), 3):
        told["first"] += first.feed(REQUEST, EVERY_KIND[at : at + 3])
        told["second"] += second.feed(REQUEST, EVERY_KIND[at : at + 3])
        told["answers"] += first.feed(RESPONSE, EVERY_KIND[at : at + 3])
    for events in told.values():
        assert texts(events) == [b"hello", b"", b"last"]
        # the tables count all parcels of a direction
        assert [event.number(5) for event in events if event.kind == TEXT] == [1, 2, 6]


def test_events_beyond_the_room_come_too(kernel, core):
    data = parcel(b"T", b"x" * 100) * 50
    kernel.output = LEAST_OUTPUT  # room for one
    assert kernel.connection().feed(REQUEST, data, end=True) == natively(core, [data], end=True)


def test_lost_bytes_matter_where_they_would_have_been_seen(kernel, core):
    data = parcel(b"P", bytes(100)) + parcel(b"T", b"after")
    for start, count in ((3, 100), (50, 20), (3, 101), (103, 3), (105, 1)):
        connection, other = kernel.connection(), core.connection()
        told, expected = connection.feed(REQUEST, data[:start]), other.feed(REQUEST, data[:start])
        connection.lost(REQUEST, count)
        other.lost(REQUEST, count)
        rest = data[start + count :]
        told += connection.feed(REQUEST, rest, end=True)
        assert told == expected + other.feed(REQUEST, rest, end=True)
        if start + count <= 103:
            assert texts(told) == [b"after"]
        else:
            assert (told[-1].op, told[-1].code) == (Op.ESCALATE, Code.GAP)
        assert connection.position(REQUEST) == len(data)


def test_the_configuration_reaches_the_core(kernel):
    (event,) = kernel.connection(Config(midstream=True)).feed(REQUEST, parcel(b"T", b"a"))
    assert (event.op, event.code) == (Op.ESCALATE, Code.NOT_FROM_START)
    assert texts(kernel.connection().feed(REQUEST, parcel(b"T", b"a"))) == [b"a"]


def test_bytes_after_the_end_of_a_direction_are_refused(kernel):
    connection = kernel.connection()
    connection.feed(REQUEST, b"", end=True)
    assert connection.feed(REQUEST, b"", end=True) == []
    with pytest.raises(ClosedError, match=r"after the end of their direction"):
        connection.feed(REQUEST, b"T")
    assert texts(connection.feed(RESPONSE, parcel(b"T", b"other"))) == [b"other"]


def test_a_closed_engine_says_so(built):
    with harness.load(path=built) as engine:
        connection = engine.connection()
        connection.feed(REQUEST, b"T")
    for use in (
        lambda: connection.feed(REQUEST, b"T"),
        engine.connection,
        lambda: connection.position(REQUEST),
    ):
        with pytest.raises(ClosedError, match=r"parser parcel: the engine was closed"):
            use()
    engine.close()


def test_a_child_of_fork_is_told_to_load_the_core_again(built):
    with harness.load(path=built) as engine:
        connection = engine.connection()
        connection.feed(REQUEST, parcel(b"T", b"hello")[:4])
        held, free = threading.Event(), threading.Event()

        def hold() -> None:  # the child would wait for ever for a lock that this thread holds
            with engine.lock:
                held.set()
                free.wait(30)

        holder = threading.Thread(target=hold)
        holder.start()
        held.wait(30)
        answer, child = in_a_child(lambda: said_in_a_child(engine, connection))
        free.set()
        holder.join()
        assert child == 0
        assert answer == [
            "parser parcel: the engine is that of the process that loaded it, and its memory is shared with this one "
            "(load it again in this process)"
        ] * 4 + [str([b"loaded again"])]  # fmt: skip
        assert texts(connection.feed(REQUEST, parcel(b"T", b"hello")[4:])) == [b"hello"]


def said_in_a_child(engine, connection):
    said = []
    for use in (
        lambda: connection.feed(REQUEST, b"T"),
        lambda: connection.lost(REQUEST, 1),
        lambda: connection.position(REQUEST),
        engine.connection,
    ):
        try:
            said.append(f"used: {use()}")
        except ClosedError as error:
            said.append(str(error))
    engine.close()  # of the child's own descriptors
    with harness.load(path=engine.path) as own:
        said.append(str(texts(own.connection().feed(REQUEST, parcel(b"T", b"loaded again")))))
    return said


def in_a_child(work):
    """What ``work`` gave in a child of fork(2), and the child's exit status."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of 3.12: a fork with threads is what is tested
        child = os.fork()
    if not child:
        status = 1
        try:
            signal.alarm(30)
            os.write(writing, json.dumps(work()).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    return json.loads(said or b"[]"), os.waitpid(child, 0)[1]


# --- measuring ------------------------------------------------------------------------------------------------------------


def test_a_measurement_passes_all_pieces_each_time_and_leaves_the_connection_as_it_was(kernel):
    connection = kernel.connection()
    connection.feed(REQUEST, parcel(b"T", b"before") + b"T\0")
    both = ((REQUEST, b"\x01x" + parcel(b"P", bytes(10_000))), (RESPONSE, parcel(b"T", b"a") * 3))
    for tables in (False, True):
        measured = connection.measure(*both, repeat=7, tables=tables)
        assert measured.calls == 5
        assert measured.nanoseconds > 0
    assert kernel.measure(REQUEST, parcel(b"T", b"a"), 3).calls == 1
    assert connection.measure().calls == 0
    (event,) = connection.feed(REQUEST, b"\x02ab")
    assert (event.bytes_of(1), event.number(5), connection.position(RESPONSE)) == (b"ab", 2, 0)


def test_bytes_that_the_core_does_not_follow_are_not_measured(kernel):
    connection = kernel.connection()
    with pytest.raises(ParseError, match=r"parcel request at byte 6"):
        connection.measure((REQUEST, FINAL["breaks"]))
    assert texts(connection.feed(REQUEST, parcel(b"T", b"a"))) == [b"a"]


def test_the_cost_of_each_type_of_program_is_told(kernel):
    cost = kernel.cost()
    assert list(cost) == ["tc", "sk_msg", "sk_skb"]
    assert all(1000 < instructions < 200_000 for instructions in cost.values())
    with harness.load(path=kernel.path, sockets=True) as all_of_them:
        assert all_of_them.cost() == cost


# --- rights ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lacking", ["CAP_BPF", "CAP_PERFMON"])
def test_without_rights_the_missing_ones_are_named(built, lacking):
    script = f"from ebpfmesh import harness; harness.load(path={str(built)!r})"
    command = [sys.executable, str(Path(__file__).with_name("with_rights.py")), f"{lacking},CAP_SYS_ADMIN"]
    result = subprocess.run(
        [*command, sys.executable, "-c", script], capture_output=True, text=True, check=False,
        env={"PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert result.returncode == 1
    assert "CapabilityError" in result.stderr.splitlines()[-1]
    assert lacking in result.stderr.splitlines()[-1]


def test_an_object_that_is_not_there_is_made_by_build_parser(tmp_path):
    with pytest.raises(SpecError, match=r"no such object \(ebpfmesh build-parser"):
        harness.load(path=tmp_path / "absent.bpf.o")
