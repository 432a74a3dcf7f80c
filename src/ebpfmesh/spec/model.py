"""What a spec is made of: ProgramSpec, MapSpec, VariableSpec, DataSpec; frozen, without any kernel object."""

from __future__ import annotations

import msgspec

from ebpfmesh.layout import Layout
from ebpfmesh.spec.enums import AttachType, MapFlags, MapType, ProgramType
from ebpfmesh.spec.sections import Section

__all__ = ["DataSpec", "MapSpec", "ProgramSpec", "VariableSpec"]


class ProgramSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A program: its function's ``name``, ``section`` (without ``?``), types, and count of ``instructions``.

    ``type`` is None where the section's name says nothing; ``attach_type`` is None where the type has none.
    ``instructions`` are its own; subprograms of ``.text`` are appended at load.
    """

    name: str
    section: str
    type: ProgramType | None
    attach_type: AttachType | None
    instructions: int
    meaning: Section

    @property
    def autoload(self) -> bool:
        """False if the section begins with ``?``."""
        return self.meaning.autoload


class MapSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A map of ``.maps``: sizes in bytes; ``key`` and ``value`` are None where only sizes were declared.

    ``max_entries`` 0 means that it is set at load (or by the kernel). ``pinning`` is 0, or 1 for LIBBPF_PIN_BY_NAME.
    ``inner`` is the template of a map in map.
    """

    name: str
    type: MapType
    key_size: int = 0
    value_size: int = 0
    max_entries: int = 0
    flags: MapFlags = MapFlags(0)
    pinning: int = 0
    key: Layout | None = None
    value: Layout | None = None
    inner: MapSpec | None = None
    extra: int = 0
    numa_node: int | None = None

    @property
    def signature(self) -> str:
        """What a stored map must agree in to be used again: type, flags, key, value, inner map; not its capacity."""
        key = self.key.signature if self.key else f"?{self.key_size}"
        value = self.value.signature if self.value else f"?{self.value_size}"
        inner = f" of ({self.inner.signature})" if self.inner else ""
        sizes = f"{self.key_size}:{key} -> {self.value_size}:{value}"
        return f"{self.type.name} flags={int(self.flags)} {sizes}{inner}"

    def hash(self) -> str:
        """SHA-256 of the signature, in hexadecimal."""
        import hashlib

        return hashlib.sha256(self.signature.encode()).hexdigest()


class VariableSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A global variable of ``.rodata``, ``.data`` or ``.bss`` (or a custom section such as ``.data.x``).

    ``offset`` and ``size`` in bytes within its section; ``layout`` is None without BTF; ``initial`` its bytes at load
    (empty where they are all zero, as in ``.bss``).
    """

    name: str
    section: str
    offset: int
    size: int
    layout: Layout | None
    constant: bool
    initial: bytes


class DataSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A section of global data, one array map to libbpf: its ``initial`` bytes, empty for ``.bss``."""

    name: str
    size: int
    constant: bool
    initial: bytes
