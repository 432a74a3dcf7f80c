"""From BTF types to layouts.

Named or anonymous structs become Struct (an anonymous member's fields become the outer struct's own, as in C). What
has no single meaning for its bytes becomes Bytes that carry its C name: unions, structs with bit fields, floats,
integers wider than 8 bytes.
"""

from __future__ import annotations

from ebpfmesh.errors import MapTypeError
from ebpfmesh.layout import Array, Bytes, Enum, Field, Int, Layout, Struct
from ebpfmesh.spec.btf import MODIFIERS, Btf, Kind, Member, Type

__all__ = ["LayoutReader"]

_MAX_DEPTH = 32
_MAX_NODES = 65536  # a type that nests others exponentially is refused, not expanded
_MAX_SIZE = 1 << 32
_SIGNED, _BOOL = 1, 4


class LayoutReader:
    """Makes the layout of a BTF type by its number; the same number gives the same object."""

    def __init__(self, btf: Btf) -> None:
        self.btf = btf
        self._known: dict[int, Layout] = {}

    def layout(self, number: int, depth: int = 0) -> Layout:
        """The layout of type ``number``. SpecError if it has no size or is too deep or too large."""
        if number in self._known:
            return self._known[number]
        type = self.btf.resolve(number)
        if depth > _MAX_DEPTH:
            raise self.btf.error(
                f"type {number} ({type.name}) nests more than {_MAX_DEPTH} deep, or holds itself"
            )
        try:
            layout = self._make(type, self._name(number), depth)
        except MapTypeError as error:  # a layout's own check: overlapping fields, an odd width
            raise self.btf.error(f"type {number} ({type.name}): {error}") from error
        if layout.nodes > _MAX_NODES or layout.size >= _MAX_SIZE:
            raise self.btf.error(f"type {number} ({type.name}) is too large: {layout.size} bytes")
        self._known[number] = layout
        return layout

    def _name(self, number: int) -> str:
        """The outermost typedef's name, else the type's own."""
        type = self.btf.type(number)
        while type.kind in MODIFIERS:
            if type.kind is Kind.TYPEDEF:
                return type.name
            type = self.btf.type(type.type)  # resolve() has proved that the chain ends
        return type.name

    def _make(self, type: Type, name: str, depth: int) -> Layout:  # noqa: PLR0911 - one return for each kind
        match type.kind:
            case Kind.INT:
                return self._integer(type, name)
            case Kind.PTR:
                return Int(8, name="void *")
            case Kind.ENUM if type.size == 8:
                # clang before 15 has no ENUM64 and cuts the enumerators to 32 bits: better none than wrong ones
                return Int(8, signed=type.flag, name=f"enum {type.name}".rstrip())
            case Kind.ENUM | Kind.ENUM64:
                return Enum(type.size, self.btf.enumerators(type), signed=type.flag, name=type.name)
            case Kind.ARRAY:
                return self._array(type, depth)
            case Kind.STRUCT:
                return self._struct(type, depth)
            case Kind.UNION:
                return Bytes(type.size, name=f"union {type.name}".rstrip(), align=self._align(type, depth))
            case Kind.FLOAT:
                return Bytes(type.size, name=type.name, align=max(type.size, 1))
            case _:
                what = f"{type.kind.name} {type.name}".rstrip()
                raise self.btf.error(f"type {type.number} ({what}) has no size")

    def _integer(self, type: Type, name: str) -> Layout:
        encoding, offset, bits = self.btf.integer(type)
        if type.size not in (1, 2, 4, 8) or offset or bits != 8 * type.size:
            return Bytes(type.size, name=name, align=max(min(type.size, 16), 1))
        if encoding & _BOOL and type.size == 1:
            return Int(1, boolean=True, name=name)
        return Int(type.size, signed=bool(encoding & _SIGNED), name=name)

    def _array(self, type: Type, depth: int) -> Layout:
        element, count = self.btf.array(type)
        resolved = self.btf.resolve(element)
        if resolved.kind is Kind.INT and resolved.size == 1:
            encoding, _offset, _bits = self.btf.integer(resolved)
            # clang says "signed" of char, so its name is what tells it from signed char
            if resolved.name == "char" or not encoding & (_SIGNED | _BOOL):
                return Bytes(count, text=resolved.name == "char")
        return Array(self.layout(element, depth + 1), count)

    def _struct(self, type: Type, depth: int) -> Layout:
        members = self.btf.members(type)
        fields: list[Field] = []
        align = 1
        for member in members:
            if member.bits:
                if not member.name:
                    continue  # an unnamed bit field is padding (struct bpf_timer is nothing else)
                return Bytes(type.size, name=f"struct {type.name}".rstrip(), align=self._align(type, depth))
            if member.bit_offset % 8:
                raise self.btf.error(f"field {member.name} of {type.name} is at bit {member.bit_offset}")
            found = self._fields(member, depth)
            align = max([align, *(field.layout.align for field in found)])
            fields += found
        # a packed struct's fields break their natural alignment; then it has none itself
        if type.size % align or any(field.offset % field.layout.align for field in fields):
            align = 1
        # flexible and zero-length arrays hold nothing and may share an offset with the next field
        fields = [field for field in fields if field.layout.size]
        return Struct(type.size, fields, name=type.name, align=align)

    def _fields(self, member: Member, depth: int) -> list[Field]:
        offset = member.bit_offset // 8
        layout = self.layout(member.type, depth + 1)
        if member.name:
            return [Field(member.name, offset, layout)]
        if isinstance(layout, Struct):  # anonymous: in C its fields are the outer struct's
            return [Field(field.name, offset + field.offset, field.layout) for field in layout.fields]
        return [Field(f"unnamed_at_{offset}", offset, layout)]

    def _align(self, type: Type, depth: int) -> int:
        """The natural alignment of a union or of a struct that is read as bytes."""
        aligns = [1]
        for member in self.btf.members(type):
            layout = self.layout(member.type, depth + 1)
            if not member.bit_offset % (8 * layout.align):
                aligns.append(layout.align)
        return max(aligns) if type.size % max(aligns) == 0 else 1
