"""Every fuzz target over what broke it once, its seeds, and mutations of them: a bounded number, from a fixed seed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import seeds

import fuzz

RUNS = 6000


@pytest.fixture(scope="session", params=fuzz.TARGETS)
def target(request: pytest.FixtureRequest) -> str:
    """The name of a target that is built."""
    name: str = request.param
    try:
        fuzz.build(name)
    except fuzz.CannotFuzzError as error:
        pytest.skip(str(error))
    return name


def test_no_input_breaks_the_core_or_tells_where_it_was_split(target: str, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    count = seeds.write(target, corpus)
    for path in fuzz.findings(target):
        (corpus / path.name).write_bytes(path.read_bytes())
    line = fuzz.command(
        target, corpus, tmp_path / "found", f"-runs={max(RUNS, count)}", "-seed=1", "-max_len=4096"
    )
    result = subprocess.run(line, capture_output=True, text=True, errors="replace", timeout=110, check=False)
    assert result.returncode == 0, result.stderr[-6000:]
    assert f"Done {max(RUNS, count)} runs" in result.stderr
