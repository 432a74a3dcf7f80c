"""The annotations of a Record's fields, and the types of plain keys and values: U8 to U64, I8 to I64, Bool, addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from ebpfmesh.layout.address import Address
from ebpfmesh.layout.integer import Int

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

__all__ = ["I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64", "Bool", "IPv4", "IPv6", "MappedAddress"]

U8 = Annotated[int, Int(1)]
U16 = Annotated[int, Int(2)]
U32 = Annotated[int, Int(4)]
U64 = Annotated[int, Int(8)]
I8 = Annotated[int, Int(1, signed=True)]
I16 = Annotated[int, Int(2, signed=True)]
I32 = Annotated[int, Int(4, signed=True)]
I64 = Annotated[int, Int(8, signed=True)]
Bool = Annotated[bool, Int(1, boolean=True)]

IPv4 = Annotated["IPv4Address", Address(4)]
IPv6 = Annotated["IPv6Address", Address(16)]
# IPv4 and IPv6 in 128 bits, IPv4 as ::ffff:a.b.c.d
MappedAddress = Annotated["IPv4Address | IPv6Address", Address(16, mapped=True)]
