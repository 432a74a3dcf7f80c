"""Int and Enum: integers of 1, 2, 4 or 8 bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ebpfmesh.errors import MapTypeError
from ebpfmesh.layout.layout import Layout, declaration

__all__ = ["Enum", "Int"]

_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}


class Int(Layout):
    """An integer of ``size`` bytes (1, 2, 4, 8), or with ``boolean`` a C bool of one byte.

    ``name`` is the C name, kept for people only: it is not part of the signature.
    """

    def __init__(self, size: int, *, signed: bool = False, boolean: bool = False, name: str = "") -> None:
        if size not in _CODES or (boolean and size != 1):
            raise MapTypeError(f"no integer has {size} bytes", remedy="use Bytes for wider ones")
        self.size = self.align = size
        self.signed, self.boolean, self.name = signed, boolean, name
        self.nodes = 1

    @property
    def signature(self) -> str:
        return "bool" if self.boolean else f"{'i' if self.signed else 'u'}{8 * self.size}"

    def declare(self, name: str = "") -> str:
        return declaration(self.name or self.signature, name)

    def code(self) -> str:
        if self.boolean:
            return "?"
        return _CODES[self.size].lower() if self.signed else _CODES[self.size]

    @property
    def is_leaf(self) -> bool:
        return True

    @property
    def range(self) -> tuple[int, int]:
        """The least and the greatest value."""
        if self.boolean:
            return 0, 1
        bits = 8 * self.size
        return (-(1 << bits - 1), (1 << bits - 1) - 1) if self.signed else (0, (1 << bits) - 1)

    def spread(self, value: Any, leaves: list[Any], where: str) -> None:
        least, greatest = self.range
        try:
            number = value.__index__()
        except AttributeError:
            raise MapTypeError(
                f"{value!r} is no integer", where=where, remedy=f"want {self.signature}"
            ) from None
        if not least <= number <= greatest:
            raise MapTypeError(f"{number} does not fit {self.signature}", where=where)
        leaves.append(number)

    def gather(self, leaves: Iterator[Any]) -> Any:
        return next(leaves)

    def pack(self, value: Any) -> bytes:
        if not self.boolean:
            try:
                return self.compiled.pack(value)
            except struct.error:
                pass  # the slow path says why
        elif value is True or value is False:  # the struct module would take any object as a bool
            return b"\1" if value else b"\0"
        return super().pack(value)

    def unpack(self, data: bytes | bytearray | memoryview) -> Any:
        if len(data) != self.size:
            return super().unpack(data)  # raises
        return self.compiled.unpack(data)[0]

    def pack_many(self, values: Iterable[Any]) -> bytes:
        values = tuple(values)
        if not self.boolean:
            try:
                return struct.pack(f"<{len(values)}{self.code()}", *values)
            except struct.error:
                pass
        return super().pack_many(values)

    def unpack_many(self, data: bytes | bytearray | memoryview) -> list[Any]:
        self.whole(data)
        return list(struct.unpack(f"<{len(data) // self.size}{self.code()}", data))


class Enum(Int):
    """An enumeration: its integer, with the enumerators ``values`` (name -> number). Unpacks to the number."""

    def __init__(self, size: int, values: Mapping[str, int], *, signed: bool = False, name: str = "") -> None:
        super().__init__(size, signed=signed, name=f"enum {name}".rstrip())
        self.values = dict(values)

    @property
    def signature(self) -> str:
        # renumbered enumerators change what stored bytes mean, so they are part of it
        return f"e{8 * self.size}{{{','.join(f'{name}={number}' for name, number in self.values.items())}}}"

    def spread(self, value: Any, leaves: list[Any], where: str) -> None:
        """Takes a number, or the name of an enumerator."""
        if isinstance(value, str):
            if value not in self.values:
                raise MapTypeError(f"{value!r} is no enumerator of {self.declare()}", where=where)
            value = self.values[value]
        super().spread(value, leaves, where)
