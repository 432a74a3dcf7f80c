"""The core in ``parcel.h``: built for the kernel and for this machine, and streams for it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from ebpfmesh.bpf.compiler import find_compiler

HEADER = Path(__file__).with_name("parcel.h")
INCLUDE = Path(__file__).parents[2] / "src/ebpfmesh/bpf/include"


def parcel(letter: bytes, payload: bytes = b"") -> bytes:
    """One parcel."""
    return letter + len(payload).to_bytes(2, "big") + payload


EVERY_KIND = b"".join(
    (
        parcel(b"T", b"hello"),
        parcel(b"T"),
        parcel(b"P", b"payload"),
        parcel(b"D", b"dropped"),
        parcel(b"R", b"refused"),
        parcel(b"T", b"last"),
    )
)
FINAL = {
    "to the end": parcel(b"T", b"a") + parcel(b"Z") + b"all of this T is payload",
    "escalates": parcel(b"T", b"a") + parcel(b"X") + parcel(b"T", b"unseen"),
    "breaks": parcel(b"T", b"a") + parcel(b"E") + parcel(b"T", b"unseen"),
    "unfinished text": parcel(b"T", b"hello")[:-2],
    "unfinished payload": parcel(b"P", b"hello")[:-2],
    "unfinished head": b"T\0",
}


def build(directory: Path, include: Path = INCLUDE) -> Path:
    """The harness object of the core, built with the headers below ``include``."""
    source, target = directory / "parcel.bpf.c", directory / "parcel.bpf.o"
    source.write_text(
        f'#include "{HEADER}"\n#include <ebpfmesh/harness.h>\nL7_HARNESS(parcel, struct parcel_tables)\n'
    )
    compiler = find_compiler()
    command = [*compiler.bpf, "-mcpu=v3", "-O2", "-g", "-std=gnu11", "-I", str(include)]
    run([*command, *compiler.bpf_includes()], source, target)
    return target


def build_native(directory: Path) -> Path:
    """The library of the core."""
    source, target = directory / "parcel.c", directory / "parcel.so"
    source.write_text(f'#include "{HEADER}"\n')
    command = [*find_compiler().native, "-O2", "-std=gnu11", "-fPIC", "-shared", "-I", str(INCLUDE)]
    run(command, source, target)
    return target


def run(
    command: list[str], source: Path, target: Path, warnings: Sequence[str] = ("-Wall", "-Wextra", "-Werror")
) -> None:
    """Compile ``source`` to ``target``."""
    compile_only = ["-c"] if target.suffix == ".o" else []
    subprocess.run([*command, *warnings, *compile_only, str(source), "-o", str(target)], check=True)
