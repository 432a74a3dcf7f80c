"""Compiles every ``*.bpf.c`` below a directory to ``*.bpf.o`` beside it: little-endian BPF, BTF kept, no DWARF.

The compiler is clang (14 or later) or, where there is none, ``zig cc`` from PyPI's ``ziglang``. The variable
``EBPFMESH_CC`` chooses: a clang by name or path, a ``zig`` by path, or ``ziglang`` for the Python package. The
helper headers (``bpf/bpf_helpers.h``) are the distribution's, from libbpf-dev.

One object serves x86-64 and aarch64: no program of ours reads registers of the machine (struct pt_regs).

    python build_tools/bpf_objects.py [DIRECTORY] [--force] [--quiet]
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "src" / "ebpfmesh" / "bpf"
STAMPS = ROOT / "build" / "bpf"

OLDEST_CLANG = 14  # the first whose BTF carries declaration tags, and Debian 12's
MAP_NAME = 15  # BPF_OBJ_NAME_LEN - 1: libbpf cuts longer names silently, and two maps may then look alike

# v3 (32-bit ALU and jumps) is in every kernel since 5.1; v4 would need 6.6.
FLAGS = ("-mcpu=v3", "-O2", "-g", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-fno-ident")
# zig's defaults are those of a hosted C program; a BPF program has no stack canary and no unwinder.
ZIG_FLAGS = (
    "-fno-stack-protector",
    "-fno-unwind-tables",
    "-fno-asynchronous-unwind-tables",
    "-fno-sanitize=all",
)
PREFIX_FLAGS = ("-ffile-prefix-map", "-fdebug-prefix-map")  # no path of the build machine stays in an object

REMEDIES = {
    "bpf/": "install libbpf's headers: apt-get install libbpf-dev, on Fedora libbpf-devel",
    "linux/": "install the kernel's headers: apt-get install linux-libc-dev, on Fedora kernel-headers",
    "asm/": "install the kernel's headers: apt-get install linux-libc-dev, on Fedora kernel-headers",
}


class BuildError(Exception):
    """An object cannot be built: one line that says what, where and the remedy."""


@dataclass(frozen=True, slots=True)
class Compiler:
    """How to compile one file: ``command`` before the flags, ``version`` for the stamp, ``strip`` if any."""

    command: tuple[str, ...]
    version: str
    strip: tuple[str, ...] | None = None


def find_compiler(environ: Mapping[str, str] = os.environ) -> Compiler:
    """The compiler that EBPFMESH_CC names, else the newest clang, else ziglang; BuildError if none."""
    if chosen := environ.get("EBPFMESH_CC"):
        return _chosen(chosen, environ)
    path = environ.get("PATH")
    for name in ("clang", *(f"clang-{version}" for version in range(30, OLDEST_CLANG - 1, -1))):
        if (found := shutil.which(name, path=path)) and _clang_version(found) >= OLDEST_CLANG:
            return _clang(found, environ)
    if importlib.util.find_spec("ziglang"):
        return _zig((sys.executable, "-m", "ziglang"), environ)
    raise BuildError(
        f"no compiler for BPF: neither clang >= {OLDEST_CLANG} nor the Python package ziglang "
        "(apt-get install clang llvm, or pip install ziglang)"
    )


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
    arguments = _arguments(compiler, directory)
    key = _digest(json.dumps([compiler.version, list(compiler.strip or ()), arguments]).encode())
    stamps = stamps or STAMPS / _digest(bytes(directory))[:12]
    stamps.mkdir(parents=True, exist_ok=True)

    def one(source: Path) -> Path:
        target = source.with_suffix(".o")
        name = str(source.relative_to(directory))
        stamp = stamps / (name.replace("/", "-") + ".json")
        if force or not _is_current(stamp, target, key, directory):
            inputs = _compile(compiler, arguments, directory, name, target)
            _write_stamp(stamp, target, key, inputs, directory)
            report(f"built {name.removesuffix('.c')}.o ({target.stat().st_size:,} bytes, {compiler.version})")
        return target

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        return list(pool.map(one, sources))


# --- compilers ----------------------------------------------------------------------------------------------


def _chosen(chosen: str, environ: Mapping[str, str]) -> Compiler:
    if chosen == "ziglang":
        if not importlib.util.find_spec("ziglang"):
            raise BuildError("EBPFMESH_CC=ziglang: the Python package is not installed (pip install ziglang)")
        return _zig((sys.executable, "-m", "ziglang"), environ)
    found = shutil.which(chosen, path=environ.get("PATH"))
    if not found:
        raise BuildError(f"EBPFMESH_CC={chosen}: no such program (name a clang, a zig, or ziglang)")
    if Path(chosen).name.startswith("zig"):
        return _zig((found,), environ)
    version = _clang_version(found)
    if version < OLDEST_CLANG:
        raise BuildError(
            f"EBPFMESH_CC={chosen}: {f'clang {version}' if version else 'not a clang'} "
            f"(needs clang >= {OLDEST_CLANG}: apt-get install clang)"
        )
    return _clang(found, environ)


def _clang_version(path: str) -> int:
    """The major version of the clang at ``path``; 0 for anything else."""
    found = re.search(r"clang version (\d+)", _output(path, "--version"))
    return int(found[1]) if found else 0


def _clang(path: str, environ: Mapping[str, str]) -> Compiler:
    version = _output(path, "--version").splitlines()[0]
    return Compiler((path, "-target", "bpfel"), version, _strip(environ))


def _zig(command: tuple[str, ...], environ: Mapping[str, str]) -> Compiler:
    version = f"zig {_output(*command, 'version').strip()}"
    return Compiler(
        (*command, "cc", "-target", "bpfel-freestanding-none", *ZIG_FLAGS), version, _strip(environ)
    )


def _strip(environ: Mapping[str, str]) -> tuple[str, ...] | None:
    """llvm-strip, which knows BPF as binutils' does not. Without it the object keeps DWARF: larger."""
    path = environ.get("PATH")
    for name in ("llvm-strip", *(f"llvm-strip-{version}" for version in range(30, OLDEST_CLANG - 1, -1))):
        if found := shutil.which(name, path=path):
            return (found, "-g")
    return None


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""


def _arguments(compiler: Compiler, directory: Path) -> list[str]:
    """Everything but the file. Paths are relative to ``directory``, the working directory.

    The file names that BTF and the verifier's log show are ``ebpfmesh/bpf/NAME.bpf.c``; for another directory
    they begin with its name. So two builds in two places give the same bytes.
    """
    shown = "ebpfmesh/bpf" if directory == SOURCES else directory.name
    includes = ["-Iinclude"]
    if directory != SOURCES:  # the programs of examples and tests use our headers too
        includes.append(f"-I{SOURCES / 'include'}")
    for place in _system_includes(compiler):
        includes += ["-idirafter", str(place)]
    prefixes = {ROOT: "ebpfmesh", directory: shown}  # the last one that fits wins
    maps = [f"{flag}={place}={name}" for place, name in prefixes.items() for flag in PREFIX_FLAGS]
    return [*FLAGS, *includes, *maps]


def _system_includes(compiler: Compiler) -> list[Path]:
    """Where <bpf/...>, <linux/...> and <asm/...> are, for a target that has no system headers of its own."""
    multiarch = Path("/usr/include") / f"{platform.machine()}-linux-gnu"  # Debian keeps asm/ there
    places = [Path("/usr/include"), multiarch]
    if "ziglang" in compiler.command:
        spec = importlib.util.find_spec("ziglang")
        if spec and spec.origin:  # zig's own copy of the kernel's headers, if the machine has none
            own = Path(spec.origin).parent / "lib" / "libc" / "include"
            machine = {"x86_64": "x86"}.get(platform.machine(), platform.machine())
            places += [own / "any-linux-any", own / f"{machine}-linux-any"]
    return [place for place in places if place.is_dir()]


# --- one object ---------------------------------------------------------------------------------------------


def _compile(
    compiler: Compiler, arguments: Sequence[str], directory: Path, name: str, target: Path
) -> list[Path]:
    """Compile ``name`` to ``target``, all or nothing; returns every file that the compiler read."""
    with tempfile.TemporaryDirectory(prefix=".build-", dir=target.parent) as place:
        made, listing = Path(place) / "made.o", Path(place) / "made.d"
        # clang writes the name of the output nowhere into the object, so a temporary one is harmless
        command = [*compiler.command, *arguments, "-MD", "-MF", str(listing), "-c", name, "-o", str(made)]
        result = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
        if result.returncode:
            raise BuildError(_explain(name, result.stderr))
        sys.stderr.write(result.stderr)
        if compiler.strip:
            subprocess.run([*compiler.strip, str(made)], check=True)
        check_map_names(made, name)
        made.replace(target)
        return _listed(listing.read_text(), directory)


def _explain(name: str, errors: str) -> str:
    """A missing header becomes its remedy; anything else is told in the compiler's own words."""
    if missing := re.search(r"'([^']+)' file not found", errors):
        for prefix, remedy in REMEDIES.items():
            if missing[1].startswith(prefix):
                return f"{name}: the header <{missing[1]}> is missing ({remedy})"
    return f"{name} does not compile:\n{errors.rstrip()}"


def _listed(rule: str, directory: Path) -> list[Path]:
    """The prerequisites of a make rule, as the compiler writes it."""
    _target, _, names = rule.replace("\\\n", " ").partition(": ")
    words = re.split(r"(?<!\\)\s+", names.strip())
    return sorted({(directory / word.replace("\\ ", " ")).resolve() for word in words if word})


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
                    f"{name}: the map name {symbol.name!r} has {len(symbol.name)} characters, "
                    f"and the kernel keeps {MAP_NAME} (choose a shorter one)"
                )


# --- stamps -------------------------------------------------------------------------------------------------


def _is_current(stamp: Path, target: Path, key: str, directory: Path) -> bool:
    try:
        known = json.loads(stamp.read_text())
        inputs = [directory / name for name in known["inputs"]]
        return bool(
            known["key"] == key
            and known["object"] == _digest(target.read_bytes())
            and known["sources"] == _digest_of(inputs)
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _write_stamp(stamp: Path, target: Path, key: str, inputs: Sequence[Path], directory: Path) -> None:
    names = [str(path.relative_to(directory) if path.is_relative_to(directory) else path) for path in inputs]
    record = {
        "key": key,
        "object": _digest(target.read_bytes()),
        "sources": _digest_of(inputs),
        "inputs": names,
    }
    stamp.write_text(json.dumps(record, indent=1))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _digest_of(paths: Iterable[Path]) -> str:
    return _digest(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in paths))


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
