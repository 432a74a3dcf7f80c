"""Builds the fuzz targets and runs them; ``tests/fuzz/run`` is its command.

A target ``NAME.c`` is one core under libFuzzer with ASan and UBSan. Its seeds are made anew for each run (`seeds`); what
was found once is kept in ``findings/NAME/`` and is replayed by each run and by the tests.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "fuzz"
TARGETS = sorted(path.stem for path in HERE.glob("*.c"))
SANITIZED = ("-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all")
MOST = 1 << 16  # bytes of an input


class CannotFuzzError(Exception):
    """There is no compiler here with libFuzzer."""


def build(target: str, directory: Path = BUILD) -> Path:
    """The program of a target, compiled if its sources are newer. Raises CannotFuzzError, and says what is missing."""
    clang = shutil.which("clang")
    if clang is None:
        raise CannotFuzzError("fuzzing needs clang (Debian: clang, libclang-rt-dev)")
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / target
    source, includes = HERE / f"{target}.c", ROOT / "src" / "ebpfmesh" / "bpf" / "include"
    newest = max(path.stat().st_mtime for path in [*HERE.glob("*.[ch]"), *includes.rglob("*.h")])
    if program.exists() and program.stat().st_mtime > newest:
        return program
    command = [clang, "-g", "-O1", "-Wall", "-Wextra", "-Werror", *SANITIZED, f"-I{includes}", str(source)]
    result = subprocess.run([*command, "-o", str(program)], capture_output=True, text=True, check=False)
    if "libclang_rt.fuzzer" in result.stderr:
        raise CannotFuzzError("clang has no libFuzzer here (Debian: libclang-rt-dev)")
    if result.returncode:
        raise RuntimeError(f"{target}.c does not compile:\n{result.stderr}")
    return program


def findings(target: str) -> list[Path]:
    """Inputs that once broke the target."""
    return sorted((HERE / "findings" / target).glob("*"))


def command(target: str, corpus: Path, found: Path, *limits: str) -> list[str]:
    """How the target is run: over the corpus, which grows; an input that breaks it is written below ``found``."""
    found.mkdir(parents=True, exist_ok=True)
    dictionary = HERE / f"{target}.dict"
    return [
        str(build(target)),
        str(corpus),
        f"-artifact_prefix={found}/",
        f"-max_len={MOST}",
        "-timeout=20",
        "-rss_limit_mb=1500",
        "-print_final_stats=1",
        *([f"-dict={dictionary}"] if dictionary.exists() else []),
        *limits,
    ]


def main() -> int:
    """``run [--seconds N | --runs N] [--jobs N] [--corpus DIR] [TARGET...]``."""
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]
    import seeds

    parser = argparse.ArgumentParser(prog="tests/fuzz/run", description="Fuzz the native cores.")
    parser.add_argument(
        "targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all by default"
    )
    parser.add_argument("--seconds", type=int, default=60, help="of each target (default: 60)")
    parser.add_argument("--runs", type=int, help="inputs of each target, instead of seconds")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time (default: 1)")
    parser.add_argument("--corpus", type=Path, default=BUILD / "corpus", help="where the inputs are kept")
    arguments = parser.parse_args()
    unknown = set(arguments.targets) - set(TARGETS)
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    status = 0
    limit = f"-runs={arguments.runs}" if arguments.runs else f"-max_total_time={arguments.seconds}"
    for target in arguments.targets or TARGETS:
        corpus = arguments.corpus / target
        print(f"{target}: {seeds.write(target, corpus)} seeds", flush=True)
        line = command(target, corpus, BUILD / "found" / target, limit)
        if arguments.jobs > 1:
            line += [f"-fork={arguments.jobs}"]
        if findings(target):
            status |= subprocess.run([line[0], *map(str, findings(target))], check=False).returncode
        status |= subprocess.run(
            line, check=False, env={**os.environ, "ASAN_OPTIONS": "detect_leaks=1"}
        ).returncode
    return 1 if status else 0


if __name__ == "__main__":
    sys.exit(main())
