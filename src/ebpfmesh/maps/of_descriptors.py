"""Maps whose values are written as file descriptors and read as numbers: maps of maps, of programs, of sockets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from ebpfmesh.errors import MapTypeError
from ebpfmesh.lowlevel.descriptor import Owned
from ebpfmesh.maps.codec import Codec
from ebpfmesh.maps.map import K, Map, Update


class HasDescriptor(Protocol):
    """A map, a program, a socket, an open file."""

    def fileno(self) -> int:
        """Its file descriptor."""


class DescriptorValue:
    """Packs the descriptor of a value; what the kernel gives back is a number of its own (an id, a cookie)."""

    __slots__ = ("size",)

    def __init__(self, size: int) -> None:
        self.size = size

    def pack(self, value: Any) -> bytes:
        """An object with ``fileno()``, or the descriptor's number."""
        try:
            number = value if type(value) is int else value.fileno()
            return number.to_bytes(self.size, "little")
        except (AttributeError, OverflowError):
            raise MapTypeError(f"{value!r} has no open descriptor") from None

    def unpack(self, data: bytes) -> int:
        """The number."""
        return int.from_bytes(data, "little")

    def pack_many(self, values: Iterable[Any]) -> bytes:
        """All descriptors, one after the other."""
        return b"".join(map(self.pack, values))

    def unpack_many(self, data: bytes) -> list[int]:
        """All numbers."""
        return [self.unpack(data[at : at + self.size]) for at in range(0, len(data), self.size)]


class MapOfDescriptors(Map[K, Any]):
    """Base of these families: ``m[key] = thing`` takes what has a descriptor, ``m[key]`` gives a number of it."""

    def _value_codec(self, value: Codec) -> Codec:
        return DescriptorValue(self.value_size)

    def update(self, key: K, value: HasDescriptor | int, flags: Update | int = Update.ANY) -> None:
        """Write one element. Errors: as Map.update(); MapError (EINVAL) if the thing does not fit this map."""
        super().update(key, _held(value), flags)

    def update_batch(
        self, keys: Iterable[K], values: Iterable[HasDescriptor | int], flags: Update | int = Update.ANY
    ) -> None:
        """Write many elements in one call; see Map.update_batch()."""
        held = [_held(value) for value in values]
        super().update_batch(keys, held, flags)


def _held(value: Any) -> Any:
    """The thing itself, or its Descriptor, which close() in another thread cannot take away during the call."""
    return value.descriptor if isinstance(value, Owned) else value
