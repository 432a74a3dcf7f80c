"""HTTP/2 requests read in Python: ebpfmesh against h2, the same bytes of one connection."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from bench import plots, traffic
from bench.result import Result, Scenario, Settings
from bench.rounds import Spread, interleave, ratios
from bench.traffic import REQUEST, RESPONSE, Recording

OURS, OURS_ALL, THEIRS = "ebpfmesh", "ebpfmesh, all headers", "h2"
_TOGETHER = 50  # requests before their responses: h2's server allows 100 streams

Read = Callable[[bytes], list[Any]]


def measure(settings: Settings) -> Result:
    """No bar: what a Python program that reads HTTP/2 would use else."""
    rounds = 2 if settings.quick else max(settings.rounds, 15)
    recording = traffic.http2_gets(100 if settings.quick else 500)
    _compare(recording)
    variants: dict[str, Callable[[], float]] = {
        OURS: partial(_ours, recording, all_headers=False),
        OURS_ALL: partial(_ours, recording, all_headers=True),
        THEIRS: partial(_h2, recording),
    }
    for variant in variants.values():
        variant()  # what is compiled or cached on first use is
    samples = interleave(variants, rounds)
    requests = [request for request, _ in recording.exchanges]
    data = {
        "requests": len(requests),
        "bytes_of_a_request": round(sum(map(len, requests)) / len(requests), 1),
        "ns_per_request": {name: Spread.of(values).json(1) for name, values in samples.items()},
        "h2_to_ebpfmesh": {
            name: Spread.of(ratios(samples[THEIRS], samples[name])).json(2) for name in (OURS, OURS_ALL)
        },
    }
    method = (
        f"{rounds} rounds, in each every variant once: a new connection, and on it {len(requests)} GETs as h2's client "
        "writes them, with 8 headers, of which path and traceparent change; processor time of the thread for reading "
        f"the requests. After every {_TOGETHER} their responses, while the clock stands. ebpfmesh: "
        "l7.parser('http2').connection(), whose Request has its fields as str; all headers: also a tuple of all headers, "
        "pairs of str. h2: H2Connection as a server, whose RequestReceived has a list of all headers, pairs of bytes. "
        "The results are compared first. The figure is the median of the rounds' ratios."
    )
    return Result(method, data)


def _ours(recording: Recording, *, all_headers: bool) -> float:
    from ebpfmesh import l7

    connection = l7.parser("http2").connection(l7.Config(all_headers=all_headers))
    for direction, data in recording.beginning:
        connection.feed(direction, data)

    def answer(response: bytes) -> None:
        connection.feed(RESPONSE, response)

    answers = [partial(answer, response) for _, response in recording.exchanges]
    return _timed(partial(connection.feed, REQUEST), recording, answers)


def _h2(recording: Recording) -> float:
    server = _server(recording)

    def answer(stream: int) -> None:
        server.send_headers(stream, traffic.ANSWER, end_stream=True)
        server.data_to_send()

    answers = [partial(answer, 2 * number + 1) for number in range(len(recording.exchanges))]
    return _timed(server.receive_data, recording, answers)


def _server(recording: Recording) -> Any:
    server = traffic.h2_connection(client=False)
    server.initiate_connection()
    for direction, data in recording.beginning:
        if direction == REQUEST:
            server.receive_data(data)
    server.data_to_send()
    return server


def _timed(read: Read, recording: Recording, answers: Sequence[Callable[[], None]]) -> float:
    """Nanoseconds of processor time for a request."""
    requests = [request for request, _ in recording.exchanges]
    took = 0
    for start in range(0, len(requests), _TOGETHER):
        batch = requests[start : start + _TOGETHER]
        begin = time.thread_time_ns()
        for request in batch:
            read(request)
        took += time.thread_time_ns() - begin
        for answer in answers[start : start + _TOGETHER]:
            answer()
    return took / len(requests)


def _compare(recording: Recording) -> None:
    """RuntimeError if h2 reads other headers than ours."""
    from ebpfmesh import l7

    connection = l7.parser("http2").connection(l7.Config(all_headers=True))
    for direction, data in recording.beginning:
        connection.feed(direction, data)
    server = _server(recording)
    for request, _ in recording.exchanges[:10]:
        ours: Any = connection.feed(REQUEST, request)[0]
        theirs, *_ = server.receive_data(request)
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in theirs.headers)
        if ours.headers != headers:
            raise RuntimeError(f"h2 reads {headers}, ebpfmesh {ours.headers}")


def _draw(axes: Any, data: dict[str, Any]) -> None:
    plots.bars(axes, data["ns_per_request"], "nanoseconds a request (lower is better)", logarithmic=True)


SCENARIO = Scenario("http2_python", "HTTP/2 in Python: a request", measure, _draw)
