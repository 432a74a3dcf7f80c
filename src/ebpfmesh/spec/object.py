"""ObjectSpec: what a .bpf.o holds, read offline: no privileges, the same answer on every machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from ebpfmesh.errors import SpecError
from ebpfmesh.spec import sections
from ebpfmesh.spec.btf import Btf
from ebpfmesh.spec.elf import STB_LOCAL, STT_FUNC, Elf, read_elf
from ebpfmesh.spec.map_definition import read_maps
from ebpfmesh.spec.model import DataSpec, MapSpec, ProgramSpec, VariableSpec
from ebpfmesh.spec.variables import read_data, read_variables

__all__ = ["ObjectSpec"]

_MAX_FILE = 256 << 20


class ObjectSpec:
    """The contents of one BPF object file.

    ``programs``, ``maps``, ``variables`` and ``sections`` (global data) are read-only mappings by name; ``license``
    is "" if it has none; ``size`` is that of the file in bytes, ``sha256`` its digest in hexadecimal.
    """

    __slots__ = ("data", "license", "maps", "name", "programs", "sections", "sha256", "size", "variables")

    data: bytes
    license: str
    maps: Mapping[str, MapSpec]
    name: str
    programs: Mapping[str, ProgramSpec]
    sections: Mapping[str, DataSpec]
    sha256: str
    size: int
    variables: Mapping[str, VariableSpec]

    def __init__(self, data: bytes, name: str, where: str) -> None:
        import hashlib

        elf = read_elf(data, where)
        self._set("data", data)
        self._set("name", name)
        self._set("size", len(data))
        self._set("sha256", hashlib.sha256(data).hexdigest())
        self._set("programs", MappingProxyType(_programs(elf, where)))
        section = elf.section("license")
        self._set("license", section.data.split(b"\0")[0].decode("utf-8", "replace") if section else "")
        btf = _btf(elf, where)
        self._set("maps", MappingProxyType(read_maps(btf) if btf else {}))
        self._set("sections", MappingProxyType(read_data(elf)))
        self._set("variables", MappingProxyType(read_variables(elf, btf, where)))

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"an ObjectSpec is frozen: {name} cannot be set")

    @classmethod
    def from_file(cls, path: str | Path) -> ObjectSpec:
        """Read the object at ``path``; its name is the file's up to the first dot, as libbpf has it.

        Errors: SpecError if the file cannot be read, or is no BPF object, or is corrupt.
        """
        path = Path(path)
        try:
            with path.open("rb") as file:
                data = file.read(_MAX_FILE + 1)
        except OSError as error:
            raise SpecError(f"cannot be read: {error.strerror}", where=str(path)) from error
        if len(data) > _MAX_FILE:
            raise SpecError(f"has more than {_MAX_FILE >> 20} MiB", where=str(path))
        return cls(data, path.name.partition(".")[0] or path.name, str(path))

    @classmethod
    def from_bytes(cls, data: bytes, name: str = "object") -> ObjectSpec:
        """Read an object from memory. Errors: SpecError, as from_file."""
        return cls(bytes(data), name, name)

    def __repr__(self) -> str:
        return f"<ObjectSpec {self.name}: {len(self.programs)} programs, {len(self.maps)} maps, {self.size} bytes>"


def _programs(elf: Elf, where: str) -> dict[str, ProgramSpec]:
    """Every function in an executable section except .text, which holds the subprograms."""
    programs: dict[str, ProgramSpec] = {}
    by_index = {section.number: section for section in elf.sections}
    for symbol in sorted(elf.symbols, key=lambda symbol: (symbol.section, symbol.offset)):
        section = by_index.get(symbol.section)
        if section is None or symbol.type != STT_FUNC or not section.executable or section.name == ".text":
            continue
        if symbol.size == 0 or symbol.size % 8 or symbol.offset + symbol.size > section.size:
            raise SpecError(f"program {symbol.name} leaves its section {section.name}", where=where)
        if symbol.bind == STB_LOCAL:
            raise SpecError(
                f"program {symbol.name} is static", where=where, remedy="remove static, or the SEC()"
            )
        if symbol.name in programs:
            raise SpecError(f"two programs are named {symbol.name}", where=where)
        meaning = sections.read(section.name)
        programs[symbol.name] = ProgramSpec(
            name=symbol.name,
            section=meaning.name,
            type=meaning.type,
            attach_type=meaning.attach_type,
            instructions=symbol.size // 8,
            meaning=meaning,
        )
    return programs


def _btf(elf: Elf, where: str) -> Btf | None:
    """The BTF; None if there is none and nothing needs it."""
    legacy = elf.section("maps")
    if legacy is not None and legacy.size:
        raise SpecError(
            "it defines maps in section maps", where=where, remedy="libbpf >= 1.0 wants them in .maps"
        )
    section = elf.section(".BTF")
    if section is not None and section.data:
        return Btf(section.data, where)
    maps = elf.section(".maps")
    if maps is not None and maps.size:
        raise SpecError("it has maps but no BTF, which defines them", where=where, remedy="compile with -g")
    return None
