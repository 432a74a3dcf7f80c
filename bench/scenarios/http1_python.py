"""HTTP/1 requests read in Python: ebpfmesh against users of httptools and h11 who collect the same of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from bench import plots, readers, traffic
from bench.bars import Bar
from bench.result import Result, Scenario, Settings
from bench.rounds import Spread, interleave, ratios

SIZE = 500
OURS, THEIRS, SLOW = "ebpfmesh", "httptools", "h11"
LEVELS = {"": False, ", all headers": True}


def measure(settings: Settings) -> Result:
    """Bar: at least as fast as httptools, where both give the same fields of a head of 500 bytes."""
    rounds = 2 if settings.quick else max(settings.rounds, 31)
    count = 50 if settings.quick else 2_000
    head = traffic.http1_head(SIZE)
    variants: dict[str, Callable[[], float]] = {}
    for level, all_headers in LEVELS.items():
        _compare(head, all_headers=all_headers)
        ours, theirs = readers.ebpfmesh(all_headers=all_headers), readers.httptools(all_headers=all_headers)
        variants[OURS + level] = partial(timed, ours, head, count)
        variants[THEIRS + level] = partial(timed, theirs, head, count)
        variants[SLOW + level] = partial(_h11, head, max(1, count // 20), all_headers)
    for variant in variants.values():
        variant()  # what is compiled or cached on first use is
    samples = interleave(variants, rounds)
    fast = {f"{level}": Spread.of(ratios(samples[THEIRS + level], samples[OURS + level])) for level in LEVELS}
    data = {
        "bytes": len(head),
        "headers": head.count(b"\r\n") - 2,
        "ns_per_request": {name: Spread.of(values).json(1) for name, values in samples.items()},
        "httptools_to_ebpfmesh": {f"fields{level}": spread.json(3) for level, spread in fast.items()},
        "h11_to_ebpfmesh": {
            f"fields{level}": Spread.of(ratios(samples[SLOW + level], samples[OURS + level])).json(2)
            for level in LEVELS
        },
    }
    method = (
        f"{rounds} rounds, in each every variant once: {count} times the head of a GET of {len(head)} bytes with "
        f"{data['headers']} headers, one after the other, given whole to one keep-alive connection; processor time of "
        "the thread. Fields: an object with method, target, path, host, version, content length, framing, "
        "persistence, Upgrade, content type, user agent, traceparent and authorization, all texts str, and an object "
        "for the end of the request. All headers: those, and a tuple of all headers, pairs of str, names in lower "
        "case. ebpfmesh: l7.parser('http1').connection(), which is told that it sees requests only. httptools: "
        "HttpRequestParser with callbacks that decode and keep the wanted headers (bench/readers.py). h11: a connection "
        f"a request, made before the clock starts, since its next cycle begins after a response; {max(1, count // 20)} "
        "of them. The results are compared first. The figure is the median of the rounds' ratios."
    )
    name = f"HTTP/1 in Python, head of {SIZE} bytes, against httptools"
    return Result(method, data, [Bar.of(name, fast[""].median, "x", ">=", 1)])


def timed(read: Callable[[bytes], Any], data: bytes, count: int) -> float:
    """Nanoseconds of processor time for one of ``count`` calls."""
    begin = time.thread_time_ns()
    for _ in range(count):
        read(data)
    return (time.thread_time_ns() - begin) / count


def _h11(head: bytes, count: int, all_headers: bool) -> float:
    import h11

    connections = [h11.Connection(h11.SERVER) for _ in range(count)]
    read = readers.h11
    begin = time.thread_time_ns()
    for connection in connections:
        read(connection, head, all_headers=all_headers)
    return (time.thread_time_ns() - begin) / count


def _compare(head: bytes, *, all_headers: bool) -> None:
    """RuntimeError if the parsers do not give the same of this head."""
    import h11

    ours, ended = readers.ebpfmesh(all_headers=all_headers)(head)
    found = {
        THEIRS: readers.httptools(all_headers=all_headers)(head),
        SLOW: readers.h11(h11.Connection(h11.SERVER), head, all_headers=all_headers),
    }
    for name, (theirs, end) in found.items():
        differing = [each for each in readers.FIELDS if getattr(theirs, each) != getattr(ours, each)]
        if differing or end.stream != ended.stream:
            raise RuntimeError(f"{name} reads {', '.join(differing) or 'the end'} in another way")


def _draw(axes: Any, data: dict[str, Any]) -> None:
    plots.bars(axes, data["ns_per_request"], "nanoseconds a request (lower is better)", logarithmic=True)


SCENARIO = Scenario("http1_python", f"HTTP/1 in Python: a head of {SIZE} bytes", measure, _draw)
