"""The scripts behind the make targets."""

from __future__ import annotations

import os
import runpy
import subprocess
from pathlib import Path

import pytest

from ebpfmesh import features

SCRIPTS = Path(__file__).parents[2] / "scripts"


def test_the_kernel_check_asks_for_features_that_there_are() -> None:
    needed = runpy.run_path(str(SCRIPTS / "kernel.py"))["NEEDED"]
    assert needed
    assert set(needed) <= {feature.name for feature in features.every()}


def test_the_host_check_without_root_is_one_line_with_the_remedy() -> None:
    nobody = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    result = subprocess.run(
        ["bash", "-s", "demo"], input=(SCRIPTS / "host").read_text(), cwd="/",  # nobody may not see its directory
        capture_output=True, text=True, check=False, **nobody,
    )  # fmt: skip
    lines = [line for line in result.stderr.splitlines() if "not root" in line]
    assert result.returncode == 1
    assert lines == [
        "host: not root: loading programs needs CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN (run: sudo make demo)"
    ]


@pytest.mark.parametrize("script", ["packages", "venv"])
@pytest.mark.parametrize("arguments", [[], ["nonsense"]])
def test_a_wrong_target_is_refused_with_the_usage(script: str, arguments: list[str]) -> None:
    # a copy of the environment where nothing is made: the usage is checked before anything is installed
    result = subprocess.run([SCRIPTS / script, *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert f"usage: scripts/{script} " in result.stderr
