"""What a BPF object holds, read offline; pure, no kernel."""

from ebpfmesh.spec.enums import AttachType, MapFlags, MapType, ProgramType
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
