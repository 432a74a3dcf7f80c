"""Builds ``libebpfmesh_l7.so``: every built-in parser core as machine code, and the functions that drive a core.

A core is a header of ``include/ebpfmesh/l7`` with a line ``L7_PARSER(name, ...)``; each becomes a translation unit of its
own (``native/builtin.c``) and the symbol ``l7_core_NAME``. The compiler is that of the BPF objects, for its own machine.

    python build_tools/native_library.py [--force] [--quiet] [--keep-going]

Who fuzzes builds the same units with other flags, for instance

    units = native_library.units()
    for name in ("feed", "http1"):
        native_library.compile_unit(units[name], directory / f"{name}.o", flags=native_library.SANITIZERS)

and links them to its own, compiled with ``SANITIZERS`` and ``-fsanitize=fuzzer`` and including ``native/feed.h``. In such
a build every part of a connection is an allocation of its own, and what lies behind the bytes of a window is different
each time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import stamps as stamping
from source_tree import ROOT, SOURCES

from ebpfmesh.bpf.compiler import (
    LINK_FLAGS,
    NATIVE_FLAGS,
    PREFIX_FLAGS,
    Compiler,
    compile_file,
    find_compiler,
    link,
)
from ebpfmesh.bpf.cores import parsers_of
from ebpfmesh.errors import BuildError

STAMPS = ROOT / "build" / "native"
LIBRARY = "native/libebpfmesh_l7.so"

# not function: a core is called by the type of struct l7_core's pointer, which says void * for its tables
SANITIZERS = (
    "-g", "-O1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize=function",
    "-fno-sanitize-recover=all",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Unit:
    """One translation unit: ``source``, relative to the directory of programs, with the header of its cores."""

    source: str
    header: str = ""
    cores: tuple[str, ...] = ()


def units(directory: Path = SOURCES) -> dict[str, Unit]:
    """What the library is made of: the driver, and each header that defines cores, by its name."""
    found = {"feed": Unit("native/feed.c")}
    for header in sorted((directory / "include/ebpfmesh/l7").glob("*.h")):
        if cores := parsers_of(header.read_text()):
            found[header.stem] = Unit("native/builtin.c", f"ebpfmesh/l7/{header.name}", tuple(cores))
    return found


def compile_command(
    compiler: Compiler, unit: Unit, flags: Sequence[str] = (), directory: Path = SOURCES
) -> list[str]:
    """The compiler for ``unit`` and its flags, ``flags`` among them; what follows is ``-c SOURCE -o TARGET``."""
    defined = [f"-DEBPFMESH_CORE=<{unit.header}>"] if unit.header else []
    prefixes = [f"{flag}={directory}=ebpfmesh/bpf" for flag in PREFIX_FLAGS]
    return [*compiler.native, *NATIVE_FLAGS, "-Iinclude", *defined, *prefixes, *flags]


def compile_unit(
    unit: Unit,
    target: Path,
    *,
    flags: Sequence[str] = (),
    compiler: Compiler | None = None,
    directory: Path = SOURCES,
) -> list[Path]:
    """Compile one unit to the object ``target``; returns every file that was read. BuildError if it does not compile."""
    command = compile_command(compiler or find_compiler(), unit, flags, directory)
    return compile_file(command, unit.source, target, directory=directory, shown=unit.header or unit.source)


def build(
    directory: Path = SOURCES,
    *,
    stamps: Path | None = None,
    force: bool = False,
    keep_going: bool = False,
    report: Callable[[str], None] = lambda _line: None,
    environ: Mapping[str, str] = os.environ,
) -> Path:
    """Build the library below ``directory`` if anything of it changed; returns its path.

    ``stamps`` is where objects and what they were built from are kept (default: below ``build/native``). With
    ``keep_going`` a core that does not compile is left out, and named on stderr: for work on a core.

    Errors: BuildError; a library that cannot be built leaves the previous one in place.
    """
    directory = directory.resolve()
    compiler = find_compiler(environ)
    kept = stamps or STAMPS / stamping.digest(bytes(directory))[:12]
    kept.mkdir(parents=True, exist_ok=True)

    def one(item: tuple[str, Unit]) -> Path | None:
        name, unit = item
        made, stamp = kept / f"{name}.o", kept / f"{name}.json"
        key = _key(compiler, compile_command(compiler, unit, (), directory))
        if force or not stamping.is_current(stamp, made, key, directory):
            since = time.time_ns()
            try:
                inputs = compile_unit(unit, made, compiler=compiler, directory=directory)
            except BuildError as error:
                if not keep_going or not unit.cores:
                    raise
                print(f"native_library: LEFT OUT: {error}", file=sys.stderr)
                return None
            stamping.write(stamp, made, key, inputs, directory, since=since)
        return made

    parts = units(directory)
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        objects = [made for made in pool.map(one, parts.items()) if made]
    target, stamp = directory / LIBRARY, kept / "library.json"
    key = _key(compiler, [*compiler.native, *LINK_FLAGS, *map(str, objects)])
    if force or not stamping.is_current(stamp, target, key, directory):
        since = time.time_ns()
        link(compiler, objects, target)
        stamping.write(stamp, target, key, objects, directory, since=since)
        names = ", ".join(name for unit in parts.values() for name in unit.cores)
        report(f"built {LIBRARY} ({target.stat().st_size:,} bytes, {compiler.version}: {names})")
    return target


def _key(compiler: Compiler, command: Sequence[str]) -> str:
    return stamping.digest(json.dumps([compiler.version, *command]).encode())


# --- what a wheel says of it ------------------------------------------------------------------------------------------


def platform_tag(library: Path) -> str:
    """The platforms that ``library`` runs on, as a wheel's tag: by the newest version of glibc that it asks for.

    Built against another C library, or for what has no name, it is this machine's alone: ``linux_MACHINE``.
    """
    from elftools.elf.elffile import ELFFile

    machine = platform.machine()
    with library.open("rb") as file:
        elf: Any = ELFFile(file)
        needed = {tag.needed for tag in elf.get_section_by_name(".dynamic").iter_tags("DT_NEEDED")}
        versions = elf.get_section_by_name(".gnu.version_r")
        names = (
            [auxiliary.name for _file, all in versions.iter_versions() for auxiliary in all]
            if versions
            else []
        )
    found = [re.fullmatch(r"GLIBC_2\.(\d+)(?:\.\d+)?", name) for name in names]
    if not needed <= {"libc.so.6"} or not all(found):
        return f"linux_{machine}"
    oldest = max(
        [17, *(int(match[1]) for match in found if match)]
    )  # pip of our Pythons knows no older tag than 2.17
    return f"manylinux_2_{oldest}_{machine}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 1 with one message on stderr where the library cannot be built."""
    parser = argparse.ArgumentParser(description="build the native library of the parser cores")
    parser.add_argument("--force", action="store_true", help="build even if nothing changed")
    parser.add_argument("--quiet", action="store_true", help="say nothing unless something fails")
    parser.add_argument("--keep-going", action="store_true", help="leave out cores that do not compile")
    options = parser.parse_args(arguments)
    report: Callable[[str], None] = (lambda _line: None) if options.quiet else print
    try:
        build(force=options.force, keep_going=options.keep_going, report=report)
    except BuildError as error:
        print(f"native_library: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
