"""Array and Bytes: repeated elements, and raw bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Annotated, Any

from ebpfmesh.errors import MapTypeError
from ebpfmesh.layout.layout import Layout, declaration

__all__ = ["Array", "Bytes"]


class Bytes(Layout):
    """``size`` raw bytes: ``u8[n]``, ``char[n]``, and what has no better view (unions, bit fields, floats).

    ``text`` (a char array) takes shorter values and fills up with zeros; otherwise the length must be exact.
    ``name`` is the C name where it is neither, kept for people only. ``Bytes[16]`` is the annotation of a Record's
    field; where a type checker reads it, ``Annotated[bytes, Bytes(16)]`` is the same.
    """

    def __init__(self, size: int, *, text: bool = False, name: str = "", align: int = 1) -> None:
        self.size, self.text, self.name, self.align = size, text, name, align
        self.nodes = 1

    def __class_getitem__(cls, size: int) -> Any:
        return Annotated[bytes, cls(size)]

    @property
    def signature(self) -> str:
        return f"{'char' if self.text else 'bytes'}[{self.size}]"

    def declare(self, name: str = "") -> str:
        if self.name:
            return declaration(self.name, name)
        return declaration("char" if self.text else "u8", f"{name}[{self.size}]")

    def code(self) -> str:
        return f"{self.size}s"

    @property
    def is_leaf(self) -> bool:
        return True

    def spread(self, value: Any, leaves: list[Any], where: str) -> None:
        if not isinstance(value, bytes | bytearray | memoryview):
            raise MapTypeError(f"{value!r} is no bytes", where=where, remedy=f"want {self.size} bytes")
        if len(value) != self.size and (not self.text or len(value) > self.size):
            raise MapTypeError(f"{len(value)} bytes where {self.size} are wanted", where=where)
        leaves.append(bytes(value))

    def gather(self, leaves: Iterator[Any]) -> Any:
        return next(leaves)

    def pack(self, value: Any) -> bytes:
        if type(value) is bytes and len(value) == self.size:
            return value
        return super().pack(value)

    def unpack(self, data: bytes | bytearray | memoryview) -> Any:
        if len(data) != self.size:
            return super().unpack(data)  # raises
        return bytes(data)


class Array(Layout):
    """``count`` elements ``of`` one layout; a value is a sequence, unpacked to a tuple.

    ``Array[U32, 4]`` is the annotation of a Record's field.
    """

    def __init__(self, of: Layout, count: int) -> None:
        self.of, self.count = of, count
        self.size, self.align = of.size * count, of.align
        self.nodes = of.nodes + 1

    def __class_getitem__(cls, parameters: tuple[Any, int]) -> Any:
        from ebpfmesh.layout.codec import codec_for

        of, count = parameters
        return Annotated[tuple[Any, ...], cls(codec_for(of), count)]

    @property
    def signature(self) -> str:
        return f"{self.of.signature}[{self.count}]"

    def declare(self, name: str = "") -> str:
        return self.of.declare(f"{name}[{self.count}]")

    def code(self) -> str:
        code = self.of.code()
        # a count before a letter repeats it, except before "s", where it is the length
        return f"{self.count}{code}" if len(code) == 1 else code * self.count

    @property
    def is_leaf(self) -> bool:
        return False

    def spread(self, value: Any, leaves: list[Any], where: str) -> None:
        if isinstance(value, str | bytes) or not isinstance(value, Iterable):
            raise MapTypeError(f"{value!r} is no sequence", where=where, remedy=f"want {self.count} values")
        elements = tuple(value)
        if len(elements) != self.count:
            raise MapTypeError(f"{len(elements)} values where {self.count} are wanted", where=where)
        for index, element in enumerate(elements):
            self.of.spread(element, leaves, f"{where}[{index}]")

    def gather(self, leaves: Iterator[Any]) -> Any:
        if self.of.is_leaf:
            return tuple(islice(leaves, self.count))
        gather = self.of.gather
        return tuple([gather(leaves) for _ in range(self.count)])

    def pack(self, value: Any) -> bytes:
        if type(value) in (tuple, list) and len(value) == self.count:
            try:
                return self.of.pack_many(value)
            except MapTypeError:
                pass  # the slow path names the element
        return super().pack(value)

    def unpack(self, data: bytes | bytearray | memoryview) -> Any:
        if self.of.is_leaf and len(data) == self.size:
            return self.compiled.unpack(data)
        return super().unpack(data)
