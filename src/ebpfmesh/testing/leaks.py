"""What a test left behind: BPF descriptors, cgroups, mounts, threads, child processes."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ebpfmesh.lowlevel.mount import cgroup2_mount


class LeakError(AssertionError):
    """A test left something behind; the message lists it."""


@contextmanager
def no_leaks(patience: float = 3.0) -> Iterator[None]:
    """Fail with LeakError if the block leaves something of this process behind.

    ``patience`` is how many seconds after its end are allowed for things to go away. With
    ``EBPFMESH_ALONE=1`` every BPF program and link of the host counts, which is only right on a machine where
    nobody else loads any.
    """
    before = {name: look() for name, look in _LOOKS.items()}
    yield
    deadline = time.monotonic() + patience
    while True:
        left = {name: found for name, look in _LOOKS.items() if (found := look() - before[name])}
        if not left:
            return
        if time.monotonic() > deadline:
            raise LeakError("; ".join(f"{name}: {', '.join(sorted(found))}" for name, found in left.items()))
        gc.collect()  # a descriptor in a reference cycle is no leak
        time.sleep(0.02)


def _descriptors() -> set[str]:
    """Open BPF descriptors of this process as ``fd kind id``: the number alone would be reused."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            kind = str(entry.readlink())
            if not kind.startswith(("anon_inode:bpf", "anon_inode:btf")):
                continue
            lines = Path(f"/proc/self/fdinfo/{entry.name}").read_text().splitlines()
            ids = [line.replace("\t", " ") for line in lines if line.split(":")[0] in _IDS]
            found.add(f"fd {entry.name} {kind.removeprefix('anon_inode:')} {' '.join(ids)}".rstrip())
    return found


_IDS = ("prog_id", "map_id", "link_id", "btf_id")


def _cgroups() -> set[str]:
    with suppress(Exception):  # no cgroup2 here: then no test made one
        return {str(path) for path in cgroup2_mount().glob(f"ebpfmesh-test-{os.getpid()}-*")}
    return set()


def _mounts() -> set[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return {line.split()[4] for line in lines if f"/ebpfmesh-bpffs-{os.getpid()}-" in line}


def _threads() -> set[str]:
    return {f"{thread.name} ({thread.native_id})" for thread in threading.enumerate() if not thread.daemon}


def _children() -> set[str]:
    text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return set(text.split())


def _every_id() -> set[str]:
    if os.environ.get("EBPFMESH_ALONE") != "1":
        return set()
    from ebpfmesh.lowlevel.libbpf import ffi, lib

    found, number = set(), ffi.new("__u32 *")
    for kind in ("prog", "link"):
        number[0] = 0
        while getattr(lib(), f"bpf_{kind}_get_next_id")(number[0], number) == 0:
            found.add(f"{kind} {number[0]}")
    return found


_LOOKS: dict[str, Callable[[], set[str]]] = {
    "BPF descriptors": _descriptors,
    "cgroups": _cgroups,
    "mounts": _mounts,
    "threads": _threads,
    "child processes": _children,
    "BPF objects of the host": _every_id,
}
