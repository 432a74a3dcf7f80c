"""``ebpfmesh build-parser FILE``: a parser core in C becomes a library for this machine and an object for the kernel."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ebpfmesh.cli.output import size

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """FILE, --name and -o."""
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="the C text of the core, .h or .c; needs clang"
    )
    parser.add_argument("--name", default="", help="which core, where FILE defines several")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path(), metavar="DIR",
        help="where NAME.so and NAME.bpf.o are made (the working directory)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Build both and print their paths. Errors: BuildError, after the compiler's own words on stderr; SpecError."""
    from ebpfmesh.errors import BuildError
    from ebpfmesh.l7.build import build_parser

    try:
        built = build_parser(arguments.file, name=arguments.name, output=arguments.output)
    except BuildError as error:
        if error.output:
            print(error.output, file=sys.stderr)
        raise BuildError(error.what, where=error.where, remedy=error.remedy) from None
    for path in (built.library, built.object):
        print(f"{path} ({size(path.stat().st_size)})")
    return 0
