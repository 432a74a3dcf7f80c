"""Many elements in one bpf(2) call, in contiguous buffers; element by element where the kernel lacks the batch call.

Source: commits aa2e93b8e58e (arrays), 05799638ead0 (hashes), 5.6; per-CPU arrays 5.13 (f008d732ab18). A map type
without the call answers ENOTSUPP (524), an older kernel EINVAL.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any

from ebpfmesh.lowlevel import libbpf
from ebpfmesh.lowlevel.libbpf import ffi
from ebpfmesh.spec.enums import MapType

ENOTSUPP = 524
_LACKING = {errno.EINVAL, errno.EOPNOTSUPP, ENOTSUPP}
_CHUNK = 8192  # elements of one call of an iteration: some 100 kB of small elements, few calls

type_has_batch: dict[tuple[int, str], bool] = {}  # by map type and operation, as this kernel answered


def update(
    fd: int, kind: int, keys: Any, values: Any, *, count: int, flags: int, sizes: tuple[int, int]
) -> tuple[int, int]:
    """Write ``count`` elements; returns how many were written and the errno that ended it (0: all)."""
    if flags & ~4 == 0 and type_has_batch.get(
        (kind, "update"), True
    ):  # the batch call takes no flag but BPF_F_LOCK
        done = ffi.new("__u32 *", count)
        options = libbpf.opts("bpf_map_batch_opts", elem_flags=flags)
        result = libbpf.lib().bpf_map_update_batch(
            fd, ffi.from_buffer(keys), ffi.from_buffer(values), done, options
        )
        if result == 0:
            return count, 0
        written = (
            done[0] if done[0] < count else 0
        )  # the kernel leaves it as it was when it refuses before the first
        if -result not in _LACKING or written:
            return written, -result
        if (
            -result != errno.EINVAL
        ):  # EINVAL may be the element's fault too: the loop meets it again, and reports it
            type_has_batch[kind, "update"] = False
    write, (key_size, value_size) = libbpf.lib().bpf_map_update_elem, sizes
    key_view, value_view = memoryview(keys).cast("B"), memoryview(values).cast("B")
    for index in range(count):
        key = bytes(key_view[index * key_size : (index + 1) * key_size])
        value = bytes(value_view[index * value_size : (index + 1) * value_size])
        if (result := write(fd, key, value, flags)) != 0:
            return index, -result
    return count, 0


def delete(fd: int, kind: int, keys: Any, count: int, key_size: int) -> tuple[int, int]:
    """Delete ``count`` keys; returns how many were deleted and the errno that ended it (0: all)."""
    if type_has_batch.get((kind, "delete"), True):
        done = ffi.new("__u32 *", count)
        options = libbpf.opts("bpf_map_batch_opts")
        result = libbpf.lib().bpf_map_delete_batch(fd, ffi.from_buffer(keys), done, options)
        if -result not in _LACKING:
            return (count, 0) if result == 0 else (done[0], -result)
        type_has_batch[kind, "delete"] = False
    remove, view = libbpf.lib().bpf_map_delete_elem, memoryview(keys).cast("B")
    for index in range(count):
        if (result := remove(fd, bytes(view[index * key_size : (index + 1) * key_size]))) != 0:
            return index, -result
    return count, 0


def chunks(
    fd: int, kind: int, sizes: tuple[int, int], limit: int, chunk: int = _CHUNK
) -> Iterator[tuple[bytes, bytes]]:
    """The elements of a map as pairs of contiguous keys and values, some thousand elements at a time.

    With the batch call a hash is walked bucket by bucket, so every element that is there from the first to the last
    call comes exactly once, whatever is deleted or added meanwhile. ``limit`` is the map's max_entries.
    ``OSError`` with the kernel's errno on failure; the caller names the map.
    """
    if type_has_batch.get((kind, "lookup"), True):
        pieces = _batches(fd, sizes, max(1, min(limit, chunk)))
        if (
            kind == MapType.LPM_TRIE
        ):  # its batch call goes from key to key, and starts over as get_next_key does
            pieces = _distinct(pieces, sizes)
        try:
            first = next(pieces, None)
        except OSError as error:
            if error.errno not in _LACKING:
                raise
            type_has_batch[kind, "lookup"] = False
        else:
            if first is not None:
                yield first
                yield from pieces
            return
    yield from one_by_one(fd, sizes)


def _batches(fd: int, sizes: tuple[int, int], room: int) -> Iterator[tuple[bytes, bytes]]:
    lib, (key_size, value_size) = libbpf.lib(), sizes
    options, count = libbpf.opts("bpf_map_batch_opts"), ffi.new("__u32 *")
    # the cursor is a bucket's number for hashes and a key for the others
    cursors = [ffi.new("char[]", max(4, key_size)) for _ in range(2)]
    before = ffi.NULL
    keys, values = ffi.new("char[]", room * key_size), ffi.new("char[]", room * value_size)
    while True:
        count[0] = room
        result = -lib.bpf_map_lookup_batch(fd, before, cursors[0], keys, values, count, options)
        if result == errno.ENOSPC:  # a bucket with more elements than room
            room *= 2
            keys, values = ffi.new("char[]", room * key_size), ffi.new("char[]", room * value_size)
            continue
        if result not in (0, errno.ENOENT):
            raise OSError(result, "bpf_map_lookup_batch")
        if count[0]:
            yield (
                bytes(ffi.buffer(keys, count[0] * key_size)),
                bytes(ffi.buffer(values, count[0] * value_size)),
            )
        if result == errno.ENOENT:
            return
        before = cursors[0]
        cursors.reverse()


def _distinct(pieces: Iterator[tuple[bytes, bytes]], sizes: tuple[int, int]) -> Iterator[tuple[bytes, bytes]]:
    """The same elements, each key once."""
    seen: set[bytes] = set()
    key_size, value_size = sizes
    for keys, values in pieces:
        new_keys, new_values = [], []
        for index in range(len(keys) // key_size):
            key = keys[index * key_size : (index + 1) * key_size]
            if key not in seen:
                seen.add(key)
                new_keys.append(key)
                new_values.append(values[index * value_size : (index + 1) * value_size])
        if new_keys:
            yield b"".join(new_keys), b"".join(new_values)


def one_by_one(fd: int, sizes: tuple[int, int]) -> Iterator[tuple[bytes, bytes]]:
    """The same with get_next_key, one element a piece.

    get_next_key starts over when the key it is given was deleted meanwhile. So keys that came already are remembered and
    passed over: every element that stays comes exactly once, and the walk ends.
    """
    lib, (key_size, value_size) = libbpf.lib(), sizes
    seen: set[bytes] = set()
    for raw in keys_one_by_one(fd, key_size):
        if raw in seen:
            continue
        seen.add(raw)
        value = ffi.new("char[]", value_size)
        result = -lib.bpf_map_lookup_elem(fd, raw, value)
        if result == 0:
            yield raw, bytes(ffi.buffer(value))
        elif result != errno.ENOENT:  # ENOENT: deleted since
            raise OSError(result, "bpf_map_lookup_elem")


def keys_one_by_one(fd: int, key_size: int) -> Iterator[bytes]:
    """The keys of a map by get_next_key; after a concurrent deletion some come twice."""
    step, following = libbpf.lib().bpf_map_get_next_key, ffi.new("char[]", key_size)
    key: Any = ffi.NULL
    while True:
        result = -step(fd, key, following)
        if result == errno.ENOENT:
            return
        if result != 0:
            raise OSError(result, "bpf_map_get_next_key")
        key = bytes(ffi.buffer(following))
        yield key
