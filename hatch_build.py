"""The wheel's build hook: compiles the BPF objects and the native library, and so ends the need for compilers.

The objects are little-endian BPF, the same for x86-64 and aarch64, and libbpf is the distribution's. The library of the
parser cores is machine code: the wheel is for any Python 3 on one architecture, and for every glibc that is not older than
the newest function that the library calls.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent


class Build(BuildHookInterface[Any]):
    """Runs before the wheel (or editable install) is put together; the sdist carries sources only."""

    def dependencies(self) -> list[str]:
        """What pip adds to the build's environment: a compiler, if the machine has none."""
        return _tool("bpf_objects").requirements() if self.target_name == "wheel" else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build everything that is not in git; an error is one line with its remedy, or the compiler's words."""
        if self.target_name != "wheel":
            return
        tree = _tool("build_tree")
        try:
            library = tree.build(self.app.display_info)
        except tree.BuildError as error:
            self.app.abort(f"hatch_build: {error}")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{_tool('native_library').platform_tag(library)}"


def _tool(name: str) -> ModuleType:
    """A module of build_tools/, which is no package: it is never installed."""
    directory = str(ROOT / "build_tools")
    if directory not in sys.path:
        sys.path.insert(0, directory)
    return import_module(name)
