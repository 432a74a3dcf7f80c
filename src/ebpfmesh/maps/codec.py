"""How keys and values become bytes: what a map asks of a codec, raw bytes, and one value for each CPU."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any, Protocol

from ebpfmesh.errors import MapTypeError


class Codec(Protocol):
    """Packs and unpacks one C type; `ebpfmesh.layout.Layout` and `ebpfmesh.layout.codec_for` make them."""

    @property
    def size(self) -> int:
        """Bytes of one value."""

    def pack(self, value: Any, /) -> bytes:
        """``value`` as ``size`` bytes. Errors: MapTypeError."""

    def unpack(self, data: bytes, /) -> Any:
        """The value in ``size`` bytes."""

    def pack_many(self, values: Iterable[Any], /) -> bytes:
        """All values, one after the other."""

    def unpack_many(self, data: bytes, /) -> list[Any]:
        """The values in a whole number of ``size`` bytes."""


class Raw:
    """Bytes of a fixed size, as they are: the codec of a map without BTF."""

    __slots__ = ("size",)

    def __init__(self, size: int) -> None:
        self.size = size

    def pack(self, value: Any) -> bytes:
        """``value`` (bytes, bytearray or memoryview of exactly ``size`` bytes) as bytes."""
        if not isinstance(value, (bytes, bytearray, memoryview)):
            raise MapTypeError(f"{self.size} bytes were expected, not {type(value).__name__}")
        data = bytes(value)
        if len(data) != self.size:
            raise MapTypeError(f"{self.size} bytes were expected, not {len(data)}")
        return data

    def unpack(self, data: bytes) -> bytes:
        """The bytes themselves."""
        return data

    def pack_many(self, values: Iterable[Any]) -> bytes:
        """All values, one after the other, each checked."""
        return b"".join(map(self.pack, values))

    def unpack_many(self, data: bytes) -> list[bytes]:
        """``data`` cut into pieces of ``size``."""
        size = self.size
        return [data[at : at + size] for at in range(0, len(data), size)]


class Index:
    """The 32-bit index of an array's element, an int."""

    __slots__ = ()
    size = 4

    def pack(self, value: Any) -> bytes:
        """``value`` in 0 .. 2**32 - 1; the map itself knows how many elements it has."""
        try:
            return struct.pack("=I", value)
        except struct.error as error:
            raise MapTypeError(f"an index from 0 to 4294967295 was expected, not {value!r}") from error

    def unpack(self, data: bytes) -> int:
        """The index."""
        return int.from_bytes(data, "little")

    def pack_many(self, values: Iterable[Any]) -> bytes:
        """All indices, one after the other."""
        return b"".join(map(self.pack, values))

    def unpack_many(self, data: bytes) -> list[int]:
        """The indices in ``data``."""
        return list(struct.unpack(f"={len(data) // 4}I", data))


class PerCpu:
    """One value for each possible CPU, each at a multiple of 8 bytes, as bpf(2) passes them: a list in Python.

    To pack, anything but a list stands for the same value on every CPU. Source: bpf_percpu_hash_copy,
    kernel/bpf/hashtab.c.
    """

    __slots__ = ("cpus", "size", "slot", "value")

    def __init__(self, value: Codec, cpus: int) -> None:
        self.value, self.cpus = value, cpus
        self.slot = -(-value.size // 8) * 8
        self.size = self.slot * cpus

    def pack(self, value: Any) -> bytes:
        """A list with one value for each possible CPU, or one value for all of them."""
        padding = bytes(self.slot - self.value.size)
        if not isinstance(value, list):
            return (self.value.pack(value) + padding) * self.cpus
        if len(value) != self.cpus:
            raise MapTypeError(
                f"{self.cpus} values were expected, one for each possible CPU, not {len(value)}"
            )
        return b"".join(self.value.pack(one) + padding for one in value)

    def unpack(self, data: bytes) -> list[Any]:
        """The values of all possible CPUs, in their order."""
        if self.slot == self.value.size:
            return self.value.unpack_many(data)
        size, slot = self.value.size, self.slot
        return self.value.unpack_many(b"".join([data[at : at + size] for at in range(0, len(data), slot)]))

    def pack_many(self, values: Iterable[Any]) -> bytes:
        """All elements, one after the other."""
        return b"".join(map(self.pack, values))

    def unpack_many(self, data: bytes) -> list[list[Any]]:
        """One list for each element."""
        values = self.unpack(data)
        return [values[at : at + self.cpus] for at in range(0, len(values), self.cpus)]
