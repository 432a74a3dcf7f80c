"""Compiles every ``*.bpf.c`` below a directory to ``*.bpf.o`` beside it: little-endian BPF, BTF kept, no DWARF.

How the compiler is found is in ``ebpfmesh.bpf.compiler``. One object serves x86-64 and aarch64: no program of ours reads
registers of the machine (struct pt_regs).

    python build_tools/bpf_objects.py [DIRECTORY] [--force] [--quiet]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import stamps as stamping
from source_tree import ROOT, SOURCES

from ebpfmesh.bpf.compiler import (
    BPF_FLAGS,
    PREFIX_FLAGS,
    Compiler,
    compile_file,
    find_compiler,
)
from ebpfmesh.errors import BuildError

STAMPS = ROOT / "build" / "bpf"
FLAGS = BPF_FLAGS

MAP_NAME = 15  # BPF_OBJ_NAME_LEN - 1: libbpf cuts longer names silently, and two maps may then look alike


def requirements(environ: Mapping[str, str] = os.environ) -> list[str]:
    """What pip must install to compile here: nothing where clang is, ``ziglang`` where it is not."""
    if environ.get("EBPFMESH_CC") == "ziglang":
        return ["ziglang"]
    try:
        compiler = find_compiler(environ)
    except BuildError:
        return ["ziglang"]
    return ["ziglang"] if "ziglang" in compiler.command else []


def build(
    directory: Path = SOURCES,
    *,
    stamps: Path | None = None,
    force: bool = False,
    report: Callable[[str], None] = lambda _line: None,
    environ: Mapping[str, str] = os.environ,
) -> list[Path]:
    """Compile what changed below ``directory``; returns the objects, all of them, in order.

    ``stamps`` is where it remembers what each object was built from (default: below ``build/bpf``). An object
    is rebuilt if its source, a header that it read (system headers too), the flags or the compiler changed, or
    if the object itself was altered.

    Errors: BuildError; an object that cannot be built leaves the previous one in place.
    """
    directory = directory.resolve()
    sources = sorted(directory.rglob("*.bpf.c"))
    if not sources:
        return []
    compiler = find_compiler(environ)
    command = [*compiler.bpf, *_arguments(compiler, directory)]
    key = stamping.digest(json.dumps([compiler.version, list(compiler.strip or ()), command]).encode())
    stamps = stamps or STAMPS / stamping.digest(bytes(directory))[:12]
    stamps.mkdir(parents=True, exist_ok=True)

    def one(source: Path) -> Path:
        target = source.with_suffix(".o")
        name = str(source.relative_to(directory))
        stamp = stamps / (name.replace("/", "-") + ".json")
        if force or not stamping.is_current(stamp, target, key, directory):
            since = time.time_ns()
            inputs = compile_file(
                command, name, target, directory=directory, strip=compiler.strip,
                check=lambda made: check_map_names(made, name),
            )  # fmt: skip
            stamping.write(stamp, target, key, inputs, directory, since=since)
            report(f"built {name.removesuffix('.c')}.o ({target.stat().st_size:,} bytes, {compiler.version})")
        return target

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        return list(pool.map(one, sources))


def _arguments(compiler: Compiler, directory: Path) -> list[str]:
    """Everything but the file. Paths are relative to ``directory``, the working directory.

    The file names that BTF and the verifier's log show are ``ebpfmesh/bpf/NAME.bpf.c``; for another directory
    they begin with its name. So two builds in two places give the same bytes.
    """
    shown = "ebpfmesh/bpf" if directory == SOURCES else directory.name
    includes = ["-Iinclude"]
    if directory != SOURCES:  # the programs of examples and tests use our headers too
        includes.append(f"-I{SOURCES / 'include'}")
    prefixes = {ROOT: "ebpfmesh", directory: shown}  # the last one that fits wins
    maps = [f"{flag}={place}={name}" for place, name in prefixes.items() for flag in PREFIX_FLAGS]
    return [*FLAGS, *includes, *compiler.bpf_includes(), *maps]


def check_map_names(path: Path, name: str) -> None:
    """BuildError if a map of the object at ``path``, built from ``name``, has a name that the kernel would cut."""
    from elftools.elf.elffile import ELFFile

    with path.open("rb") as file:
        elf: Any = ELFFile(file)
        section, symbols = elf.get_section_index(".maps"), elf.get_section_by_name(".symtab")
        if section is None or symbols is None:
            return
        for symbol in symbols.iter_symbols():
            if symbol["st_shndx"] == section and len(symbol.name) > MAP_NAME:
                raise BuildError(
                    f"the map name {symbol.name!r} has {len(symbol.name)} characters, and the kernel keeps {MAP_NAME}",
                    where=name,
                    remedy="choose a shorter one",
                )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 1 with one message on stderr where something cannot be built."""
    parser = argparse.ArgumentParser(description="compile the BPF programs")
    parser.add_argument("directory", nargs="?", type=Path, default=SOURCES, help="default: src/ebpfmesh/bpf")
    parser.add_argument("--force", action="store_true", help="compile what did not change, too")
    parser.add_argument("--quiet", action="store_true", help="say nothing unless something fails")
    options = parser.parse_args(arguments)
    try:
        report: Callable[[str], None] = (lambda _line: None) if options.quiet else print
        build(options.directory, force=options.force, report=report)
    except BuildError as error:
        print(f"bpf_objects: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
