"""Layouts of C types and typed codecs for them; pure, no kernel."""

from ebpfmesh.layout.array import Array, Bytes
from ebpfmesh.layout.integer import Enum, Int
from ebpfmesh.layout.layout import Layout
from ebpfmesh.layout.structure import Field, Struct, StructValue

__all__ = ["Array", "Bytes", "Enum", "Field", "Int", "Layout", "Struct", "StructValue"]
