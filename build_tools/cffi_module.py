"""Generates ``_libbpf.py``, cffi's out-of-line ABI module, from the declarations in ``libbpf.h`` and ``libc.h``."""

from __future__ import annotations

import sys
from pathlib import Path

from cffi import FFI


def generate(lowlevel: Path) -> Path:
    """Write ``lowlevel/_libbpf.py`` if its declarations changed; returns its path."""
    ffi = FFI()
    for header in ("libbpf.h", "libc.h"):
        ffi.cdef((lowlevel / header).read_text())
    ffi.set_source("ebpfmesh.lowlevel._libbpf", None)
    target = lowlevel / "_libbpf.py"
    ffi.emit_python_code(str(target))
    return target


if __name__ == "__main__":
    generate(Path(sys.argv[1]))
