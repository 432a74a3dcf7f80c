"""The ELF half of an object: its sections and symbols, through pyelftools."""

from __future__ import annotations

import io
from typing import NamedTuple

from ebpfmesh.errors import SpecError

__all__ = ["Elf", "ElfSection", "ElfSymbol", "read_elf"]

EM_BPF = 247
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR = 1, 2, 4
STT_OBJECT, STT_FUNC = 1, 2
STB_LOCAL = 0
_MAX_SECTIONS = 4096  # a real object has some dozens; a corrupt header may claim millions


class ElfSection(NamedTuple):
    """A section: its number, name, size in bytes and contents (empty for NOBITS)."""

    number: int
    name: str
    flags: int
    size: int
    data: bytes
    nobits: bool

    @property
    def executable(self) -> bool:
        """Whether it holds instructions."""
        return bool(self.flags & SHF_EXECINSTR)


class ElfSymbol(NamedTuple):
    """A symbol: offset and size in bytes within section number ``section``."""

    name: str
    type: int
    bind: int
    section: int
    offset: int
    size: int


class Elf(NamedTuple):
    """The sections of an object in file order, and its symbols."""

    sections: tuple[ElfSection, ...]
    symbols: tuple[ElfSymbol, ...]

    def section(self, name: str) -> ElfSection | None:
        """The first section of this name."""
        return next((section for section in self.sections if section.name == name), None)


def read_elf(data: bytes, where: str) -> Elf:
    """The sections and symbols of a relocatable little-endian BPF object. SpecError if ``data`` is anything else."""
    _check_header(data, where)
    try:
        return _read(data, where)
    except SpecError:
        raise
    except Exception as error:
        # pyelftools lets construct's, struct's and Python's own errors out of a corrupt file: no list of them is complete
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SpecError(
            f"the ELF file is corrupt: {reason}", where=where, remedy="compile it again"
        ) from error


def _check_header(data: bytes, where: str) -> None:
    if data[:4] != b"\x7fELF":
        raise SpecError("it is no ELF file", where=where, remedy="give an object made by clang -target bpf")
    if len(data) < 64:
        raise SpecError(
            f"the ELF file is truncated after {len(data)} bytes", where=where, remedy="copy it again"
        )
    if data[4] != 2:
        raise SpecError("it is a 32-bit ELF file", where=where, remedy="compile it with clang -target bpf")
    if data[5] != 1:
        raise SpecError("it is big-endian", where=where, remedy="compile it with clang -target bpfel")
    machine = int.from_bytes(data[18:20], "little")
    if machine != EM_BPF:
        raise SpecError(
            f"it is for ELF machine {machine}, not BPF ({EM_BPF})",
            where=where,
            remedy="compile with clang -target bpf",
        )
    if data[16:18] != b"\x01\x00":
        raise SpecError("it is no relocatable object", where=where, remedy="give the .o file that clang made")


def _read(data: bytes, where: str) -> Elf:
    from elftools.elf.elffile import ELFFile

    file = ELFFile(io.BytesIO(data))
    count = file.num_sections()
    if not 0 < count <= _MAX_SECTIONS:
        raise SpecError(f"the ELF file claims {count} sections", where=where, remedy="compile it again")
    sections, symbols = [], None
    for index in range(count):
        header = file.get_section(index)
        nobits = header["sh_type"] in ("SHT_NOBITS", "SHT_NULL")
        start, size = header["sh_offset"], header["sh_size"]
        if not nobits and start + size > len(data):
            raise SpecError(
                f"section {header.name} ends at byte {start + size} of {len(data)}: the file is truncated or corrupt",
                where=where,
                remedy="copy or compile it again",
            )
        body = b"" if nobits else data[start : start + size]
        sections.append(ElfSection(index, header.name, header["sh_flags"], size, body, nobits))
        if header["sh_type"] == "SHT_SYMTAB":
            symbols = (index, header["sh_link"])
    if symbols is None:
        raise SpecError(
            "it has no symbol table", where=where, remedy="do not strip it with -s; use llvm-strip -g"
        )
    return Elf(tuple(sections), _symbols(sections, *symbols))


def _symbols(sections: list[ElfSection], table: int, strings: int) -> tuple[ElfSymbol, ...]:
    import struct

    names = sections[strings].data
    entry = struct.Struct("<IBBHQQ")  # Elf64_Sym
    body = sections[table].data
    symbols = []
    for name, info, _other, section, value, size in entry.iter_unpack(
        body[: len(body) // entry.size * entry.size]
    ):
        text = names[name : names.index(b"\0", name)].decode("utf-8", "replace")
        symbols.append(ElfSymbol(text, info & 15, info >> 4, section, value, size))
    return tuple(symbols)
