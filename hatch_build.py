"""The wheel's build hook: compiles the BPF objects and generates the cffi module, and so ends the need for compilers.

The wheel is tagged py3-none-any, which is right as long as it holds Python and BPF only: an object is
little-endian BPF, the same for x86-64 and aarch64, and libbpf is the distribution's. With the first native code
in it (the L7 parser cores), `Build.initialize` sets ``build_data["tag"] = f"py3-none-linux_{machine}"`` and
``build_data["pure_python"] = False``, and nothing else changes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent


class Build(BuildHookInterface[Any]):
    """Runs before the wheel (or editable install) is put together; the sdist carries sources only."""

    def dependencies(self) -> list[str]:
        """What pip adds to the build's environment: a compiler for BPF, if the machine has none."""
        return _tool("bpf_objects").requirements() if self.target_name == "wheel" else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build everything that is not in git; an error is one line with its remedy."""
        if self.target_name != "wheel":
            return
        bpf_objects = _tool("bpf_objects")
        _tool("cffi_module").generate(ROOT / "src/ebpfmesh")
        try:
            bpf_objects.build(ROOT / "src/ebpfmesh/bpf", report=self.app.display_info)
        except bpf_objects.BuildError as error:
            self.app.abort(f"bpf_objects: {error}")


def _tool(name: str) -> ModuleType:
    """A module of build_tools/, which is no package: it is never installed."""
    sys.path.insert(0, str(ROOT / "build_tools"))
    try:
        return __import__(name)
    finally:
        sys.path.pop(0)
