"""What a BPF object holds, read offline; pure, no kernel.

The enums are cheap to import; the rest is imported at first use, so that a hook does not pay for the reader.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ebpfmesh.spec.enums import AttachType, MapFlags, MapType, ProgramType

if TYPE_CHECKING:
    from ebpfmesh.spec.model import DataSpec, MapSpec, ProgramSpec, VariableSpec
    from ebpfmesh.spec.object import ObjectSpec

__all__ = [
    "AttachType",
    "DataSpec",
    "MapFlags",
    "MapSpec",
    "MapType",
    "ObjectSpec",
    "ProgramSpec",
    "ProgramType",
    "VariableSpec",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{'object' if name == 'ObjectSpec' else 'model'}"), name)
