"""The C programs of native/, compiled as the native library is: by the same compiler, with the same flags."""

from __future__ import annotations

import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
INCLUDE = HERE.parent / "src/ebpfmesh/bpf/include"


def program(name: str, directory: Path, *libraries: str) -> Path:
    """``native/NAME.c`` as a program in ``directory``. RuntimeError with the compiler's words if it does not compile."""
    from ebpfmesh.bpf.compiler import NATIVE_FLAGS, find_compiler

    target = directory / name
    command = [
        *find_compiler().native,
        *NATIVE_FLAGS,
        f"-I{INCLUDE}",
        str(HERE / "native" / f"{name}.c"),
        *(f"-l{library}" for library in libraries),
        "-o",
        str(target),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        raise RuntimeError(f"{name}.c does not compile: {done.stderr.strip()}")
    return target
