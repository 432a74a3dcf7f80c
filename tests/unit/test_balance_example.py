"""The example of a custom balancer runs and shows what it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "custom_balancer.py"


def test_the_standby_takes_over_when_the_primary_drains() -> None:
    run = subprocess.run([sys.executable, EXAMPLE], capture_output=True, text=True, timeout=30, check=True)
    before, after = run.stdout.splitlines()
    assert "slots=array('H', [1])" in before
    assert "slots=array('H', [2])" in after


def test_it_stays_under_sixty_lines() -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 60
