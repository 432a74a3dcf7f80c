"""The example that compares both engines, run as its first lines say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.kernel(feature="loop")
def test_the_kernel_tells_of_a_recording_what_the_library_tells() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "examples/same_in_the_kernel.py", "examples/recorded/shop.requests"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    events, cost, time = done.stdout.splitlines()
    assert events == "5 events, the same in the kernel: True"
    assert int(re.findall(r"^(\d+) instructions", cost)[0]) < 200_000
    assert re.fullmatch(r"[1-9]\d* ns in the kernel for 176 bytes", time)
