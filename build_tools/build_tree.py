"""Builds everything that is not in git, in one step.

That is the BPF objects, the native library of the parser cores and cffi's modules.

    python build_tools/build_tree.py [--keep-going]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import bpf_objects
import cffi_module
import native_library
from bpf_objects import BuildError
from source_tree import PACKAGE


def build(report: Callable[[str], None] = lambda _line: None, *, keep_going: bool = False) -> Path:
    """Build what changed; returns the native library, which a wheel's tag depends on. BuildError as the parts raise it.

    ``keep_going`` leaves out a core that does not compile natively: for work on a core.
    """
    cffi_module.generate(PACKAGE)
    bpf_objects.build(report=report)
    return native_library.build(report=report, keep_going=keep_going)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 1 with one message on stderr where something cannot be built."""
    parser = argparse.ArgumentParser(description="build what is not in git")
    parser.add_argument("--keep-going", action="store_true", help="leave out cores that do not compile")
    options = parser.parse_args(arguments)
    try:
        build(print, keep_going=options.keep_going)
    except BuildError as error:
        print(f"build: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
