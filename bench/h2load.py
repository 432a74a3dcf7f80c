"""h2load, the load generator of HTTP/2: how it is called, and what it prints."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Streams:
    """One run: requests per second, the mean time of one in microseconds, and what did not go well."""

    requests_per_second: float
    mean_us: float
    requests: int
    failures: int


_UNIT_US = {"us": 1.0, "ms": 1e3, "s": 1e6}


def command(
    program: str, url: str, *, connections: int, streams: int, seconds: float, body: Path
) -> list[str]:
    """The command line: POST with `body`, shaped as a unary call of gRPC; h2load takes whole seconds only."""
    shape = ["-t", "1", "-c", str(connections), "-m", str(streams), "-D", str(max(1, round(seconds)))]
    headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    return [program, *shape, "-d", str(body), *headers, url]


def parse(output: str) -> Streams:
    """Read what h2load printed. ValueError, with the output, if it is not a complete report.

    The rate is that of responses with 2xx alone. Those started and not done when the time is over are no failures.
    """
    rate = re.search(r"^finished in [\d.]+\w*, ([\d.]+) req/s", output, re.M)
    counts = re.search(
        r"^requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout",
        output,
        re.M,
    )
    times = re.search(r"^time for request: +\S+ +\S+ +([\d.]+)(us|ms|s) ", output, re.M)
    good = re.search(r"^status codes: (\d+) 2xx", output, re.M)
    if rate is None or counts is None or times is None or good is None:
        raise ValueError(f"h2load printed no report:\n{output}")
    done, _succeeded, failed, errored, timeout = map(int, counts.groups())
    successes = min(done, int(good[1]))
    return Streams(
        requests_per_second=float(rate[1]) * successes / done if done else 0.0,
        mean_us=float(times[1]) * _UNIT_US[times[2]],
        requests=done,
        failures=failed + errored + timeout + done - successes,
    )
