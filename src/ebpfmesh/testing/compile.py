"""BPF programs from C text, for tests: compiled once a session with the machine's clang."""

from __future__ import annotations

import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from ebpfmesh.errors import HostError

_INCLUDE = Path(__file__).parents[1] / "bpf/include"


@cache
def compile_bpf(source: str) -> bytes:
    """The object of the C text ``source``, with BTF; the same text is compiled once in a process.

    The headers of libbpf (``<bpf/bpf_helpers.h>``), of the kernel's uapi and our own are on the include path.

    Errors: HostError if clang is missing or refuses the text.
    """
    clang = shutil.which("clang")
    if clang is None:
        raise HostError("clang is missing", remedy="apt-get install clang libbpf-dev")
    multiarch = f"/usr/include/{platform.machine()}-linux-gnu"  # Debian keeps <asm/types.h> there
    with tempfile.TemporaryDirectory(prefix="ebpfmesh-compile-") as directory:
        text, target = Path(directory, "test.bpf.c"), Path(directory, "test.bpf.o")
        text.write_text(source)
        result = subprocess.run(
            [clang, "-O2", "-g", "-Wall", "-target", "bpf", "-mcpu=v3", "-I", str(_INCLUDE), "-I", multiarch,
             "-c", str(text), "-o", str(target)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if result.returncode != 0:
            raise HostError(f"clang refused the text: {result.stderr.strip()}", where="compile_bpf")
        return target.read_bytes()
