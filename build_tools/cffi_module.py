"""Generates cffi's out-of-line ABI modules from the declarations that lie beside them.

``lowlevel/_libbpf.py`` comes from ``libbpf.h`` and ``libc.h``, ``l7/_native.py`` from ``native.h``.
"""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from cffi import FFI

MODULES = {
    "lowlevel/_libbpf.py": ("libbpf.h", "libc.h"),
    "l7/_native.py": ("native.h",),
}


def generate(package: Path) -> list[Path]:
    """Write every module below ``package`` whose declarations changed; returns their paths."""
    made = []
    for name, headers in MODULES.items():
        target = package / name
        ffi = FFI()
        for header in headers:
            ffi.cdef((target.parent / header).read_text())
        ffi.set_source(f"ebpfmesh.{name.removesuffix('.py').replace('/', '.')}", None)
        with redirect_stdout(StringIO()):  # it tells of every file, current or not
            ffi.emit_python_code(str(target))
        made.append(target)
    return made


if __name__ == "__main__":
    generate(Path(sys.argv[1]))
