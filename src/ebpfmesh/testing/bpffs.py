"""A BPF file system of one test, mounted in a temporary directory."""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def private_bpffs() -> Iterator[Path]:
    """Mount a new bpffs and unmount it at the end, which drops every pin in it. Needs CAP_SYS_ADMIN."""
    with tempfile.TemporaryDirectory(prefix=f"ebpfmesh-bpffs-{os.getpid()}-") as directory:
        _mount_call("mount", b"bpf", directory.encode(), b"bpf", 0, b"mode=0700")
        try:
            yield Path(directory)
        finally:
            _mount_call(
                "umount2", directory.encode(), 2
            )  # MNT_DETACH: an open pin must not keep the directory


def _mount_call(name: str, *arguments: bytes | int) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
