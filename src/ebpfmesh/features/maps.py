"""Probes of map types, map flags and batch calls."""

from __future__ import annotations

import mmap

from ebpfmesh.features.feature import Feature, State
from ebpfmesh.features.trial import closing, partial, trial
from ebpfmesh.lowlevel.attach import NEEDS
from ebpfmesh.lowlevel.libbpf import call, ffi, lib, opts

_HASH, _ARRAY, _LPM_TRIE, _ARRAY_OF_MAPS, _SOCKHASH, _SK_STORAGE, _RINGBUF = 1, 2, 11, 12, 18, 24, 27
_NO_PREALLOC, _MMAPABLE = 1, 1 << 10
_PAGE = mmap.PAGESIZE


def _create(kind: int, key: int, value: int, entries: int, **options: int) -> int:
    chosen = opts("bpf_map_create_opts", **options) if options else ffi.NULL
    return call(
        "bpf_map_create", kind, b"probe", key, value, entries, chosen, what="creating a map", needs=NEEDS
    )


def _creates(kind: int, key: int, value: int, entries: int, flags: int = 0) -> State:
    def attempt() -> None:
        with closing(_create(kind, key, value, entries, map_flags=flags)):
            pass

    return trial(attempt)


def _mmapable() -> State:
    def attempt() -> None:
        with closing(_create(_ARRAY, 4, _PAGE, 1, map_flags=_MMAPABLE)) as fd, mmap.mmap(fd, _PAGE) as memory:
            memory[0] = 1

    return trial(attempt)


def _sk_storage() -> State:
    # a map of this type needs BTF for its key and value; libbpf brings a minimal one
    found = lib().libbpf_probe_bpf_map_type(_SK_STORAGE, ffi.NULL)
    if found < 0:
        return State(None, f"libbpf could not try: errno {-found}")
    return State(
        bool(found), "a map of the type was created" if found else "the kernel refused a map of the type"
    )


def _batch(kind: int) -> State:
    def attempt() -> None:
        with closing(_create(kind, 4, 4, 4)) as fd:
            keys, values = ffi.new("__u32[]", [0, 1]), ffi.new("__u32[]", [7, 8])
            _update_batch(fd, keys, values, 2)

    return trial(attempt)


def _batch_of_maps() -> State:
    def attempt() -> None:
        with (
            closing(_create(_ARRAY, 4, 4, 1)) as inner,
            closing(_create(_ARRAY_OF_MAPS, 4, 4, 2, inner_map_fd=inner)) as outer,
        ):
            _update_batch(outer, ffi.new("__u32[]", [0, 1]), ffi.new("__u32[]", [inner, inner]), 2)

    return trial(attempt)


def _update_batch(fd: int, keys: object, values: object, count: int) -> None:
    number = ffi.new("__u32 *", count)
    call("bpf_map_update_batch", fd, keys, values, number, ffi.NULL, what="a batch update", needs=NEEDS)


FEATURES = (
    Feature("lpm_trie", "longest-prefix-match maps", "b95a5c4db09b", "4.11",
            partial(_creates, _LPM_TRIE, 8, 4, 1, _NO_PREALLOC)),
    Feature("map_in_map", "arrays of maps", "56f668dfe00d", "4.12", lambda: trial(_make_outer)),
    Feature("sockhash", "sockets by key", "81110384441a", "4.18", partial(_creates, _SOCKHASH, 8, 4, 1)),
    Feature("sk_storage", "storage in a socket, freed with it", "6ac99e8f23d4", "5.2", _sk_storage),
    Feature("mmapable_arrays", "array maps in this process's memory", "fc9702273e2e", "5.5", _mmapable),
    Feature("batch_hash", "batch calls on hash maps", "057996380a42", "5.6", partial(_batch, _HASH)),
    Feature("batch_array", "batch calls on arrays", "c60f2d286177", "5.6", partial(_batch, _ARRAY)),
    Feature("batch_map_in_map", "batch calls on maps of maps", "9263dddc7b6f", "5.19", _batch_of_maps),
    Feature("ringbuf", "ring buffers", "457f44363a88", "5.8", partial(_creates, _RINGBUF, 0, 0, _PAGE)),
)  # fmt: skip


def _make_outer() -> None:
    with (
        closing(_create(_ARRAY, 4, 4, 1)) as inner,
        closing(_create(_ARRAY_OF_MAPS, 4, 4, 1, inner_map_fd=inner)),
    ):
        pass
