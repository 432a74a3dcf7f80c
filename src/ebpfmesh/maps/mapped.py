"""MappedArray: an array map's memory in this process, and stores of one 64-bit word."""

from __future__ import annotations

import mmap
from typing import Any, Self

from ebpfmesh.errors import ClosedError, MapTypeError
from ebpfmesh.maps.codec import Codec


class MappedArray:
    """The memory of an array map: ``buffer`` is a writable memoryview of all elements, ``stride`` bytes apart.

    It stays valid after the map is closed. A write to ``buffer`` of more than one aligned word is seen by programs
    piece by piece; store() is the way to change something at once.
    """

    def __init__(self, memory: mmap.mmap, where: str, *, size: int, stride: int, value: Codec) -> None:
        self._memory: mmap.mmap | None = memory
        self.stride, self.value, self._where = stride, value, where
        self._pages = memoryview(memory)
        self.buffer = self._pages[:size]
        self._words = self.buffer.cast("Q")

    def store(self, offset: int, word: int) -> None:
        """Write the unsigned 64-bit ``word`` at byte ``offset`` (a multiple of 8) with a single store.

        A reader on any CPU sees the old word or the new one. memoryview writes an item of format "Q" as one memcpy of
        constant size 8, which compilers make a single move on x86-64 and aarch64. Only there is it also seen after all
        that this thread wrote before: x86-64 keeps the order of stores.

        Errors: MapTypeError (offset not aligned or outside, word out of range), ClosedError.
        """
        try:
            if offset & 7 or offset < 0:
                raise IndexError
            self._words[offset >> 3] = word
        except (IndexError, ValueError, TypeError) as error:
            raise self._refused(f"word {word!r} at byte {offset!r}", error) from error

    def load(self, offset: int) -> int:
        """The 64-bit word at byte ``offset`` (a multiple of 8), read with a single load."""
        try:
            if offset & 7 or offset < 0:
                raise IndexError
            return self._words[offset >> 3]
        except (IndexError, ValueError, TypeError) as error:
            raise self._refused(f"the word at byte {offset!r}", error) from error

    def __getitem__(self, index: int) -> Any:
        return self.value.unpack(bytes(self._element(index)))

    def __setitem__(self, index: int, value: Any) -> None:
        """Write one element; of more than 8 bytes, programs may see a part of it."""
        if self.value.size == 8:
            self.store(index * self.stride, int.from_bytes(self.value.pack(value), "little"))
        else:
            self._element(index)[:] = self.value.pack(value)

    def close(self) -> None:
        """Unmap it. Views of ``buffer`` that others hold must be released before (BufferError)."""
        if self._memory is None:
            return
        self._words.release()
        self.buffer.release()
        self._pages.release()
        self._memory.close()
        self._memory = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _element(self, index: int) -> memoryview:
        if self._memory is None:
            raise ClosedError("its memory was unmapped", where=self._where)
        if not 0 <= index * self.stride < len(self.buffer):
            raise MapTypeError(f"no element {index}", where=self._where)
        return self.buffer[index * self.stride : index * self.stride + self.value.size]

    def _refused(self, what: str, error: Exception) -> MapTypeError | ClosedError:
        if self._memory is None:
            return ClosedError("its memory was unmapped", where=self._where)
        return MapTypeError(
            f"{what}: want an aligned offset below {len(self.buffer)} and a word from 0 to 2**64 - 1",
            where=self._where,
        )
