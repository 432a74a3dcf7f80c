"""What the bench of the parsers gives to read, and that everybody who is compared reads the same of it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import h11
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # bench/ is beside src/, not installed

from bench import compiled, readers, traffic
from bench.result import Settings
from bench.scenarios import SCENARIOS, parser_cores, verifier_cost

from ebpfmesh import l7
from ebpfmesh.l7.http import Options


@pytest.mark.parametrize("size", [200, 500, 2048])
def test_a_head_has_exactly_the_size_that_is_named(size: int) -> None:
    head = traffic.http1_head(size)
    assert len(head) == size
    request, _ = readers.ebpfmesh()(head)
    assert (request.method, request.host) == ("GET", "shop.example.com")


def test_the_head_that_the_bars_are_about_has_ten_headers() -> None:
    request, _ = readers.ebpfmesh(all_headers=True)(traffic.http1_head(500))
    assert len(request.headers) == 10
    assert request.user_agent
    assert request.traceparent


def test_a_head_without_room_for_its_headers_is_refused() -> None:
    with pytest.raises(ValueError, match="no room"):
        traffic.http1_head(100)


HEADS = {
    "the head of the bars": traffic.http1_head(500),
    "HTTP/1.0": b"GET / HTTP/1.0\r\nUser-Agent: a\r\n\r\n",
    "with a length, empty": b"POST /a?b HTTP/1.1\r\nhOST: a\r\nContent-Length: 0\r\nContent-Type: x/y\r\n\r\n",
    "the last": b"GET /c HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "bytes above 127": b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: \xe4\xff\r\n\r\n",
}


@pytest.mark.parametrize("all_headers", [False, True])
@pytest.mark.parametrize("name", HEADS)
def test_all_readers_give_the_same(name: str, all_headers: bool) -> None:
    head = HEADS[name]
    ours, ended = readers.ebpfmesh(all_headers=all_headers)(head)
    persists = bool(ours.connection & Options.PERSISTS)
    for theirs, end in (
        readers.httptools(all_headers=all_headers)(head),
        readers.h11(h11.Connection(h11.SERVER), head, all_headers=all_headers),
    ):
        assert values(theirs) == values(ours)
        assert theirs.persists == persists
        assert end.stream == ended.stream


def values(head: Any) -> dict[str, Any]:
    return {name: getattr(head, name) for name in readers.FIELDS}


@pytest.mark.parametrize(
    "recording",
    [traffic.http2_gets(70), traffic.grpc_calls(70), traffic.grpc_calls(70, table=0)],
    ids=["GETs", "calls", "calls without a table"],
)
def test_a_recording_is_a_connection_whose_requests_are_all_different(recording: traffic.Recording) -> None:
    connection = l7.parser("http2").connection()
    for direction, data in recording.beginning:
        connection.feed(direction, data)
    traces = set()
    for request, response in recording.exchanges:
        begin, *_, end = connection.feed(l7.REQUEST, request)
        traces.add(begin.traceparent)
        assert isinstance(end, l7.End)
        answer, ended = connection.feed(l7.RESPONSE, response)
        assert (answer.status, ended.stream) == (200, begin.stream)
    assert len(traces) == 70


def test_without_a_table_every_request_is_written_out() -> None:
    long, short = traffic.grpc_calls(9, table=0).exchanges, traffic.grpc_calls(9).exchanges
    assert all(len(request) > 200 for request, _ in long)
    assert all(len(request) < 120 for request, _ in short[1:])


@pytest.mark.skipif(not shutil.which("clang"), reason="needs a C compiler")
def test_every_work_of_the_cores_is_followed_by_its_core(tmp_path: Path) -> None:
    program = compiled.program("core_bench", tmp_path, "dl")
    for name, work in parser_cores.works().items():
        pieces = tmp_path / "pieces"
        pieces.write_bytes(parser_cores.written(work))
        assert parser_cores.native(program, pieces, work, 1) > 0, name
    broken = parser_cores.Work("http1", [b"\0" * 20], 1, [])
    pieces.write_bytes(parser_cores.written(broken))
    with pytest.raises(RuntimeError, match="does not follow"):
        parser_cores.native(program, pieces, broken, 1)


def test_the_bar_of_the_verifier_is_judged_for_every_parser() -> None:
    bars = verifier_cost.measure(Settings()).bars
    assert {"verifier: http1", "verifier: http2", "verifier: dns_tcp"} <= {bar.name for bar in bars}
    assert {bar.bar for bar in bars} == {"< 200"}


def test_scenarios_have_the_names_of_their_files() -> None:
    for name, scenario in SCENARIOS.items():
        assert scenario.measure.__module__ == f"bench.scenarios.{name}"
