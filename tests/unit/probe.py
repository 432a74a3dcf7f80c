"""The core in ``probe.h`` as a library, and streams for it."""

from __future__ import annotations

from pathlib import Path

from ebpfmesh.bpf.compiler import NATIVE_FLAGS, compile_file, find_compiler, link
from ebpfmesh.include import get_include

HEADER = Path(__file__).with_name("probe.h")
TEXT, CONFIG, COUNT, ENDLESS, GAP, END, PAYLOAD = range(1, 8)


def text(data: bytes) -> bytes:
    """A message that is told with its text."""
    return b"t" + len(data).to_bytes(4, "big") + data


def payload(data: bytes) -> bytes:
    """A message of which only the head is shown."""
    return b"p" + len(data).to_bytes(4, "big") + data


def library(directory: Path, source: str = f'#include "{HEADER}"\n', name: str = "probe") -> Path:
    """A library of the C text ``source``."""
    text, made, target = directory / f"{name}.c", directory / f"{name}.o", directory / f"{name}.so"
    text.write_text(source)
    compiler = find_compiler()
    compile_file(
        [*compiler.native, *NATIVE_FLAGS, f"-I{get_include()}"], text.name, made, directory=directory
    )
    link(compiler, [made], target)
    return target
