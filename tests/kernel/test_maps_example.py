"""The example of typed maps and ring buffers, run as its first lines say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel
ROOT = Path(__file__).parents[2]


def test_the_example_prints_what_it_read_and_leaves_nothing() -> None:
    result = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / "typed_map_and_ring_buffer.py")],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    records = re.findall(r"record: socket (\d+) connects to 127\.0\.0\.1:(\d+)", result.stdout)
    assert len({cookie for cookie, _ in records}) == 3
    [port] = {port for _, port in records}
    assert f"map: 127.0.0.1:{port} was connected to 3 times\nlost: 0 records" in result.stdout
