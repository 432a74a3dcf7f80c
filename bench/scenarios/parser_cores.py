"""What a parser core takes for a request: in the kernel, through the harness, and natively, called from C."""

from __future__ import annotations

import json
import struct
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from bench import compiled, plots, traffic
from bench.bars import Bar
from bench.result import Result, Scenario, Settings
from bench.rounds import Spread, interleave, ratios
from bench.traffic import REQUEST, Recording

REQUESTS = 64
"""Of one pass: what begins and ends a pass is shared by so many."""
BARRED = "HTTP/1, head of 500 bytes"
_BATCHES = 9  # of each measurement the fastest counts: disturbances only add


class Work(NamedTuple):
    """What one line of the result reads: the core, where its connection begins, and the pieces of one pass."""

    core: str
    pieces: list[bytes]
    requests: int
    beginning: list[tuple[int, bytes]]


def works() -> dict[str, Work]:
    """Everything that is measured, by the words that name it."""
    heads = {size: traffic.http1_head(size) for size in (200, 500, 2048)}
    window = 4096 // 500
    found = {
        f"HTTP/1, head of {size} bytes": Work("http1", [head] * REQUESTS, REQUESTS, [])
        for size, head in heads.items()
    }
    pipelined = [heads[500] * window] * (REQUESTS // window)
    found[f"HTTP/1, {window} heads of 500 in a window"] = Work("http1", pipelined, REQUESTS, [])
    found["HTTP/2, gRPC request, no table"] = _calls(traffic.grpc_calls(REQUESTS + 1, table=0))
    found["HTTP/2, gRPC request, dynamic table"] = _calls(traffic.grpc_calls(REQUESTS + 1))
    found["Redis, GET"] = Work("redis", [traffic.redis_get(each) for each in range(REQUESTS)], REQUESTS, [])
    found["DNS, query"] = Work("dns", [traffic.dns_query(each) for each in range(REQUESTS)], REQUESTS, [])
    return found


def _calls(recording: Recording) -> Work:
    """The requests behind the first call, whose headers are in the table."""
    (request, response), *others = recording.exchanges
    beginning = [*recording.beginning, (REQUEST, request), (traffic.RESPONSE, response)]
    return Work("http2", [sent for sent, _ in others], len(others), beginning)


def measure(settings: Settings) -> Result:
    """Bar: an HTTP/1 head of 500 bytes takes the kernel at most 1 us, the filling of the window included."""
    from ebpfmesh import harness

    rounds = 2 if settings.quick else max(settings.rounds, 7)
    passes = 5 if settings.quick else 20
    every = works()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ebpfmesh-bench-")))
        engines = {
            core: stack.enter_context(harness.load(core))
            for core in dict.fromkeys(work.core for work in every.values())
        }
        program = compiled.program("core_bench", directory, "dl")
        variants: dict[str, Callable[[], float]] = {}
        for number, (name, work) in enumerate(every.items()):
            pieces = directory / f"{number}"
            pieces.write_bytes(written(work))
            variants[f"kernel {name}"] = partial(kernel, engines[work.core], work, passes)
            variants[f"native {name}"] = partial(native, program, pieces, work, passes)
        samples = interleave(variants, rounds)
    data = {
        "bytes_of_a_request": {
            name: round(sum(map(len, work.pieces)) / work.requests, 1) for name, work in every.items()
        },
        "ns_per_request": {
            name: {where: Spread.of(samples[f"{where} {name}"]).json(1) for where in ("kernel", "native")}
            for name in every
        },
        "kernel_to_native": {
            name: Spread.of(ratios(samples[f"kernel {name}"], samples[f"native {name}"])).json(2)
            for name in every
        },
    }
    method = (
        f"{rounds} rounds, in each every line once, first in the kernel, then natively; a figure is the median of the "
        f"rounds, and of each measurement the fastest of {_BATCHES} batches of {passes} passes counts. A pass is "
        f"{REQUESTS} requests of one connection, each in a window of its own if not said otherwise, from the same "
        "state each time. Kernel: BPF_PROG_TEST_RUN of the harness's tc program, its clock; included are the loop, the "
        "filling of each window (bpf_probe_read_kernel), the core, the driver, and bringing back the state (of HTTP/2 "
        "the tables too, some 18 ns a request); events are not written. Native: bench/native/core_bench.c, which "
        "calls the core of the native library; included are the loop, the filling of each window (memcpy), the core, "
        "the driver; the state is brought back outside the measurement, events are not written. HTTP/2: HEADERS and a "
        "DATA frame of 20 bytes, as h2 writes them for a unary call, each with a traceparent of its own; only the "
        "requests are read, behind a first call that filled the table."
    )
    microseconds = Spread.of(samples[f"kernel {BARRED}"]).median / 1e3
    return Result(method, data, [Bar.of(f"{BARRED}, in the kernel", microseconds, "us", "<=", 1)])


def config(core: str) -> Any:
    """How the connections are parsed: only requests are seen, except where their order does not matter."""
    from ebpfmesh.l7 import Config

    return Config(one_direction=core == "http1")


def kernel(engine: Any, work: Work, passes: int) -> float:
    """Nanoseconds a request; ``engine`` holds the core. ParseError if it does not follow."""
    connection = engine.connection(config(work.core))
    for direction, data in work.beginning:
        connection.feed(direction, data)
    pieces = [(REQUEST, data) for data in work.pieces]
    tables = engine.memory.tables_size > 8
    batches = [connection.measure(*pieces, repeat=passes, tables=tables) for _ in range(_BATCHES)]
    return float(min(batch.nanoseconds for batch in batches)) / work.requests


def native(program: Path, pieces: Path, work: Work, passes: int) -> float:
    """Nanoseconds a request; ``pieces`` is what `written` gives. RuntimeError if the core does not follow."""
    from ebpfmesh.l7.native import LIBRARY

    flags = str(int(config(work.core).flags))
    command = [str(program), str(LIBRARY), work.core, flags, str(pieces), str(passes), str(_BATCHES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return float(json.loads(done.stdout)["nanoseconds"]) / work.requests


def written(work: Work) -> bytes:
    """The pieces as native/core_bench.c reads them."""
    measured = [(REQUEST, data) for data in work.pieces]
    return b"".join(
        struct.pack("<IIQ", direction, number, len(data)) + data + bytes(-len(data) % 8)
        for number, pieces in enumerate((work.beginning, measured))
        for direction, data in pieces
    )


def _draw(axes: Any, data: dict[str, Any]) -> None:
    plots.groups(
        axes, data["ns_per_request"], "nanoseconds a request, window fill included (lower is better)"
    )


SCENARIO = Scenario("parser_cores", "Parser cores: one request", measure, _draw)
