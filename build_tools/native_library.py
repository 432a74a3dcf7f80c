"""Builds ``libebpfmesh_l7.so``: every built-in parser core as machine code, and the functions that drive a core.

A core is a header of ``include/ebpfmesh/l7`` that says ``L7_PARSER(name, ...)``; each becomes a translation unit of its own
(``native/builtin.c``) and the symbol ``l7_core_NAME``. The compiler is the one of the BPF objects, for its own machine.

    python build_tools/native_library.py [--force] [--quiet] [--keep-going]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bpf_objects
from bpf_objects import BuildError, Compiler

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "src" / "ebpfmesh" / "bpf"
STAMPS = ROOT / "build" / "native"
LIBRARY = "native/libebpfmesh_l7.so"

FLAGS = (
    "-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-fPIC", "-fvisibility=hidden", "-fno-ident", "-Iinclude",
)  # fmt: skip
LINK_FLAGS = ("-shared", "-s", "-Wl,--build-id=none")
_PARSER = re.compile(r"^L7_PARSER(?:_WITHOUT_TABLES)?\((\w+)", re.MULTILINE)


def cores(directory: Path = SOURCES) -> dict[Path, list[str]]:
    """The headers that define cores, each with the names of its cores."""
    headers = sorted((directory / "include/ebpfmesh/l7").glob("*.h"))
    return {header: names for header in headers if (names := _PARSER.findall(header.read_text()))}


def driver(compiler: Compiler) -> tuple[str, ...]:
    """``compiler`` for this machine instead of BPF."""
    if "cc" not in compiler.command:
        return compiler.command[:1]
    target = f"{platform.machine()}-linux-gnu.2.17"
    return (*compiler.command[: compiler.command.index("cc")], "cc", "-target", target)


def compile_command(
    compiler: Compiler,
    source: Path,
    target: Path,
    *,
    flags: Sequence[str] = FLAGS,
    core: str = "",
) -> list[str]:
    """How to compile ``source`` (of this directory of programs, the working directory) to the object ``target``.

    ``core`` is the header that ``native/builtin.c`` is to include, as "l7/http1.h".
    """
    defined = [f"-DEBPFMESH_CORE=<ebpfmesh/{core}>"] if core else []
    return [*driver(compiler), *flags, *defined, "-c", str(source), "-o", str(target)]


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

    ``keep_going`` leaves out a core that does not compile, and says so on stderr.

    Errors: BuildError; a library that cannot be built leaves the previous one in place.
    """
    directory = directory.resolve()
    compiler = bpf_objects.find_compiler(environ)
    target = directory / LIBRARY
    found = cores(directory)
    units = {"feed": ("native/feed.c", "")}
    units |= {header.stem: ("native/builtin.c", f"l7/{header.name}") for header in found}
    stamps = stamps or STAMPS / bpf_objects._digest(bytes(directory))[:12]
    stamps.mkdir(parents=True, exist_ok=True)
    key = bpf_objects._digest(
        json.dumps([compiler.version, driver(compiler), FLAGS, LINK_FLAGS, sorted(units)]).encode()
    )
    stamp = stamps / "library.json"
    if not force and bpf_objects._is_current(stamp, target, key, directory):
        return target
    with tempfile.TemporaryDirectory(prefix="ebpfmesh-native-") as place:

        def one(name: str) -> tuple[Path | None, list[Path]]:
            source, core = units[name]
            made, listing = Path(place, f"{name}.o"), Path(place, f"{name}.d")
            command = compile_command(compiler, Path(source), made, core=core)
            command += ["-MD", "-MF", str(listing), f"-ffile-prefix-map={directory}=ebpfmesh/bpf"]
            result = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
            if result.returncode:
                error = BuildError(bpf_objects._explain(core or source, result.stderr))
                if not keep_going or not core:
                    raise error
                print(f"native_library: LEFT OUT {error}", file=sys.stderr)
                return None, []
            return made, bpf_objects._listed(listing.read_text(), directory)

        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            results = list(pool.map(one, units))
        made = Path(place, "library.so")
        objects = [str(path) for path, _inputs in results if path]
        command = [*driver(compiler), *LINK_FLAGS, *objects, "-o", str(made)]
        result = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
        if result.returncode:
            raise BuildError(f"{LIBRARY} cannot be linked:\n{result.stderr.rstrip()}")
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".build-", delete=False) as file:
            file.write(made.read_bytes())
            Path(file.name).chmod(0o755)
        Path(file.name).replace(target)
    inputs = sorted({path for _object, paths in results for path in paths})
    if all(path for path, _inputs in results):
        bpf_objects._write_stamp(stamp, target, key, inputs, directory)
    else:
        stamp.unlink(missing_ok=True)
    names = ", ".join(name for names in found.values() for name in names)
    report(f"built {LIBRARY} ({target.stat().st_size:,} bytes, {compiler.version}; cores: {names or 'none'})")
    return target


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
