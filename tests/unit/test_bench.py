"""The arithmetic of the bench: what it reads, how it compares, and that a missed bar cannot hide."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[2]))  # bench/ is beside src/, not installed

from bench import turns, wrk
from bench.bars import Bar, merge, text
from bench.quiet import Patience
from bench.rounds import Spread, interleave, ratios

REPORT = """\
Running 2s test @ http://127.0.0.1:8001/
  2 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   644.32us  691.00us  11.04ms   91.85%
    Req/Sec     7.31k   527.89     8.40k    65.85%
  Latency Distribution
     50%  441.00us
     75%  680.00us
     90%    1.25ms
     99%    3.40ms
  29822 requests in 2.05s, 4.78MB read
Requests/sec:  14547.53
Transfer/sec:      2.33MB
"""
ERRORS = "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 5\n"


def test_a_report_of_wrk_is_read_with_its_units() -> None:
    load = wrk.parse(REPORT)
    assert (load.requests_per_second, load.requests) == (14547.53, 29822)
    assert (load.p50_us, load.p99_us) == (441.0, 3400.0)
    assert load.failures == 0


def test_socket_errors_and_bad_responses_are_both_failures() -> None:
    load = wrk.parse(REPORT.replace("Requests/sec", ERRORS + "Requests/sec"))
    assert (load.socket_errors, load.bad_responses, load.failures) == (10, 5, 15)


def test_output_without_a_report_is_refused_and_shown() -> None:
    with pytest.raises(ValueError, match="unable to connect"):
        wrk.parse("unable to connect to 127.0.0.1:8001 Connection refused\n")


def test_variants_take_turns_within_each_round() -> None:
    calls: list[str] = []

    def variant(name: str) -> int:
        calls.append(name)
        return len(calls)

    samples = interleave({name: (lambda n=name: variant(n)) for name in "abc"}, 3)
    assert calls == list("abcabcabc")
    assert samples == {"a": [1, 4, 7], "b": [2, 5, 8], "c": [3, 6, 9]}


def test_ratios_compare_within_a_round_and_so_cancel_the_drift_of_the_machine() -> None:
    assert ratios([90, 45, 180], [100, 50, 200]) == [0.9, 0.9, 0.9]


def test_rounds_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="rounds do not match"):
        ratios([1, 2], [1, 2, 3])


@given(st.lists(st.floats(0.001, 1e9), min_size=1, max_size=40))
def test_a_spread_is_ordered_and_holds_every_value(values: list[float]) -> None:
    spread = Spread.of(values)
    ordered = [spread.low, spread.quartile1, spread.median, spread.quartile3, spread.high]
    assert ordered == pytest.approx(sorted(ordered))
    assert (spread.low, spread.high, spread.count) == (min(values), max(values), len(values))


def test_nothing_has_no_spread() -> None:
    with pytest.raises(ValueError, match="no values"):
        Spread.of([])


@pytest.mark.parametrize(
    ("value", "relation", "limit", "holds"),
    [
        (0.97, ">=", 0.97, True),
        (0.9699999, ">=", 0.97, False),
        (80.0, "<=", 80, True),
        (80.0001, "<=", 80, False),
        (200, "<", 200, False),
        (199.9999, "<", 200, True),
    ],
)
def test_a_bar_is_judged_before_the_value_is_rounded(
    value: float, relation: str, limit: float, holds: bool
) -> None:
    assert Bar.of("x", value, "ratio", relation, limit).holds is holds


def test_a_missed_bar_stays_in_the_list_until_it_is_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "bars.json"
    missed, held = Bar.of("import", 95, "ms", "<=", 80), Bar.of("rss", 40, "MB", "<=", 60)
    merge(path, [missed, held])
    assert merge(path, [Bar.of("rss", 41, "MB", "<=", 60)])[0] == missed
    assert [entry["holds"] for entry in json.loads(path.read_text())] == [False, True]
    assert "MISSED  import" in text(merge(path, []))
    assert merge(path, [Bar.of("import", 70, "ms", "<=", 80)])[0].holds


def test_bars_are_written_with_exactly_the_promised_fields(tmp_path: Path) -> None:
    merge(tmp_path / "bars.json", [Bar.of("x", 1.0, "s", "<=", 1.5)])
    (entry,) = json.loads((tmp_path / "bars.json").read_text())
    assert entry == {"name": "x", "value": 1.0, "unit": "s", "bar": "<= 1.5", "holds": True}


def test_patience_with_a_busy_machine_ends() -> None:
    patience = Patience(seconds=0.3, limit=-1.0)  # nothing is that quiet
    for _ in range(4):
        patience.wait()
    assert patience.left == 0
    assert len(patience.found) == 4
    assert all(0 <= share <= 1 for share in patience.found)


def _shares(*shares: float) -> Callable[[], Callable[[], float]]:
    """A watch whose runs, one after the other, are told these shares."""
    told = iter(shares)
    return lambda: lambda: next(told)


def test_a_round_in_which_the_host_took_processors_is_run_again() -> None:
    runs = iter(range(100))
    found = turns.take(
        {"a": lambda: next(runs), "b": lambda: next(runs)},
        2,
        Patience(0.0),
        stolen=_shares(0, 0, 0.3, 0, 0, 0.01),
    )
    assert found.samples == {"a": [0, 4], "b": [1, 5]}
    assert (found.stolen, found.rounds_run) == ([0, 0.01], 3)


def test_of_rounds_that_are_all_disturbed_those_with_the_least_count() -> None:
    runs = iter(range(100))
    found = turns.take(
        {"a": lambda: next(runs)}, 2, Patience(0.0), stolen=_shares(0.5, 0.3, 0.4, 0.2, 0.9, 0.8)
    )
    assert found.samples == {"a": [1, 3]}
    assert (found.stolen, found.rounds_run) == ([0.3, 0.2], 2 * turns.ROUNDS_IN_ALL)
