"""What the demo needs of a machine: each thing that is missing, with its remedy."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple


class Missing(NamedTuple):
    """Something that this machine lacks, and what to do about it."""

    what: str
    remedy: str


def missing() -> list[Missing]:
    """Everything that is missing, in the order in which it is best repaired; empty on a machine that can."""
    if sys.platform != "linux":
        return [
            Missing(
                f"this is {sys.platform}, not Linux",
                "run it on Linux 6.1 or newer, a virtual machine will do",
            )
        ]
    if find_spec("ebpfmesh") is None:
        return [Missing("ebpfmesh is not installed", "run `make demo`, which installs it into .venv first")]
    checks = (
        (os.geteuid() == 0, "not root", "run `sudo make demo`"),
        (
            _has_cgroup2(),
            "no cgroup v2 is mounted",
            "mount -t cgroup2 none /sys/fs/cgroup, or boot with systemd",
        ),
        (
            Path("/sys/kernel/btf/vmlinux").exists(),
            "this kernel has no BTF",
            "use a kernel with CONFIG_DEBUG_INFO_BTF=y: every current distribution's has it",
        ),
        (_loads("libbpf.so.1"), "libbpf.so.1 is not installed", "apt-get install libbpf1"),
        (
            files("ebpfmesh.bpf").joinpath("connect.bpf.o").is_file(),
            "the kernel programs were not built",
            "run `make demo`, which builds them first",
        ),
        (shutil.which("curl") is not None, "curl is not installed", "apt-get install curl"),
        (shutil.which("nsenter") is not None, "nsenter is not installed", "apt-get install util-linux"),
    )
    return [Missing(what, remedy) for present, what, remedy in checks if not present]


def _has_cgroup2() -> bool:
    return any(line.split(" - ")[1].startswith("cgroup2 ") for line in Path("/proc/self/mountinfo").open())


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
