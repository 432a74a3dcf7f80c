"""The compiler of the C here, for BPF and for this machine: clang (14 or later), or zig where there is no clang.

``EBPFMESH_CC`` chooses: a clang by name or path, a ``zig`` by path, or ``ziglang`` for the Python package. Helper headers
(``bpf/bpf_helpers.h``) are the distribution's, from libbpf-dev. Only who builds needs any of it: the objects and the
library of an installed wheel are built. This module imports nothing but the standard library, since the build does.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ebpfmesh.errors import BuildError

OLDEST_CLANG = 14  # the first whose BTF carries declaration tags, and Debian 12's
OLDEST_GLIBC = "2.17"  # that zig links against: manylinux2014's

WARNINGS = ("-Wall", "-Wextra", "-Werror")
# v3 (32-bit ALU and jumps) is in every kernel since 5.1; v4 would need 6.6.
BPF_FLAGS = ("-mcpu=v3", "-O2", "-g", "-std=gnu11", *WARNINGS, "-fno-ident")
NATIVE_FLAGS = ("-O2", "-std=gnu11", *WARNINGS, "-fPIC", "-fvisibility=hidden", "-fno-ident")
LINK_FLAGS = ("-shared", "-s", "-Wl,--build-id=none")  # and nothing in it tells where it was built
PREFIX_FLAGS = ("-ffile-prefix-map", "-fdebug-prefix-map")  # no path of the build machine stays in an object
# zig's defaults are those of a hosted C program; a BPF program has no stack canary and no unwinder.
_ZIG_FLAGS = (
    "-fno-stack-protector",
    "-fno-unwind-tables",
    "-fno-asynchronous-unwind-tables",
    "-fno-sanitize=all",
)

_LIBBPF = "install libbpf's headers: apt-get install libbpf-dev, on Fedora libbpf-devel"
_KERNEL = "install the kernel's headers: apt-get install linux-libc-dev, on Fedora kernel-headers"
_LIBC = "install the C library's headers: apt-get install libc6-dev, on Fedora glibc-devel"
_HEADERS = {
    "bpf/": _LIBBPF,
    "linux/": _KERNEL,
    "asm/": _KERNEL,
    "gnu/": _LIBC,
    "sys/": _LIBC,
    "string.h": _LIBC,
    "stdlib.h": _LIBC,
}


@dataclass(frozen=True, slots=True)
class Compiler:
    """A compiler: its ``command`` without a target, ``version`` for stamps, ``strip``: llvm-strip, if there is one."""

    command: tuple[str, ...]
    version: str
    strip: tuple[str, ...] | None = None

    @property
    def is_zig(self) -> bool:
        """Whether it is zig, which has the headers of the kernel and of C with it."""
        return self.command[-1] == "cc"

    @property
    def bpf(self) -> tuple[str, ...]:
        """The command for BPF, little-endian."""
        if self.is_zig:
            return (*self.command, "-target", "bpfel-freestanding-none", *_ZIG_FLAGS)
        return (*self.command, "-target", "bpfel")

    @property
    def native(self) -> tuple[str, ...]:
        """The command for this machine."""
        if self.is_zig:
            target = f"{platform.machine()}-linux-gnu.{OLDEST_GLIBC}"
            return (*self.command, "-target", target, "-fno-stack-protector", "-fno-sanitize=all")
        return self.command

    def bpf_includes(self) -> list[str]:
        """Where <bpf/...>, <linux/...> and <asm/...> are, for a target that has no system headers of its own."""
        multiarch = Path("/usr/include") / f"{platform.machine()}-linux-gnu"  # Debian keeps asm/ there
        places = [Path("/usr/include"), multiarch]
        if "ziglang" in self.command:
            spec = importlib.util.find_spec("ziglang")
            if spec and spec.origin:  # zig's own copy of the kernel's headers, if the machine has none
                own = Path(spec.origin).parent / "lib" / "libc" / "include"
                machine = {"x86_64": "x86"}.get(platform.machine(), platform.machine())
                places += [own / "any-linux-any", own / f"{machine}-linux-any"]
        return [word for place in places if place.is_dir() for word in ("-idirafter", str(place))]


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
        f"no compiler for BPF: neither clang >= {OLDEST_CLANG} nor the Python package ziglang",
        remedy="apt-get install clang llvm, or pip install ziglang",
    )


def _chosen(chosen: str, environ: Mapping[str, str]) -> Compiler:
    where = f"EBPFMESH_CC={chosen}"
    if chosen == "ziglang":
        if not importlib.util.find_spec("ziglang"):
            raise BuildError("the Python package is not installed", where=where, remedy="pip install ziglang")
        return _zig((sys.executable, "-m", "ziglang"), environ)
    found = shutil.which(chosen, path=environ.get("PATH"))
    if not found:
        raise BuildError("no such program", where=where, remedy="name a clang, a zig, or ziglang")
    if Path(chosen).name.startswith("zig"):
        return _zig((found,), environ)
    version = _clang_version(found)
    if version < OLDEST_CLANG:
        raise BuildError(
            f"clang {version}" if version else "not a clang",
            where=where,
            remedy=f"needs clang >= {OLDEST_CLANG}: apt-get install clang",
        )
    return _clang(found, environ)


def _clang_version(path: str) -> int:
    """The major version of the clang at ``path``; 0 for anything else."""
    found = re.search(r"clang version (\d+)", _output(path, "--version"))
    return int(found[1]) if found else 0


def _clang(path: str, environ: Mapping[str, str]) -> Compiler:
    return Compiler((path,), _output(path, "--version").splitlines()[0], _strip(environ))


def _zig(command: tuple[str, ...], environ: Mapping[str, str]) -> Compiler:
    version = f"zig {_output(*command, 'version').strip()}"
    return Compiler((*command, "cc"), version, _strip(environ))


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


# --- one file -----------------------------------------------------------------------------------------------


def compile_file(
    command: Sequence[str],
    source: str,
    target: Path,
    *,
    directory: Path,
    shown: str = "",
    strip: Sequence[str] | None = None,
    check: Callable[[Path], None] = lambda _made: None,
) -> list[Path]:
    """Compile ``source``, relative to ``directory``, to the object ``target``; returns every file that was read.

    ``command`` is the compiler with its flags; ``shown`` names the source in errors; ``check`` may refuse the object
    by an exception. All or nothing: the target is as it was if something fails.

    Errors: BuildError with the compiler's words; a missing system header becomes its remedy.
    """
    with tempfile.TemporaryDirectory(prefix=".build-", dir=target.parent) as place:
        made, listing = Path(place, "made.o"), Path(place, "made.d")
        # clang writes the name of the output nowhere into the object, so a temporary one is harmless
        words = [*command, "-MD", "-MF", str(listing), "-c", source, "-o", str(made)]
        result = subprocess.run(words, cwd=directory, capture_output=True, text=True, check=False)
        if result.returncode:
            raise _refused(shown or source, result.stderr)
        sys.stderr.write(result.stderr)
        if strip:
            subprocess.run([*strip, str(made)], check=True)
        check(made)
        made.replace(target)
        return _listed(listing.read_text(), directory)


def link(compiler: Compiler, objects: Sequence[Path], target: Path) -> None:
    """Make the shared library ``target`` of ``objects``, all or nothing. BuildError with the linker's words."""
    with tempfile.TemporaryDirectory(prefix=".build-", dir=target.parent) as place:
        made = Path(place, "made.so")
        command = [*compiler.native, *LINK_FLAGS, *map(str, objects), "-o", str(made)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise BuildError("cannot be linked", where=target.name, output=result.stderr.rstrip())
        made.replace(target)


def _refused(shown: str, errors: str) -> BuildError:
    """A missing header becomes its remedy; anything else is told in the compiler's own words."""
    if missing := re.search(r"'([^']+)' file not found", errors):
        for prefix, remedy in _HEADERS.items():
            if missing[1] == prefix or (prefix.endswith("/") and missing[1].startswith(prefix)):
                return BuildError(f"the header <{missing[1]}> is missing", where=shown, remedy=remedy)
    return BuildError(f"{shown} does not compile", output=errors.rstrip())


def _listed(rule: str, directory: Path) -> list[Path]:
    """The prerequisites of a make rule, as the compiler writes it."""
    _target, _, names = rule.replace("\\\n", " ").partition(": ")
    words = re.split(r"(?<!\\)\s+", names.strip())
    return sorted({(directory / word.replace("\\ ", " ")).resolve() for word in words if word})
