"""What each parser core costs the verifier, as tests/parser_costs.toml has it; a test holds those figures."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from bench import plots
from bench.bars import Bar
from bench.result import Result, Scenario, Settings
from bench.rounds import Spread

COSTS = Path(__file__).parents[2] / "tests/parser_costs.toml"
LIMIT = 200_000


def measure(settings: Settings) -> Result:
    """Bars: of no parser does the verifier walk 200,000 instructions, in none of its programs."""
    del settings
    document = tomllib.loads(COSTS.read_text())
    most = {name: max(costs.values()) for name, costs in document["parser"].items()}
    data = {
        "measured_with": document["measured_with"],
        "instructions": document["parser"],
        "most": {name: Spread.of([cost]).json(0) for name, cost in most.items()},
    }
    method = (
        "Read from tests/parser_costs.toml, which a test compares with the running kernel: the instructions that the "
        "verifier walked (bpf_prog_info.verified_insns) for a parser in the harness's tc, sk_msg and sk_skb programs, "
        "whose own part is some 3,000; the largest of the three counts."
    )
    bars = [
        Bar.of(f"verifier: {name}", cost / 1e3, "k instructions", "<", LIMIT / 1e3)
        for name, cost in most.items()
    ]
    return Result(method, data, bars)


def _draw(axes: Any, data: dict[str, Any]) -> None:
    plots.bars(axes, data["most"], "instructions that the verifier walked (fewer than 200,000 are allowed)")


SCENARIO = Scenario("verifier_cost", "Verifier cost of each parser", measure, _draw)
