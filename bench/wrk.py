"""wrk, the load generator: how it is called, and what it prints."""

from __future__ import annotations

import re
from dataclasses import dataclass

_UNIT_US = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6}


@dataclass(frozen=True)
class Load:
    """One run: requests per second, latency in microseconds, and everything that did not go well."""

    requests_per_second: float
    p50_us: float
    p99_us: float
    requests: int
    socket_errors: int
    bad_responses: int

    @property
    def failures(self) -> int:
        """Socket errors and responses other than 2xx and 3xx."""
        return self.socket_errors + self.bad_responses


def command(
    program: str,
    url: str,
    *,
    threads: int,
    connections: int,
    seconds: float,
    headers: tuple[str, ...] = (),
    script: str = "",
) -> list[str]:
    """The command line; wrk takes whole seconds only. ``script``: the path of one in Lua."""
    arguments = [program, f"-t{threads}", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency"]
    for header in headers:
        arguments += ["-H", header]
    if script:
        arguments += ["-s", script]
    return [*arguments, url]


def parse(output: str) -> Load:
    """Read what wrk printed. ValueError, with the output, if it is not a complete report."""
    rate = re.search(r"^Requests/sec:\s+([\d.]+)", output, re.M)
    total = re.search(r"^\s*(\d+) requests in ", output, re.M)
    if rate is None or total is None:
        raise ValueError(f"wrk printed no report:\n{output}")
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    return Load(
        requests_per_second=float(rate[1]),
        p50_us=_percentile(output, 50),
        p99_us=_percentile(output, 99),
        requests=int(total[1]),
        socket_errors=sum(map(int, errors.groups())) if errors else 0,
        bad_responses=int(bad[1]) if bad else 0,
    )


def _percentile(output: str, percent: int) -> float:
    found = re.search(rf"^\s*{percent}%\s+([\d.]+)(us|ms|s|m)\s*$", output, re.M)
    return float(found[1]) * _UNIT_US[found[2]] if found else float("nan")
