"""Global data: the sections .rodata, .data and .bss (and .data.x, .rodata.x) and the variables in them."""

from __future__ import annotations

from collections.abc import Iterator

from ebpfmesh.errors import SpecError
from ebpfmesh.spec.btf import Btf
from ebpfmesh.spec.btf_layout import LayoutReader
from ebpfmesh.spec.elf import STB_LOCAL, STT_OBJECT, Elf, ElfSection
from ebpfmesh.spec.model import DataSpec, VariableSpec

__all__ = ["read_data", "read_variables"]


def _data_sections(elf: Elf) -> Iterator[ElfSection]:
    for section in elf.sections:
        head = section.name.split(".")[1:2]
        if section.name.startswith(".") and head in (["data"], ["rodata"], ["bss"]) and section.size:
            # libbpf knows .data.x and .rodata.x; .bss has no custom names
            if head == ["bss"] and section.name != ".bss":
                continue
            yield section


def read_data(elf: Elf) -> dict[str, DataSpec]:
    """The sections of global data by name."""
    return {
        section.name: DataSpec(
            name=section.name,
            size=section.size,
            constant=section.name.startswith(".rodata"),
            initial=section.data,
        )
        for section in _data_sections(elf)
    }


def read_variables(
    elf: Elf, btf: Btf | None, layouts: LayoutReader | None, where: str
) -> dict[str, VariableSpec]:
    """The variables of all data sections by name, in the order of section and offset.

    A static variable of a function is named ``function.variable``. Where a name occurs twice, the first one counts.
    """
    variables: dict[str, VariableSpec] = {}
    for section in _data_sections(elf):
        symbols = {
            symbol.name: symbol
            for symbol in reversed(elf.symbols)
            if symbol.section == section.index and symbol.type == STT_OBJECT
        }
        found = []
        if btf is None or layouts is None or not btf.variables(section.name):
            found = [(symbol.name, symbol.offset, symbol.size, None) for symbol in symbols.values()]
        else:
            for variable, place in btf.variables(section.name):
                layout = layouts.layout(variable.type)
                symbol = symbols.get(variable.name)
                offset = place.offset
                # clang leaves the offset of a global to the symbol; that of a static variable is in the BTF
                if symbol is not None and (symbol.bind != STB_LOCAL or not btf.is_static(variable)):
                    offset = symbol.offset
                found.append((variable.name, offset, place.size or layout.size, layout))
        for name, offset, size, layout in sorted(found, key=lambda item: item[1]):
            if offset + size > section.size or (layout is not None and layout.size > size):
                raise SpecError(f"variable {name} leaves its section {section.name}", where=where)
            initial = bytes(size) if section.nobits else section.data[offset : offset + size]
            constant = section.name.startswith(".rodata")
            spec = VariableSpec(
                name=name,
                section=section.name,
                offset=offset,
                size=size,
                layout=layout,
                constant=constant,
                initial=initial,
            )
            variables.setdefault(name, spec)
    return variables
