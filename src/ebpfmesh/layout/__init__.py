"""Layouts of C types and typed codecs for them; pure, no kernel."""

from ebpfmesh.layout.address import Address
from ebpfmesh.layout.array import Array, Bytes
from ebpfmesh.layout.codec import check, codec_for
from ebpfmesh.layout.integer import Enum, Int
from ebpfmesh.layout.layout import Layout
from ebpfmesh.layout.record import Record
from ebpfmesh.layout.scalars import I8, I16, I32, I64, U8, U16, U32, U64, Bool, IPv4, IPv6, MappedAddress
from ebpfmesh.layout.structure import Field, Struct, StructValue

__all__ = [
    "I8",
    "I16",
    "I32",
    "I64",
    "U8",
    "U16",
    "U32",
    "U64",
    "Address",
    "Array",
    "Bool",
    "Bytes",
    "Enum",
    "Field",
    "IPv4",
    "IPv6",
    "Int",
    "Layout",
    "MappedAddress",
    "Record",
    "Struct",
    "StructValue",
    "check",
    "codec_for",
]
