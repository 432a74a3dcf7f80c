"""Arrays: bounds, mapped memory, single-store words, per-CPU values, seen by a real program."""

from __future__ import annotations

import os
import time

import pytest

from ebpfmesh import maps, objects
from ebpfmesh.errors import ClosedError, MapKeyError, MapTypeError, NotSupportedError
from ebpfmesh.layout import U32, U64, Array, Int
from ebpfmesh.maps import ArrayMap, PerCpuArrayMap, possible_cpus
from ebpfmesh.spec import MapFlags, MapType, ObjectSpec
from ebpfmesh.testing.compile import compile_bpf

pytestmark = pytest.mark.kernel

READER = r"""
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 3); __uint(map_flags, BPF_F_MMAPABLE);
         __type(key, __u32); __type(value, __u64); } words SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1);
         __type(key, __u32); __type(value, __u32); } counts SEC(".maps");
SEC("tc") int low_half(struct __sk_buff *skb)
{
    __u32 zero = 0, one = 1;
    __u64 *word = bpf_map_lookup_elem(&words, &one);
    __u32 *count = bpf_map_lookup_elem(&counts, &zero);
    if (!word || !count) return -1;
    *count += 1;
    return (__u32)*word;
}
SEC("license") const char licence[] = "GPL";
"""


def test_every_element_is_there_and_zero_at_first() -> None:
    with maps.create(MapType.ARRAY, key=U32, value=U64, max_entries=3, name="array") as made:
        assert isinstance(made, ArrayMap)
        assert list(made.items()) == [(0, 0), (1, 0), (2, 0)]
        made.update_batch([0, 2], [5, 7])
        assert made.lookup_batch() == ([0, 1, 2], [5, 0, 7])
        made.clear()
        assert list(made.values()) == [0, 0, 0]


def test_an_index_past_the_end_is_a_missing_key() -> None:
    with maps.create(MapType.ARRAY, key=U32, value=U64, max_entries=3, name="array") as made:
        with pytest.raises(MapKeyError, match="no key 3"):
            made[3]
        with pytest.raises(MapKeyError, match="ends at 2"):
            made[3] = 1
        with pytest.raises(MapTypeError):
            made[-1]


def test_elements_cannot_be_deleted() -> None:
    with maps.create(MapType.ARRAY, key=U32, value=U64, max_entries=3, name="array") as made:
        with pytest.raises(NotSupportedError, match="write zeros"):
            del made[0]
        with pytest.raises(NotSupportedError):
            made.discard(0)


def test_what_is_stored_in_mapped_memory_a_program_reads_at_once() -> None:
    with objects.load(ObjectSpec.from_bytes(compile_bpf(READER), "reader")) as loaded:
        words = loaded.maps["words"]
        with words.mmap() as memory:
            assert memory.stride == 8 and len(memory.buffer) == 24
            for word in (1, 0xFFFFFFFF, 1 << 63 | 42):
                memory.store(8, word)
                assert loaded.programs["low_half"].test_run(bytes(64)).value == word & 0xFFFFFFFF
                assert words[1] == word == memory.load(8) == memory[1]
            words[2] = 9
            assert memory[2] == 9
            memory[0] = 3
            assert words[0] == 3
        assert loaded.maps["counts"].total(0) == 3


def test_a_word_is_never_seen_half_written() -> None:
    with (
        maps.create(
            MapType.ARRAY, key=U32, value=U64, max_entries=1, name="words", flags=MapFlags.MMAPABLE
        ) as made,
        made.mmap() as writer,
        made.mmap() as reader,
    ):
        child = os.fork()  # shares the pages, not the interpreter lock
        if child == 0:
            deadline = time.monotonic() + 0.5
            while time.monotonic() < deadline:
                for _ in range(1000):
                    writer.store(0, 0xFFFFFFFFFFFFFFFF)
                    writer.store(0, 0)
            os._exit(0)
        seen: set[int] = set()
        while os.waitpid(child, os.WNOHANG)[0] == 0:
            seen.update([reader.load(0) for _ in range(1000)])
        assert seen == {0, 0xFFFFFFFFFFFFFFFF}


def test_elements_of_other_sizes_lie_at_multiples_of_eight_bytes() -> None:
    triple = Array(Int(4), 3)
    with (
        maps.create(
            MapType.ARRAY, key=U32, value=triple, max_entries=2, name="triples", flags=MapFlags.MMAPABLE
        ) as made,
        made.mmap() as memory,
    ):
        assert memory.stride == 16
        memory[1] = (1, 2, 3)
        assert made[1] == (1, 2, 3)
        with pytest.raises(MapTypeError, match="no element 2"):
            memory[2]


@pytest.mark.parametrize(("offset", "word"), [(4, 1), (-8, 1), (16, 1), (0, -1), (0, 1 << 64), (0, "1")])
def test_a_store_outside_or_unaligned_is_refused(offset: int, word: int) -> None:
    with (
        maps.create(
            MapType.ARRAY, key=U32, value=U64, max_entries=2, name="words", flags=MapFlags.MMAPABLE
        ) as made,
        made.mmap() as memory,
        pytest.raises(MapTypeError, match="map words"),
    ):
        memory.store(offset, word)


def test_mapped_memory_outlives_the_map_and_ends_with_its_own_close() -> None:
    made = maps.create(
        MapType.ARRAY, key=U32, value=U64, max_entries=1, name="words", flags=MapFlags.MMAPABLE
    )
    memory = made.mmap()
    made.close()
    memory.store(0, 1)
    memory.close()
    memory.close()
    for operation in (lambda: memory.store(0, 1), lambda: memory.load(0), lambda: memory[0]):
        with pytest.raises(ClosedError):
            operation()


def test_an_array_without_the_flag_is_not_mapped() -> None:
    with (
        maps.create(MapType.ARRAY, key=U32, value=U64, max_entries=1, name="plain") as made,
        pytest.raises(MapTypeError, match="BPF_F_MMAPABLE"),
    ):
        made.mmap()


def test_a_per_cpu_array_has_a_value_for_each_possible_cpu() -> None:
    cpus = possible_cpus()
    with maps.create(MapType.PERCPU_ARRAY, key=U32, value=U32, max_entries=2, name="percpu") as made:
        assert isinstance(made, PerCpuArrayMap)
        made[1] = [10 + cpu for cpu in range(cpus)]
        assert made.lookup_batch() == ([0, 1], [[0] * cpus, [10 + cpu for cpu in range(cpus)]])
        with pytest.raises(NotSupportedError):
            made.mmap()
