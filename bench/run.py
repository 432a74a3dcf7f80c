"""Run the scenarios: `python bench/run.py [--only NAME] [--rounds N] [--quick]`; `make bench` sets up and runs all.

Writes results/NAME.json, results/NAME.png and results/bars.json. Needs root and what each scenario compares with; a
proxy that is not installed is left out and named. Ctrl-C, like any end, leaves no process, namespace, cgroup or pin.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
for entry in (HERE.parent / "src", HERE.parent):  # a source tree works without an installation
    sys.path.insert(0, str(entry))
os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:2])  # so do the processes that we start

from bench import bars, machine, plots  # noqa: E402
from bench.result import Scenario, Settings  # noqa: E402
from bench.scenarios import SCENARIOS  # noqa: E402


def main(arguments: list[str] | None = None) -> int:
    """0: everything was measured, whatever it says; 1: a scenario failed; 2: wrong use; 130: interrupted."""
    options = _parse(arguments)
    if os.geteuid() != 0:
        print(
            "bench: needs root, to attach programs and to make namespaces: run it with sudo", file=sys.stderr
        )
        return 2
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupted)
    output: Path = options.output or (HERE.parent / ".bench" if options.quick else HERE / "results")
    output.mkdir(parents=True, exist_ok=True)
    settings = Settings(
        rounds=options.rounds or (2 if options.quick else 7),
        seconds=1.0 if options.quick else options.seconds,
        quick=options.quick,
    )
    if (load := os.getloadavg()[0]) > 0.5:
        print(
            f"bench: this machine is busy (load {load:.1f}): expect noise, and look at `direct again`",
            file=sys.stderr,
        )
    try:
        failed = [name for name in options.only or SCENARIOS if not _one(SCENARIOS[name], settings, output)]
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return 130
    known = bars.merge(output / "bars.json", [])
    print(f"\n{bars.text(known)}\n\nresults in {output}")
    if failed:
        print(f"bench: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/run.py", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", action="append", choices=list(SCENARIOS), help="this scenario (repeatable)")
    parser.add_argument("--rounds", type=int, help="rounds of a comparison (7)")
    parser.add_argument("--seconds", type=float, default=2.0, help="seconds of one run of wrk (2)")
    parser.add_argument(
        "--quick", action="store_true", help="small and meaningless, only to see that it runs"
    )
    parser.add_argument("--output", type=Path, help="where results go (bench/results; with --quick .bench)")
    options = parser.parse_args(arguments)
    if options.rounds is not None and not 1 <= options.rounds <= 100:
        parser.error("--rounds: 1 to 100")
    if not 1 <= options.seconds <= 60:
        parser.error("--seconds: 1 to 60")
    return options


def _one(scenario: Scenario, settings: Settings, output: Path) -> bool:
    """Measure, write, draw; False if it failed, in which case the results of before stay."""
    print(f"{scenario.name}: {scenario.title}", flush=True)
    begin = time.monotonic()
    facts = machine.describe()
    try:
        result = scenario.measure(settings)
    except Exception as error:  # one scenario must not hide the others
        print(f"  failed: {type(error).__name__}: {error}", file=sys.stderr)
        return False
    document = {
        "scenario": scenario.name,
        "machine": facts,
        "method": result.method,
        "quick": settings.quick,
        "took_seconds": round(time.monotonic() - begin, 1),
        "data": result.data,
    }
    (output / f"{scenario.name}.json").write_text(json.dumps(document, indent=1) + "\n")
    bars.merge(output / "bars.json", result.bars)
    try:
        plots.save(scenario, document, output)
    except ImportError:
        print("  no picture: matplotlib is not installed", file=sys.stderr)
    print("\n".join(f"  {text}" for text in bars.text(result.bars).splitlines()), flush=True)
    return True


def _interrupted(_number: int, _frame: object) -> None:
    """End through every context manager; a second Ctrl-C must not interrupt the cleaning up."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
