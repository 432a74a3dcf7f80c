"""The example that attaches a program of one's own runs, and is as short as it claims."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples/own_sockops_program.py"


@pytest.mark.kernel
def test_a_sockops_program_of_ones_own_runs_beside_another():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    result = subprocess.run(
        [sys.executable, str(EXAMPLE)], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "1. count_connecti" in result.stdout
    assert "2. count_connecti" in result.stdout
    assert "3 connections opened, 3 accepted" in result.stdout


def test_the_example_stays_short():
    assert len(EXAMPLE.read_text().splitlines()) < 60
