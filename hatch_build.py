"""The wheel's build hook: compiles the BPF objects and generates the cffi module, so that no compiler is needed later."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).parent


class Build(BuildHookInterface[Any]):
    """Runs before the wheel (or editable install) is put together; the sdist carries sources only."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        sys.path.insert(0, str(ROOT / "build_tools"))
        try:
            import bpf_objects
            import cffi_module
        finally:
            sys.path.pop(0)
        cffi_module.generate(ROOT / "src/ebpfmesh/lowlevel")
        bpf_objects.build(ROOT / "src/ebpfmesh/bpf")
