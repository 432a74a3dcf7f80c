"""BTF-defined maps: what ``__uint``, ``__type`` and ``__array`` in section .maps say, as libbpf reads them."""

from __future__ import annotations

from typing import Any

from ebpfmesh.errors import SpecError
from ebpfmesh.spec.btf import Btf, Kind, Member, Type
from ebpfmesh.spec.enums import MapFlags, MapType
from ebpfmesh.spec.model import MapSpec

__all__ = ["read_maps"]

# field of the definition -> field of MapSpec
_NUMBERS = {
    "type": "type",
    "max_entries": "max_entries",
    "map_flags": "flags",
    "numa_node": "numa_node",
    "key_size": "key_size",
    "value_size": "value_size",
    "map_extra": "extra",
    "pinning": "pinning",
}
_TYPES = {"key": "key_size", "value": "value_size"}
_OF_MAPS = (MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS)


def read_maps(btf: Btf) -> dict[str, MapSpec]:
    """Every map of section .maps by name, in the order of the section. SpecError that names map and field."""
    maps = {}
    for variable, _place in btf.variables(".maps"):
        if variable.name in maps:
            raise _error(btf, variable.name, "it is defined twice")
        maps[variable.name] = _Definition(btf, variable.name).read(btf.resolve(variable.type))
    return maps


def _error(btf: Btf, name: str, what: str) -> SpecError:
    return SpecError(
        f"map {name}: {what}", where=btf.where, remedy="see __uint, __type, __array of bpf_helpers.h"
    )


class _Definition:
    """One definition while it is read."""

    def __init__(self, btf: Btf, name: str, *, inner: bool = False) -> None:
        self.btf, self.name, self.inner = btf, name, inner
        self.found: dict[str, Any] = {}

    def error(self, what: str) -> SpecError:
        return _error(self.btf, self.name, what)

    def read(self, definition: Type) -> MapSpec:
        if definition.kind is not Kind.STRUCT:
            raise self.error("its definition is no struct")
        for member in self.btf.members(definition):
            self._member(member)
        if "type" not in self.found:
            raise self.error("it has no type")
        found = self.found
        try:
            found["type"] = MapType(found["type"])
        except ValueError:
            raise self.error(f"map type {found['type']} is unknown") from None
        found["flags"] = MapFlags(found.get("flags", 0))
        if found.get("pinning", 0) not in (0, 1):
            raise self.error(f"pinning {found['pinning']} is unknown")
        if found.get("inner") is not None and found["type"] not in _OF_MAPS:
            raise self.error("it has inner maps but is no map of maps")
        return MapSpec(name=self.name, **found)

    def _member(self, member: Member) -> None:
        if member.name in _NUMBERS:
            self._set(_NUMBERS[member.name], self._number(member))
        elif member.name in _TYPES:
            pointer = self.btf.resolve(member.type)
            if pointer.kind is not Kind.PTR:
                raise self.error(f"its field {member.name} is no pointer")
            layout = self.btf.layout(pointer.type)
            self.found[member.name] = layout
            self._set(_TYPES[member.name], layout.size)
        elif member.name == "values":
            self._values(member)
        else:
            raise self.error(f"its field {member.name or 'without a name'} is unknown")

    def _set(self, field: str, number: int) -> None:
        """A size may be said twice (by number and by type), but not differently."""
        if self.found.setdefault(field, number) != number:
            raise self.error(f"{field} is both {self.found[field]} and {number}")

    def _number(self, member: Member) -> int:
        # __uint(name, n) is int (*name)[n]; __ulong(name, n) is an enum with the one enumerator n (libbpf 1.4)
        type = self.btf.resolve(member.type)
        if type.kind is Kind.PTR:
            pointee = self.btf.resolve(type.type)
            if pointee.kind is Kind.ARRAY:
                return self.btf.array(pointee)[1]
        elif type.kind in (Kind.ENUM, Kind.ENUM64):
            values = list(self.btf.enumerators(type).values())
            if len(values) == 1:
                return values[0]
        raise self.error(f"its field {member.name} is no number")

    def _values(self, member: Member) -> None:
        array = self.btf.resolve(member.type)
        if array.kind is not Kind.ARRAY:
            raise self.error("its field values is no array")
        if self.inner:
            raise self.error("an inner map has inner maps")
        self._set("value_size", 4)
        element = self.btf.pointee(self.btf.array(array)[0])
        if element.kind is Kind.STRUCT:
            self.found["inner"] = _Definition(self.btf, f"{self.name}.inner", inner=True).read(element)
        elif element.kind is not Kind.FUNC_PROTO:  # a PROG_ARRAY's values are functions
            raise self.error("its values are neither maps nor programs")
