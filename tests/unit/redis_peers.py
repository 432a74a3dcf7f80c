"""A redis-server of one's own, reachable by Unix sockets only, and what its clients send it."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def redis_server(directory: Path) -> Iterator[Path]:
    """The path of its socket; the test is skipped where the server is not installed."""
    program = shutil.which("redis-server")
    if program is None or shutil.which("redis-cli") is None:
        pytest.skip("no redis-server: apt-get install redis-server")
    path = directory / "redis.sock"
    server = subprocess.Popen(
        [program, "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(directory)],
        stdout=subprocess.DEVNULL,
    )
    try:
        for _ in range(200):
            if path.exists():
                break
            time.sleep(0.05)
        yield path
    finally:
        server.terminate()
        server.wait(20)
