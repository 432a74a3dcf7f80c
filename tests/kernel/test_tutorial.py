"""The tutorial, command by command, in a directory with the files that it names; and a core that adds to Redis."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from documentation import ALL, ROOT, alike

pytestmark = pytest.mark.kernel(feature="loop")

EXAMPLES = ROOT / "examples"
FILES = {
    "length_prefixed.py": "length_prefixed.py",
    "length_prefixed.h": "length_prefixed.h",
    "length_prefixed_core.py": "length_prefixed_core.py",
    "length_prefixed.toml": "pyproject.toml",
}
COMMANDS = [(str(block), *pair) for block in ALL if block.origin == "tutorial" for pair in block.commands]


def test_every_command_of_the_tutorial_says_what_it_shows(tmp_path: Path) -> None:
    directory, tools, site = tmp_path / "frames", tmp_path / "tools", tmp_path / "site"
    directory.mkdir()
    tools.mkdir()
    for name, saved in FILES.items():
        shutil.copy(EXAMPLES / name, directory / saved)
    # what an installed ebpfmesh is, and a place of its own for what is installed besides
    install = f"install --quiet --no-deps --no-build-isolation --disable-pip-version-check --target {site}"
    for name, command in (
        ("sudo", 'exec "$@"'),
        ("python3", f'exec {sys.executable} "$@"'),
        ("ebpfmesh", f'exec {sys.executable} -m ebpfmesh "$@"'),
        ("pip", f'shift; exec {sys.executable} -m pip {install} "$@"'),
    ):
        (tools / name).write_text(f"#!/bin/sh\n{command}\n")
        (tools / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT / 'src'}:{site}",
        "PIP_ROOT_USER_ACTION": "ignore",
    }
    assert len(COMMANDS) > 8
    for where, command, shown in COMMANDS:
        done = subprocess.run(
            ["bash", "-c", command], cwd=directory, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=100, check=False,
        )  # fmt: skip
        assert alike(done.stdout, shown), f"{where}: {command}: {done.stdout}"
        assert (done.returncode == 0) == ("error: " not in shown), f"{where}: {command}"


def test_a_core_of_ones_own_is_loaded_next_to_the_built_in_ones(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "redis_core.py"), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True, timeout=100, check=True,
    )  # fmt: skip
    said = done.stdout.splitlines()
    assert [line.split()[3].rstrip(",") for line in said[:4]] == ["http1", "redis", "dns", "redis_guard"]
    assert int(said[4].split()[0]) > 500
    assert "name='GET'" in said[5]
    assert "name='FLUSHALL'" in said[7]
    assert (
        said[8]
        == r"Replied(direction=<Direction.REQUEST: 0>, position=38, data=b'-NOPERM it would empty it\r\n')"
    )
