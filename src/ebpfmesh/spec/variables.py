"""Global data: the sections .rodata, .data and .bss (and .data.x, .rodata.x) and the variables in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ebpfmesh.errors import SpecError
from ebpfmesh.layout import Layout
from ebpfmesh.spec.btf import Btf
from ebpfmesh.spec.elf import STB_LOCAL, STT_OBJECT, Elf, ElfSection
from ebpfmesh.spec.model import DataSpec, VariableSpec

__all__ = ["read_data", "read_variables"]


class _Place(NamedTuple):
    """Where a variable lies in its section; ``layout`` is None without BTF."""

    offset: int
    size: int
    name: str
    layout: Layout | None


def _data_sections(elf: Elf) -> Iterator[ElfSection]:
    for section in elf.sections:
        name = section.name
        # .data.x and .rodata.x are maps of their own to libbpf; .bss.x is none
        if section.size and (name in (".bss", ".data", ".rodata") or name.startswith((".data.", ".rodata."))):
            yield section


def _is_constant(section: ElfSection) -> bool:
    return section.name.startswith(".rodata")


def read_data(elf: Elf) -> dict[str, DataSpec]:
    """The sections of global data by name."""
    return {
        section.name: DataSpec(
            name=section.name, size=section.size, constant=_is_constant(section), initial=section.data
        )
        for section in _data_sections(elf)
    }


def read_variables(elf: Elf, btf: Btf | None, where: str) -> dict[str, VariableSpec]:
    """The variables of all data sections by name, in the order of section and offset.

    A static variable of a function is named ``function.variable``. Where a name occurs twice, the first one counts.
    Errors: SpecError if a variable lies outside its section.
    """
    variables: dict[str, VariableSpec] = {}
    for section in _data_sections(elf):
        for place in sorted(_places(elf, section, btf), key=lambda place: place.offset):
            end = place.offset + place.size
            if end > section.size or (place.layout is not None and place.layout.size > place.size):
                raise SpecError(f"variable {place.name} leaves its section {section.name}", where=where)
            spec = VariableSpec(
                name=place.name,
                section=section.name,
                offset=place.offset,
                size=place.size,
                layout=place.layout,
                constant=_is_constant(section),
                # .bss may be declared larger than memory; its zeros are not worth a copy of each
                initial=b"" if section.nobits else section.data[place.offset : end],
            )
            variables.setdefault(place.name, spec)
    return variables


def _places(elf: Elf, section: ElfSection, btf: Btf | None) -> Iterator[_Place]:
    symbols = {
        symbol.name: symbol
        for symbol in reversed(elf.symbols)
        if symbol.section == section.number and symbol.type == STT_OBJECT
    }
    described = btf.variables(section.name) if btf else []
    if btf is None or not described:
        yield from (_Place(symbol.offset, symbol.size, symbol.name, None) for symbol in symbols.values())
        return
    for variable, place in described:
        layout = btf.layout(variable.type)
        symbol = symbols.get(variable.name)
        offset = place.offset
        # clang leaves the offset of a global to its symbol; that of a static variable is in the BTF
        if symbol is not None and (symbol.bind != STB_LOCAL or not btf.is_static(variable)):
            offset = symbol.offset
        yield _Place(offset, place.size or layout.size, variable.name, layout)
