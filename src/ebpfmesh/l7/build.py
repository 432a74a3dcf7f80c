"""Builds somebody's parser core: NAME.so, which the native engine loads, and NAME.bpf.o, for the kernel.

    ebpfmesh build-parser mycore.h

The core is one C text, ``mycore.h`` or ``mycore.c``, with a line ``L7_PARSER(mycore, struct mycore_tables)`` or
``L7_PARSER_WITHOUT_TABLES(mycore)``; the object holds the programs that ``<ebpfmesh/harness.h>`` makes around it. Needs
clang and libbpf's headers, as nothing else does in an installed package.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ebpfmesh.bpf.compiler import (
    BPF_FLAGS,
    NATIVE_FLAGS,
    PREFIX_FLAGS,
    Compiler,
    compile_file,
    find_compiler,
    link,
)
from ebpfmesh.bpf.cores import parsers_of
from ebpfmesh.errors import BuildError
from ebpfmesh.include import get_include

__all__ = ["Built", "build_parser"]

LONGEST_NAME = (
    31  # the kernel shows 15 characters of a program's name; this one is for people and for file names
)
_SYMBOL = "l7_core_"
_FLAGS = ("-Wno-error", f"-I{get_include()}")  # warnings of somebody else's compiler are told, and are theirs


@dataclass(frozen=True, slots=True)
class Built:
    """What was made of a core."""

    name: str
    library: Path
    """NAME.so, for `ebpfmesh.l7.native.load`."""
    object: Path
    """NAME.bpf.o, for `ebpfmesh.harness.load`."""


def build_parser(
    source: Path, *, name: str = "", output: Path = Path(), environ: Mapping[str, str] = os.environ
) -> Built:
    """Compile the core in ``source`` for this machine and for the kernel; returns the files below ``output``.

    ``name`` chooses a core where the source defines several. ``environ`` has ``EBPFMESH_CC``, which chooses the compiler.
    Both files are made, or neither is changed.

    Errors: BuildError if there is no compiler, a header is missing, the source does not compile or defines no such core,
    or the files cannot be written;
    SpecError if it was compiled with another version of ``parser.h`` than this package's.
    """
    source, output = source.resolve(), output.resolve()
    if not source.is_file():
        raise BuildError("no such file", where=str(source), remedy="name the C text of a core")
    compiler = find_compiler(environ)
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".build-", dir=output) as place:
            return _build(_Parts(compiler, source, Path(place)), name, output)
    except OSError as error:
        raise BuildError(
            error.strerror or str(error),
            where=str(output),
            remedy="name a directory that can be written to: -o DIR",
        ) from error


def _build(parts: _Parts, name: str, output: Path) -> Built:
    inputs = parts.native()
    core = _chosen(parts.source, name, _defined(parts.library), _declared(inputs))
    _load(parts.library, core.name)
    parts.bpf(core)
    built = Built(core.name, output / f"{core.name}.so", output / f"{core.name}.bpf.o")
    parts.library.replace(built.library)
    parts.object.replace(built.object)
    return built


@dataclass(frozen=True, slots=True)
class _Core:
    name: str
    tables: str


class _Parts:
    """The files of one build."""

    def __init__(self, compiler: Compiler, source: Path, place: Path) -> None:
        self.compiler, self.source, self.place = compiler, source, place
        # no path of the machine that builds stays in what it builds
        self.flags = [*_FLAGS, *_called(source=source.parent, include=Path(get_include()), build=place)]
        self.library, self.object = place / "core.so", place / "core.bpf.o"

    def native(self) -> list[Path]:
        """Make the library; returns every file that was read."""
        text, made = self.place / "core.c", self.place / "core.o"
        text.write_text(f'#include "{self.source}"\n')
        command = [*self.compiler.native, *NATIVE_FLAGS, *self.flags]
        inputs = compile_file(command, text.name, made, directory=self.place, shown=self.source.name)
        link(self.compiler, [made], self.library)
        return inputs

    def bpf(self, core: _Core) -> None:
        """Make the object."""
        text = self.place / "core.bpf.c"
        harness = f"L7_HARNESS({core.name}, {core.tables})"
        text.write_text(f'#include "{self.source}"\n#include <ebpfmesh/harness.h>\n{harness}\n')
        command = [*self.compiler.bpf, *BPF_FLAGS, *self.flags, *self.compiler.bpf_includes()]
        compile_file(
            command,
            text.name,
            self.object,
            directory=self.place,
            shown=self.source.name,
            strip=self.compiler.strip,
        )


def _called(**directories: Path) -> list[str]:
    """Flags to call directories by other names, in debug information too; the last one that fits wins."""
    return [f"{flag}={path}={name}" for name, path in directories.items() for flag in PREFIX_FLAGS]


def _declared(inputs: list[Path]) -> dict[str, str]:
    """The cores that the files of a build declare, each with the type of its tables."""
    found: dict[str, str] = {}
    for path in inputs:
        found |= parsers_of(path.read_text(encoding="utf-8", errors="replace"))
    return found


def _defined(library: Path) -> set[str]:
    """The cores that a library exports."""
    from elftools.elf.elffile import ELFFile

    with library.open("rb") as file:
        elf: Any = ELFFile(file)
        return {
            symbol.name.removeprefix(_SYMBOL)
            for symbol in elf.get_section_by_name(".dynsym").iter_symbols()
            if symbol.name.startswith(_SYMBOL) and symbol["st_shndx"] != "SHN_UNDEF"
        }


def _chosen(source: Path, name: str, defined: set[str], declared: Mapping[str, str]) -> _Core:
    """The core to build."""
    where = str(source)
    names = ", ".join(sorted(defined))
    if not defined:
        raise BuildError(
            "defines no core",
            where=where,
            remedy="end it with L7_DETECTOR(NAME) and L7_PARSER(NAME, struct NAME_tables), "
            "or L7_PARSER_WITHOUT_TABLES(NAME)",
        )
    if name and name not in defined:
        raise BuildError(f"defines no core {name!r}", where=where, remedy=f"there are: {names}")
    if not name and len(defined) > 1:
        raise BuildError("defines several cores", where=where, remedy=f"choose one with --name: {names}")
    (found,) = [name] if name else defined
    if len(found) > LONGEST_NAME or not re.fullmatch(r"[a-z][a-z0-9_]*", found):
        raise BuildError(
            f"{found!r} cannot be the name of a core",
            where=where,
            remedy=f"lower-case letters, digits and underscores, at most {LONGEST_NAME}",
        )
    if found not in declared:
        raise BuildError(
            f"the type of the tables of {found} cannot be read",
            where=where,
            remedy=f"write L7_PARSER({found}, struct …) at the beginning of a line, not by a macro of your own",
        )
    return _Core(found, declared[found])


def _load(library: Path, name: str) -> None:
    """Refuse a library that the native engine would refuse."""
    from ebpfmesh.l7 import native

    native.load(library, name)
