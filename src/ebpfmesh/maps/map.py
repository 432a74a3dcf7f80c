"""Map: the operations that all families of maps share, on typed values and on raw bytes.

Calls are thread-safe: each brings its own buffers and holds the descriptor, and the kernel makes single elements
consistent. What several calls do together (read, change, write back) is not: that is the caller's lock, or BPF's.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from enum import IntFlag
from typing import Any, ClassVar, Generic, TypeVar

from ebpfmesh.errors import MapKeyError, MapTypeError
from ebpfmesh.lowlevel import libbpf
from ebpfmesh.lowlevel.descriptor import Descriptor
from ebpfmesh.lowlevel.libbpf import ffi
from ebpfmesh.maps import batch
from ebpfmesh.maps.codec import Codec, Index, Raw
from ebpfmesh.maps.info import MapInfo
from ebpfmesh.maps.open_map import OpenMap

K = TypeVar("K")
V = TypeVar("V")
_BYTES = ffi.typeof("char[]")


class Update(IntFlag):
    """When an update may write: always, only a new key, only a key that is there; LOCK takes the element's spin lock."""

    ANY = 0
    NOEXIST = 1
    EXIST = 2
    LOCK = 4


class Map(OpenMap, Generic[K, V]):
    """An open map whose keys are ``K`` and values ``V``: bytes, unless codecs say otherwise.

    ``m[key]``, ``m[key] = value``, ``del m[key]``, ``key in m``, iteration over keys, items(). Every error names the map:
    MapKeyError (no such key), MapFullError (with the capacity), MapTypeError (size or type), ClosedError.
    There is no ``len``: counting walks the map, so it is called count().

    Minimum kernel: 3.18 (each family says its own). Capabilities: CAP_BPF; network types CAP_NET_ADMIN too.
    """

    array_keys: ClassVar[bool] = False  # keys are indices 0 .. max_entries - 1, all present

    def __init__(
        self,
        descriptor: Descriptor,
        info: MapInfo,
        *,
        name: str = "",
        key: Codec | None = None,
        value: Codec | None = None,
    ) -> None:
        super().__init__(descriptor, info, name)
        self.key: Any = key or (Index() if self.array_keys else Raw(info.key_size))
        self.value: Any = self._value_codec(value or Raw(info.value_size))
        self._sizes = self.key.size, self.value.size

    def _value_codec(self, value: Codec) -> Codec:
        """The codec of what bpf(2) passes for one element, given that of a value."""
        return value

    # --- typed elements ----------------------------------------------------------------------------------------------

    def __getitem__(self, key: K) -> V:
        if (data := self.lookup_raw(self._pack_key(key))) is None:
            raise MapKeyError(f"no key {key!r}", where=self._label())
        return self.value.unpack(data)  # type: ignore[no-any-return]

    def lookup(self, key: K, default: V | None = None) -> V | None:
        """The value of ``key``, or ``default``."""
        data = self.lookup_raw(self._pack_key(key))
        return default if data is None else self.value.unpack(data)

    def __contains__(self, key: K) -> bool:
        return self.lookup_raw(self._pack_key(key)) is not None

    def update(self, key: K, value: V, flags: Update | int = Update.ANY) -> None:
        """Write one element.

        Errors: MapFullError; MapKeyError with NOEXIST on a key that is there, with EXIST on one that is not; MapTypeError.
        """
        packed = self._pack_key(key)
        if (result := self._write(packed, self._pack_value(value), flags)) != 0:
            raise self._error(result, "update", key)

    def __setitem__(self, key: K, value: V) -> None:
        self.update(key, value)

    def __delitem__(self, key: K) -> None:
        self.delete(key)

    def delete(self, key: K) -> None:
        """Remove ``key``. Errors: MapKeyError if it is not there."""
        if (result := self._remove(self._pack_key(key))) != 0:
            raise self._error(result, "delete", key)

    def discard(self, key: K) -> bool:
        """Remove ``key`` if it is there; says whether it was."""
        result = self._remove(self._pack_key(key))
        if result not in (0, errno.ENOENT):
            raise self._error(result, "delete", key)
        return result == 0

    def take(self, key: K) -> V:
        """Remove ``key`` and return its value, in one step. Errors: MapKeyError.

        Minimum kernel: 5.14 for hashes (commit 3e87f192b405), else NotSupportedError.
        """
        packed, value = self._pack_key(key), ffi.new(_BYTES, self._sizes[1])
        with self.descriptor as fd:
            result = -libbpf.lib().bpf_map_lookup_and_delete_elem(fd, packed, value)
        if result != 0:
            raise self._error(result, "take", key)
        return self.value.unpack(ffi.buffer(value)[:])  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[K]:
        for keys, _ in self.chunks_raw():
            yield from self.key.unpack_many(keys)

    def keys(self) -> Iterator[K]:
        """The keys; see items()."""
        return iter(self)

    def values(self) -> Iterator[V]:
        """The values; see items()."""
        for _, values in self.chunks_raw():
            yield from self.value.unpack_many(values)

    def items(self) -> Iterator[tuple[K, V]]:
        """Pairs of key and value, read some thousand at a time.

        An element that stays in the map during the walk comes exactly once, whatever others delete or add meanwhile;
        one that comes or goes may come or not. Deleting while walking is allowed.
        """
        for keys, values in self.chunks_raw():
            yield from zip(self.key.unpack_many(keys), self.value.unpack_many(values), strict=True)

    def count(self) -> int:
        """How many elements are there now; walks the whole map."""
        return sum(len(keys) for keys, _ in self.chunks_raw()) // self._sizes[0]

    def clear(self) -> None:
        """Delete every element that is there at the call."""
        for keys, _ in list(self.chunks_raw()):
            for key in Raw(self._sizes[0]).unpack_many(keys):
                if (result := self._remove(key)) not in (0, errno.ENOENT):
                    raise self._error(result, "delete", key.hex())

    # --- many elements in one call -----------------------------------------------------------------------------------

    def update_batch(self, keys: Iterable[K], values: Iterable[V], flags: Update | int = Update.ANY) -> None:
        """Write many elements in one call; not atomic: on an error, those before the named one are written.

        Errors: as update(), saying how many were written.
        """
        try:
            packed = self.key.pack_many(keys), self.value.pack_many(values)
        except MapTypeError as error:
            raise self._typed(error, "batch") from None
        self.update_batch_raw(*packed, flags)

    def lookup_batch(self) -> tuple[list[K], list[V]]:
        """All keys and all values, in the same order."""
        keys, values = self.lookup_batch_raw()
        return self.key.unpack_many(keys), self.value.unpack_many(values)

    def delete_batch(self, keys: Iterable[K]) -> None:
        """Delete many keys in one call. Errors: MapKeyError if one is missing; those before it are deleted."""
        try:
            packed = self.key.pack_many(keys)
        except MapTypeError as error:
            raise self._typed(error, "key") from None
        self.delete_batch_raw(packed)

    # --- raw bytes -----------------------------------------------------------------------------------------------------

    def lookup_raw(self, key: bytes) -> bytes | None:
        """The value's bytes, or None if ``key`` (key_size bytes) is missing."""
        key, value = self._sized_key(key), ffi.new(_BYTES, self._sizes[1])
        with self.descriptor as fd:
            result = -libbpf.lib().bpf_map_lookup_elem(fd, key, value)
        if result == 0:
            return ffi.buffer(value)[:]  # type: ignore[no-any-return]
        if result == errno.ENOENT:
            return None
        raise self._error(result, "lookup", key.hex())

    def update_raw(self, key: bytes, value: bytes, flags: Update | int = Update.ANY) -> None:
        """Write one element given as bytes."""
        if len(value) != self._sizes[1]:
            raise MapTypeError(f"a value has {self._sizes[1]} bytes, not {len(value)}", where=self._label())
        if (result := self._write(self._sized_key(key), bytes(value), flags)) != 0:
            raise self._error(result, "update", key.hex())

    def delete_raw(self, key: bytes) -> None:
        """Remove the key given as bytes."""
        if (result := self._remove(self._sized_key(key))) != 0:
            raise self._error(result, "delete", key.hex())

    def update_batch_raw(self, keys: Any, values: Any, flags: Update | int = Update.ANY) -> None:
        """Write the elements of two contiguous buffers: keys of key_size bytes, values of value_size bytes each.

        Both are anything with the buffer protocol (bytes, bytearray, array, memoryview), and are not copied.
        """
        count = self._whole(keys, self._sizes[0], "keys")
        if self._whole(values, self._sizes[1], "values") != count:
            raise MapTypeError(f"{count} keys need as many values", where=self._label())
        if count == 0:
            return
        with self.descriptor as fd:
            done, number = batch.update(
                fd, self.type, keys, values, count=count, flags=int(flags), sizes=self._sizes
            )
        if number:
            raise self._error(number, f"update of {count} elements, {done} written", self._key_at(keys, done))

    def lookup_batch_raw(self) -> tuple[bytes, bytes]:
        """All keys and all values as two contiguous buffers, in the same order."""
        pieces = list(self.chunks_raw(1 << 17))
        if len(pieces) == 1:
            return pieces[0]
        return b"".join([keys for keys, _ in pieces]), b"".join([values for _, values in pieces])

    def delete_batch_raw(self, keys: Any) -> None:
        """Delete the keys of a contiguous buffer."""
        if (count := self._whole(keys, self._sizes[0], "keys")) == 0:
            return
        with self.descriptor as fd:
            done, number = batch.delete(fd, self.type, keys, count, self._sizes[0])
        if number:
            raise self._error(number, f"delete of {count} keys, {done} deleted", self._key_at(keys, done))

    def chunks_raw(self, chunk: int = 8192) -> Iterator[tuple[bytes, bytes]]:
        """The elements as pairs of contiguous keys and values, about ``chunk`` elements at a time; see items()."""
        try:
            with self.descriptor as fd:
                yield from batch.chunks(fd, self.type, self._sizes, self.max_entries, chunk)
        except OSError as error:
            raise self._error(error.errno or 0, "iteration") from error

    # --- inside ----------------------------------------------------------------------------------------------------------

    def _write(self, key: bytes, value: bytes, flags: Update | int) -> int:
        with self.descriptor as fd:
            return -libbpf.lib().bpf_map_update_elem(fd, key, value, int(flags))  # type: ignore[no-any-return]

    def _remove(self, key: bytes) -> int:
        with self.descriptor as fd:
            return -libbpf.lib().bpf_map_delete_elem(fd, key)  # type: ignore[no-any-return]

    def _pack_key(self, key: K) -> bytes:
        try:
            return self.key.pack(key)  # type: ignore[no-any-return]
        except MapTypeError as error:
            raise self._typed(error, "key") from None

    def _pack_value(self, value: V) -> bytes:
        try:
            return self.value.pack(value)  # type: ignore[no-any-return]
        except MapTypeError as error:
            raise self._typed(error, "value") from None

    def _typed(self, error: MapTypeError, part: str) -> MapTypeError:
        path = f"{part}.{error.where}" if error.where else part
        return MapTypeError(error.what, where=f"{self._label()}, {path}", remedy=error.remedy)

    def _sized_key(self, key: bytes) -> bytes:
        # the kernel reads key_size bytes from whatever it is given
        if len(key) != self._sizes[0]:
            raise MapTypeError(f"a key has {self._sizes[0]} bytes, not {len(key)}", where=self._label())
        return key if type(key) is bytes else bytes(key)

    def _whole(self, buffer: Any, size: int, what: str) -> int:
        count, rest = divmod(memoryview(buffer).nbytes, size)
        if rest:
            raise MapTypeError(f"the {what} are no whole number of {size} bytes", where=self._label())
        return count

    def _key_at(self, keys: Any, index: int) -> Any:
        size = self._sizes[0]
        data = bytes(memoryview(keys).cast("B")[index * size : (index + 1) * size])
        return self.key.unpack(data) if len(data) == size else "?"
