"""Layout: how a C type lies in memory, and the way from Python values to those bytes and back.

A layout flattens to one precompiled ``struct.Struct``: its *leaves* are the values that the struct module packs. A
layout that is one leaf (an integer, bytes) is packed without any Python loop; a struct of such leaves too.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

from ebpfmesh.errors import MapTypeError

__all__ = ["Layout", "declaration"]


def declaration(type: str, name: str) -> str:
    """A C declaration: ``type name``, where ``name`` may be empty or be only the bounds of an array."""
    return f"{type} {name}" if name and not name.startswith("[") else f"{type}{name}"


class Layout(ABC):
    """A C type: ``size`` in bytes, ``align`` in bytes, packed little-endian (the byte order of the target).

    ``nodes`` counts the types it is made of (an array counts its element once); readers bound it.
    """

    size: int
    align: int
    nodes: int

    # --- what a kind of layout defines -------------------------------------------------------------------------------

    @property
    @abstractmethod
    def signature(self) -> str:
        """The canonical text: kinds, sizes, field names and offsets; no names of C types."""

    @abstractmethod
    def declare(self, name: str = "") -> str:
        """A C-like declaration of ``name`` with this type, for people."""

    @abstractmethod
    def code(self) -> str:
        """The struct module's format of exactly ``size`` bytes, without a byte-order mark."""

    @property
    @abstractmethod
    def is_leaf(self) -> bool:
        """Whether the struct module gives this type's value as it is."""

    @abstractmethod
    def spread(self, value: Any, leaves: list[Any], where: str) -> None:
        """Append the leaves of ``value``; MapTypeError that names ``where`` if it does not fit."""

    @abstractmethod
    def gather(self, leaves: Iterator[Any]) -> Any:
        """The value made of the next leaves."""

    # --- what all share ----------------------------------------------------------------------------------------------

    @property
    def layout(self) -> Layout:
        """Itself: a layout is the codec of its own plain values."""
        return self

    @property
    def format(self) -> str:
        """C-like text, such as ``struct { u32 address; u16 port; }``."""
        return self.declare()

    def hash(self) -> str:
        """SHA-256 of size and signature, in hexadecimal: equal where the bytes mean the same."""
        import hashlib

        return hashlib.sha256(f"{self.size}:{self.signature}".encode()).hexdigest()

    @cached_property
    def compiled(self) -> struct.Struct:
        """The precompiled packer of the whole type."""
        return struct.Struct("<" + self.code())

    def pack(self, value: Any) -> bytes:
        """``value`` as ``size`` bytes, padding zeroed. MapTypeError, naming the field, if it does not fit."""
        leaves: list[Any] = []
        self.spread(value, leaves, "")
        return self.compiled.pack(*leaves)

    def unpack(self, data: bytes | bytearray | memoryview) -> Any:
        """The value of exactly ``size`` bytes. MapTypeError if there are more or fewer."""
        if len(data) != self.size:
            raise MapTypeError(f"{len(data)} bytes where {self.size} are wanted", where=self.format)
        return self.gather(iter(self.compiled.unpack(data)))

    def pack_many(self, values: Iterable[Any]) -> bytes:
        """Values one after the other, ``size`` bytes each: what a batch call takes."""
        pack = self.pack
        return b"".join([pack(value) for value in values])

    def unpack_many(self, data: bytes | bytearray | memoryview) -> list[Any]:
        """The values of a contiguous buffer. MapTypeError if it holds a fraction of one."""
        self.whole(data)
        gather = self.gather
        return [gather(iter(leaves)) for leaves in self.compiled.iter_unpack(data)] if self.size else []

    def whole(self, data: bytes | bytearray | memoryview) -> None:
        """MapTypeError unless the buffer holds whole values."""
        if self.size and len(data) % self.size:
            raise MapTypeError(f"{len(data)} bytes hold no whole number of {self.size}", where=self.format)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layout) and self.size == other.size and self.signature == other.signature

    def __hash__(self) -> int:
        return hash((self.size, self.signature))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.signature}, {self.size} bytes>"
