"""Address: IP addresses in network byte order, as a layout of 4 or 16 bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ebpfmesh.errors import MapTypeError
from ebpfmesh.layout.layout import Layout, declaration

__all__ = ["Address"]


class Address(Layout):
    """An ``ipaddress`` address in ``size`` bytes, 4 or 16, network byte order.

    With ``mapped`` (16 bytes) an IPv4 address is stored as ``::ffff:a.b.c.d`` and comes back as IPv4Address. A value is
    an address object, its text, or its packed bytes.
    """

    def __init__(self, size: int, *, mapped: bool = False) -> None:
        if size not in (4, 16) or (mapped and size != 16):
            raise MapTypeError(f"no IP address has {size} bytes", remedy="4, or 16")
        self.size, self.mapped = size, mapped
        self.align, self.nodes = 1, 1

    @property
    def signature(self) -> str:
        return f"bytes[{self.size}]"

    def declare(self, name: str = "") -> str:
        return declaration("u8", f"{name}[{self.size}]")

    def code(self) -> str:
        return f"{self.size}s"

    @property
    def is_leaf(self) -> bool:
        return False  # the struct module gives bytes, not the address

    def spread(self, value: Any, leaves: list[Any], where: str) -> None:
        import ipaddress

        try:
            # ip_address() would read an integer too, and guess its family
            packed = bytes(value) if isinstance(value, bytes | bytearray | memoryview) else None
            if packed is None:
                packed = getattr(value, "packed", None) or ipaddress.ip_address(str(value)).packed
        except ValueError:
            raise MapTypeError(f"{value!r} is no IP address", where=where) from None
        if self.mapped and len(packed) == 4:
            packed = bytes(10) + b"\xff\xff" + packed
        if len(packed) != self.size:
            raise MapTypeError(f"{value!r} has {len(packed)} bytes where {self.size} are wanted", where=where)
        leaves.append(packed)

    def gather(self, leaves: Iterator[Any]) -> Any:
        import ipaddress

        packed = next(leaves)
        if self.size == 4:
            return ipaddress.IPv4Address(packed)
        if self.mapped and packed.startswith(bytes(10) + b"\xff\xff"):
            return ipaddress.IPv4Address(packed[12:])
        return ipaddress.IPv6Address(packed)
