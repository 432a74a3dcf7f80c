"""What `import ebpfmesh` costs a process: interpreters with and without it, in turn."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from functools import partial
from typing import Any

from bench import plots
from bench.bars import Bar
from bench.result import Result, Scenario, Settings
from bench.rounds import Spread, interleave

_STATEMENTS = {
    "bare interpreter": "pass",
    "import ebpfmesh": "import ebpfmesh",
    "and Mesh": "from ebpfmesh import Mesh",
}


def measure(settings: Settings) -> Result:
    """Bars: `import ebpfmesh` adds at most 80 ms to the start of the interpreter."""
    repeats = 3 if settings.quick else 21
    _start("import ebpfmesh")  # byte code is compiled and cached, as an installation does
    samples = interleave({name: partial(_start, one) for name, one in _STATEMENTS.items()}, repeats)
    bare = Spread.of(samples["bare interpreter"]).median
    added = Spread.of(samples["import ebpfmesh"]).median - bare
    data = {
        "milliseconds": {name: Spread.of(values).json(2) for name, values in samples.items()},
        "import_adds_ms": round(added, 2),
        "mesh_adds_ms": round(Spread.of(samples["and Mesh"]).median - bare, 2),
        "slowest_modules_us": _slowest(),
    }
    method = (
        f"{repeats} processes `python -c STATEMENT` of each kind in turn, from start to end, byte code cached; the "
        "figure is the median with the import minus the median of the bare interpreter. The modules' own times are "
        "one run of `python -X importtime`."
    )
    return Result(method, data, [Bar.of("import ebpfmesh", added, "ms", "<=", 80)])


def _start(statement: str) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True, timeout=30)
    return (time.perf_counter() - begin) * 1e3


def _slowest(count: int = 10) -> dict[str, int]:
    command = [sys.executable, "-X", "importtime", "-c", "import ebpfmesh"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stderr
    found = re.findall(r"^import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)$", printed, re.M)
    ordered = sorted(((int(own), name) for own, name in found), reverse=True)
    return {name: own for own, name in ordered[:count]}


def _draw(axes: Any, data: dict[str, Any]) -> None:
    plots.bars(axes, data["milliseconds"], "milliseconds, start to end of a process (lower is better)")


SCENARIO = Scenario("import_time", "Import time", measure, _draw)
