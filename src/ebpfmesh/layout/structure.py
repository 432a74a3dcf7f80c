"""Struct: named fields at offsets, with padding that is always zero; and StructValue, what it unpacks to."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from operator import itemgetter
from typing import Any, ClassVar, NamedTuple, Self

from ebpfmesh.errors import MapTypeError
from ebpfmesh.layout.array import Bytes
from ebpfmesh.layout.integer import Int
from ebpfmesh.layout.layout import Layout, declaration

__all__ = ["Field", "Struct", "StructValue", "field_property", "value_class"]


class Field(NamedTuple):
    """A field of a struct: its name, its offset in bytes, its layout."""

    name: str
    offset: int
    layout: Layout

    @property
    def end(self) -> int:
        """The offset after its last byte."""
        return self.offset + self.layout.size


class StructValue(tuple[Any, ...]):
    """The value of a struct: an immutable tuple whose fields are attributes too, and ``value["name"]``."""

    __slots__ = ()
    _fields: ClassVar[tuple[str, ...]] = ()

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            try:
                key = self._fields.index(key)
            except ValueError:
                raise KeyError(key) from None
        return tuple.__getitem__(self, key)

    @classmethod
    def _make(cls, values: Iterable[Any]) -> Self:
        """An instance of the values in the order of the fields, unchecked."""
        return tuple.__new__(cls, values)

    def _asdict(self) -> dict[str, Any]:
        """The fields as a dict, nested structs too."""
        return {
            name: value._asdict() if isinstance(value, StructValue) else value
            for name, value in zip(self._fields, self, strict=True)
        }

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
        return f"{type(self).__name__}({fields})"


def field_property(index: int) -> property:
    """The attribute of a StructValue that is its element ``index``."""
    return property(itemgetter(index))


def value_class(name: str, fields: Iterable[str]) -> type[StructValue]:
    """A StructValue class with one attribute per field; a field may be named like a keyword or a method."""
    names = tuple(fields)
    attributes: dict[str, Any] = {field: field_property(index) for index, field in enumerate(names)}
    # two names are the class's own; such a field is reached by its index or ["_fields"]
    attributes |= {
        "_fields": names,
        "_asdict": StructValue._asdict,
        "_make": StructValue._make,
        "__slots__": (),
    }
    return type(name or "struct", (StructValue,), attributes)


class Struct(Layout):
    """A struct of ``size`` bytes with ``fields`` in ascending, non-overlapping order.

    A value is a mapping with every field, a tuple in the order of the fields, or a StructValue of the same fields;
    it unpacks to the class ``value`` (default: one made of the fields). ``name`` is the C tag, kept for people only.
    Errors: MapTypeError if fields overlap or leave the struct.
    """

    def __init__(
        self,
        size: int,
        fields: Iterable[Field],
        *,
        name: str = "",
        align: int = 0,
        value: type[StructValue] | None = None,
    ) -> None:
        self.size, self.fields, self.name = size, tuple(fields), name
        self.align = align or max((field.layout.align for field in self.fields), default=1)
        self.nodes = 1 + sum(field.layout.nodes for field in self.fields)
        end, seen = 0, set()
        for field in self.fields:
            if field.offset < end or field.end > size:
                raise MapTypeError(
                    f"bytes {field.offset} to {field.end} overlap or leave {size}", where=field.name
                )
            if field.name in seen:
                raise MapTypeError("two fields have this name", where=field.name)
            end = field.end
            seen.add(field.name)
        self._value = value

    @property
    def signature(self) -> str:
        fields = ",".join(f"{field.name}@{field.offset}:{field.layout.signature}" for field in self.fields)
        return f"struct{self.size}{{{fields}}}"

    def declare(self, name: str = "") -> str:
        fields = " ".join(f"{field.layout.declare(field.name)};" for field in self.fields)
        return declaration(f"struct {self.name} {{ {fields} }}".replace("  ", " "), name)

    def code(self) -> str:
        parts, end = [], 0
        for field in self.fields:
            parts += [f"{field.offset - end}x"] if field.offset > end else []
            parts.append(field.layout.code())
            end = field.end
        return "".join(parts) + (f"{self.size - end}x" if self.size > end else "")

    @property
    def is_leaf(self) -> bool:
        return False

    @cached_property
    def value(self) -> type[StructValue]:
        """The class of its unpacked values."""
        return self._value or value_class(self.name, (field.name for field in self.fields))

    @cached_property
    def _make(self) -> Callable[[Iterable[Any]], StructValue]:
        return partial(tuple.__new__, self.value)

    @cached_property
    def _level(self) -> _Level:
        return _Level(self)

    def spread(self, value: Any, leaves: list[Any], where: str) -> None:
        prefix = f"{where}." if where else ""
        if isinstance(value, Mapping):
            if unknown := set(value) - {field.name for field in self.fields}:
                raise MapTypeError(
                    f"the struct has no field {sorted(map(str, unknown))[0]}", where=where or self.format
                )
        elif not isinstance(value, tuple | list):
            raise MapTypeError(f"{value!r} is no struct", where=where, remedy=f"want {self.format}")
        elif len(value) != len(self.fields):
            raise MapTypeError(
                f"{len(value)} values where {len(self.fields)} are wanted", where=where or self.format
            )
        elif isinstance(value, StructValue) and value._fields != tuple(field.name for field in self.fields):
            # a key passed for a value would fit by accident
            raise MapTypeError(f"{value!r} has other fields", where=where, remedy=f"want {self.format}")
        for index, field in enumerate(self.fields):
            key: Any = field.name if isinstance(value, Mapping) else index
            try:
                member = value[key]
            except KeyError:
                raise MapTypeError("no value was given", where=f"{prefix}{field.name}") from None
            field.layout.spread(member, leaves, f"{prefix}{field.name}")

    def gather(self, leaves: Iterator[Any]) -> Any:
        return self._make([field.layout.gather(leaves) for field in self.fields])

    def pack(self, value: Any) -> bytes:
        try:
            if type(value) in (tuple, self.value):
                return self._level.pack(value)
            if type(value) is dict and len(value) == len(self.fields):
                return self._level.pack([value[name] for name in self._level.names])
        except (struct.error, LookupError, TypeError):  # MapTypeError is a TypeError
            pass
        return super().pack(value)  # says why, with the path of the field

    def unpack(self, data: bytes | bytearray | memoryview) -> Any:
        if self._level.nested or len(data) != self.size:
            return super().unpack(data)
        return self._make(self.compiled.unpack(data))

    def unpack_many(self, data: bytes | bytearray | memoryview) -> list[Any]:
        if self._level.nested or not self.size:
            return super().unpack_many(data)
        self.whole(data)
        return list(map(self._make, self.compiled.iter_unpack(data)))


class _Level:
    """The fast way: one precompiled pack of all fields, in which a nested field is the bytes that it packs itself.

    Its errors carry no path; the caller then takes the slow way, which has one.
    """

    def __init__(self, layout: Struct) -> None:
        direct = {
            index
            for index, field in enumerate(layout.fields)
            if isinstance(field.layout, Bytes) or (isinstance(field.layout, Int) and not field.layout.boolean)
        }
        self.names = [field.name for field in layout.fields]
        # the struct module would fill up or cut bytes of another length silently
        self.exact = [
            (index, field.layout.size)
            for index, field in enumerate(layout.fields)
            if index in direct and isinstance(field.layout, Bytes)
        ]
        self.nested = [
            (index, field.layout) for index, field in enumerate(layout.fields) if index not in direct
        ]
        codes, end = ["<"], 0
        for index, field in enumerate(layout.fields):
            codes.append(f"{field.offset - end}x" if field.offset > end else "")
            codes.append(field.layout.code() if index in direct else f"{field.layout.size}s")
            end = field.end
        self.compiled = struct.Struct("".join(codes) + (f"{layout.size - end}x" if layout.size > end else ""))

    def pack(self, value: Sequence[Any]) -> bytes:
        if self.nested:
            members = list(value)
            for index, layout in self.nested:
                members[index] = layout.pack(members[index])
            value = members
        for index, length in self.exact:
            if len(value[index]) != length:
                raise TypeError("bytes of another length")
        return self.compiled.pack(*value)
