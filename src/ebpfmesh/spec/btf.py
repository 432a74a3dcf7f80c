"""BTF: the types of an object's .BTF section (Documentation/bpf/btf.rst of the kernel).

Reads every kind up to ENUM64 (Linux 6.0). Whatever is inconsistent is one SpecError; the types are checked as they
are read, except for references, which are checked where they are followed.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from ebpfmesh.errors import SpecError

if TYPE_CHECKING:
    from ebpfmesh.layout import Layout
    from ebpfmesh.spec.btf_layout import LayoutReader

__all__ = ["Btf", "Kind", "Member", "SectionVariable", "Type"]

_MAGIC = 0xEB9F
_HEADER = struct.Struct("<HBBIIIII")  # struct btf_header
_MAX_CHAIN = 32  # the kernel's own limit of nested modifiers (MAX_RESOLVE_DEPTH)


class Kind(IntEnum):
    """``BTF_KIND_*``."""

    VOID = 0
    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


MODIFIERS = frozenset({Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG})
# bytes that follow struct btf_type: a fixed number, and so many for each of its vlen elements
_FIXED = {Kind.INT: 4, Kind.ARRAY: 12, Kind.VAR: 4, Kind.DECL_TAG: 4}
_EACH = {
    Kind.STRUCT: 12,
    Kind.UNION: 12,
    Kind.ENUM: 8,
    Kind.FUNC_PROTO: 8,
    Kind.DATASEC: 12,
    Kind.ENUM64: 12,
}


class Member(NamedTuple):
    """A member of a struct or union; ``bits`` is its width if it is a bit field, else 0."""

    name: str
    type: int
    bit_offset: int
    bits: int


class SectionVariable(NamedTuple):
    """A variable of a DATASEC: the type number of its VAR, offset and size in bytes."""

    type: int
    offset: int
    size: int


class Type(NamedTuple):
    """One type: ``size`` in bytes where the kind has a size, ``type`` where it refers to another one."""

    number: int
    kind: Kind
    name: str
    flag: bool
    size_or_type: int
    vlen: int
    payload: bytes

    @property
    def size(self) -> int:
        """Its size in bytes (INT, STRUCT, UNION, ENUM, ENUM64, FLOAT, DATASEC)."""
        return self.size_or_type

    @property
    def type(self) -> int:
        """The number of the type that it refers to (PTR, modifiers, VAR, FUNC)."""
        return self.size_or_type


class Btf:
    """The types of a .BTF section by number; type 0 is void. SpecError if the section is corrupt."""

    def __init__(self, data: bytes, where: str = "BTF") -> None:
        self.where = where
        if len(data) < _HEADER.size:
            raise self.error(f"the header is truncated after {len(data)} bytes")
        magic, version, _flags, header, type_offset, type_size, string_offset, string_size = (
            _HEADER.unpack_from(data)
        )
        if magic != _MAGIC:
            raise self.error("it is big-endian" if magic == 0x9FEB else f"its magic number is {magic:#06x}")
        if version != 1:
            raise self.error(f"its version is {version}, not 1")
        if header < _HEADER.size or header + max(type_offset + type_size, string_offset + string_size) > len(
            data
        ):
            raise self.error("its tables end after the section")
        self._strings = data[header + string_offset : header + string_offset + string_size]
        if self._strings[:1] != b"\0" or self._strings[-1:] != b"\0":
            raise self.error("its string table does not begin and end with NUL")
        self._layouts: LayoutReader | None = None
        self.types = self._read(data[header + type_offset : header + type_offset + type_size])

    def error(self, what: str) -> SpecError:
        """A SpecError about this section."""
        return SpecError(
            f".BTF: {what}", where=self.where, remedy="compile it again with clang -g -target bpf"
        )

    def string(self, offset: int) -> str:
        """The string at ``offset`` of the string table."""
        if offset >= len(self._strings):
            raise self.error(f"string offset {offset} is outside its table")
        return self._strings[offset : self._strings.index(b"\0", offset)].decode("utf-8", "replace")

    def _read(self, table: bytes) -> list[Type]:
        types = [Type(0, Kind.VOID, "void", False, 0, 0, b"")]
        position = 0
        while position < len(table):
            if position + 12 > len(table):
                raise self.error(f"type {len(types)} is truncated")
            name, info, size_or_type = struct.unpack_from("<III", table, position)
            count, number, flag = info & 0xFFFF, info >> 24 & 0x1F, bool(info >> 31)
            if not 0 < number <= Kind.ENUM64:
                raise self.error(f"type {len(types)} is of the unknown kind {number}")
            kind = Kind(number)
            position += 12
            end = position + _FIXED.get(kind, 0) + _EACH.get(kind, 0) * count
            if end > len(table):
                raise self.error(f"type {len(types)} is truncated")
            types.append(
                Type(len(types), kind, self.string(name), flag, size_or_type, count, table[position:end])
            )
            position = end
        return types

    def type(self, number: int) -> Type:
        """The type of this number."""
        if not 0 <= number < len(self.types):
            raise self.error(f"there is no type {number}")
        return self.types[number]

    def resolve(self, number: int) -> Type:
        """The type behind typedefs, const, volatile, restrict and type tags."""
        for _ in range(_MAX_CHAIN):
            found = self.type(number)
            if found.kind not in MODIFIERS:
                return found
            number = found.type
        raise self.error(f"type {number} is behind more than {_MAX_CHAIN} typedefs, or refers to itself")

    def pointee(self, number: int) -> Type:
        """The type that the pointer of this number points to, resolved."""
        pointer = self.resolve(number)
        if pointer.kind is not Kind.PTR:
            raise self.error(f"type {number} is no pointer")
        return self.resolve(pointer.type)

    def members(self, type: Type) -> list[Member]:
        """The members of a struct or union."""
        members = []
        for name, number, offset in struct.iter_unpack("<III", type.payload):
            # with the kind flag, the offset's top byte is the width of a bit field
            bits, position = (offset >> 24, offset & 0xFFFFFF) if type.flag else (0, offset)
            members.append(Member(self.string(name), number, position, bits))
        return members

    def array(self, type: Type) -> tuple[int, int]:
        """The element's type number and the count of an array."""
        element, _index, count = struct.unpack("<III", type.payload)
        return element, count

    def enumerators(self, type: Type) -> dict[str, int]:
        """The names and numbers of an ENUM or ENUM64."""
        if type.kind is Kind.ENUM:
            code = "<Ii" if type.flag else "<II"
            return {self.string(name): number for name, number in struct.iter_unpack(code, type.payload)}
        values = {}
        for name, low, high in struct.iter_unpack("<III", type.payload):
            number = high << 32 | low
            values[self.string(name)] = number - (1 << 64) if type.flag and number >> 63 else number
        return values

    def integer(self, type: Type) -> tuple[int, int, int]:
        """The encoding (1 signed, 2 char, 4 bool), bit offset and width in bits of an INT."""
        (word,) = struct.unpack("<I", type.payload)
        return word >> 24 & 0xF, word >> 16 & 0xFF, word & 0xFF

    def variables(self, section: str) -> list[tuple[Type, SectionVariable]]:
        """The variables of the DATASEC named ``section``: each VAR type with its place; none if there is none."""
        for type in self.types:
            if type.kind is Kind.DATASEC and type.name == section:
                places = [SectionVariable(*place) for place in struct.iter_unpack("<III", type.payload)]
                found = [(self.type(place.type), place) for place in places]
                # a FUNC stands in a DATASEC of externs (.ksyms); it is no data
                return [(variable, place) for variable, place in found if variable.kind is Kind.VAR]
        return []

    def layout(self, number: int) -> Layout:
        """The layout of type ``number``. SpecError if the type has no size, or nests too deep."""
        from ebpfmesh.spec.btf_layout import LayoutReader

        if self._layouts is None:
            self._layouts = LayoutReader(self)
        return self._layouts.layout(number)

    def is_static(self, variable: Type) -> bool:
        """Whether a VAR has static linkage."""
        return variable.payload == bytes(4)
