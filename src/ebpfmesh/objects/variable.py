"""Variable: a global variable of a loaded object, read and written from user space."""

from __future__ import annotations

from typing import Any

from ebpfmesh.errors import MapTypeError, NotSupportedError
from ebpfmesh.maps import ArrayMap, MappedArray
from ebpfmesh.spec import MapFlags, VariableSpec


class Section:
    """A data section of a loaded object: an array map of one element, mapped into memory at the first write."""

    def __init__(self, map: ArrayMap[bytes]) -> None:
        self.map = map
        self._mapped: MappedArray | None = None

    def read(self, offset: int, size: int) -> bytes:
        """``size`` bytes at ``offset`` as they are now."""
        return self.map[0][offset : offset + size]

    def write(self, offset: int, data: bytes) -> None:
        """Write in place; an aligned word of 8 bytes is one store."""
        if not self.map.flags & MapFlags.MMAPABLE:
            # writing the whole element back would undo what programs wrote meanwhile
            raise NotSupportedError(
                f"this kernel cannot map {self.map.name} into memory", remedy="Linux 5.5 or later"
            )
        if self._mapped is None:
            self._mapped = self.map.mmap()
        if len(data) == 8 and offset % 8 == 0:
            self._mapped.store(offset, int.from_bytes(data, "little"))
        else:
            self._mapped.buffer[offset : offset + len(data)] = data

    def close(self) -> None:
        """Unmap it and close its map."""
        if self._mapped is not None:
            self._mapped.close()
            self._mapped = None
        self.map.close()


class Variable:
    """A global variable: ``get()`` and ``set(value)`` with the value of its C type (bytes without BTF)."""

    def __init__(self, spec: VariableSpec, section: Section) -> None:
        self.spec, self._section = spec, section

    def get(self) -> Any:
        """Its value now. Errors: ClosedError."""
        data = self._section.read(self.spec.offset, self.spec.size)
        return data if self.spec.layout is None else self.spec.layout.unpack(data[: self.spec.layout.size])

    def set(self, value: Any) -> None:
        """Write it. Errors: MapTypeError (a constant, or a value that does not fit), NotSupportedError before 5.5."""
        if self.spec.constant:
            raise MapTypeError(
                "it is constant", where=f"variable {self.spec.name}", remedy="pass constants= to load()"
            )
        self._section.write(self.spec.offset, packed(self.spec, value))

    def __repr__(self) -> str:
        return f"<Variable {self.spec.name} in {self.spec.section}>"


def packed(spec: VariableSpec, value: Any) -> bytes:
    """``value`` as the bytes of the variable. Errors: MapTypeError that names it."""
    try:
        if spec.layout is not None:
            return spec.layout.pack(value)
        if isinstance(value, (bytes, bytearray)) and len(value) == spec.size:
            return bytes(value)
        raise MapTypeError(f"{spec.size} bytes were expected, not {value!r}")
    except MapTypeError as error:
        where = f"variable {spec.name}" + (f".{error.where}" if error.where else "")
        raise MapTypeError(error.what, where=where, remedy=error.remedy) from None
