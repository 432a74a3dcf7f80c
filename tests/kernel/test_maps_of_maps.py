"""Maps of maps: a program follows the swap of an inner map; templates, capacities, batches."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from ebpfmesh import maps, objects
from ebpfmesh.errors import MapError, MapKeyError, MapTypeError
from ebpfmesh.layout import U32
from ebpfmesh.maps import ArrayOfMaps, HashOfMaps
from ebpfmesh.objects import Objects
from ebpfmesh.spec import MapType, ObjectSpec
from ebpfmesh.testing.compile import compile_bpf

pytestmark = pytest.mark.kernel

SOURCE = r"""
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct table { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __uint(map_flags, BPF_F_INNER_MAP);
               __type(key, __u32); __type(value, __u32); };
struct { __uint(type, BPF_MAP_TYPE_HASH_OF_MAPS); __uint(max_entries, 128); __type(key, __u32);
         __array(values, struct table); } tables SEC(".maps");
struct fixed { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4); __type(key, __u32); __type(value, __u32); };
struct { __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS); __uint(max_entries, 3); __type(key, __u32);
         __array(values, struct fixed); } slots SEC(".maps");
SEC("tc") int first(struct __sk_buff *skb)
{
    __u32 key = 5, zero = 0;
    void *table = bpf_map_lookup_elem(&tables, &key);
    if (!table) return 1000;
    __u32 *value = bpf_map_lookup_elem(table, &zero);
    return value ? *value : 2000;
}
SEC("license") const char licence[] = "GPL";
"""


@pytest.fixture
def loaded(_leaks_fail: None) -> Iterator[Objects]:
    """The object above."""
    with objects.load(ObjectSpec.from_bytes(compile_bpf(SOURCE), "outer")) as made:
        yield made


def test_a_program_sees_each_swap_of_the_inner_map(loaded: Objects) -> None:
    tables, program = loaded.maps["tables"], loaded.programs["first"]
    assert isinstance(tables, HashOfMaps)
    assert program.test_run(bytes(64)).value == 1000
    for number in (7, 8):
        with tables.create_inner(f"t{number}", max_entries=number) as inner:
            inner[0] = number
            tables[5] = inner
            assert tables[5] == inner.id
        assert program.test_run(bytes(64)).value == number  # the kernel holds it now
    del tables[5]
    assert program.test_run(bytes(64)).value == 1000


def test_an_inner_map_is_opened_with_its_types(loaded: Objects) -> None:
    tables = loaded.maps["tables"]
    with tables.create_inner("inner") as inner:
        inner[3] = 33
        tables[1] = inner
    with tables.open_inner(1) as again:
        assert again[3] == 33 and again.max_entries == 4
        assert again.value == tables.inner.value
    with pytest.raises(MapKeyError):
        tables.open_inner(2)


def test_a_batch_of_swaps_waits_once_for_the_programs(loaded: Objects) -> None:
    tables = loaded.maps["tables"]
    inner = [tables.create_inner(f"t{number}") for number in range(100)]
    try:
        tables.update_batch(range(100), inner)
        start = time.perf_counter()
        tables.update_batch(range(100), inner[::-1])
        assert time.perf_counter() - start < 0.7  # one by one takes 0.8 to 1 s, in one call 10 to 20 ms
        assert dict(tables.items()) == {key: each.id for key, each in enumerate(inner[::-1])}
    finally:
        for each in inner:
            each.close()


def test_a_map_that_does_not_fit_is_refused(loaded: Objects) -> None:
    with maps.create(MapType.HASH, key=U32, value=U32, max_entries=4, name="other") as other:
        with pytest.raises(MapError, match="EINVAL"):
            loaded.maps["tables"][1] = other
        loaded.maps["slots"][1] = other  # but here it fits
    with pytest.raises(MapTypeError, match="no open descriptor"):
        loaded.maps["tables"][1] = object()


def test_an_empty_slot_of_an_array_of_maps_is_a_missing_key(loaded: Objects) -> None:
    slots = loaded.maps["slots"]
    assert isinstance(slots, ArrayOfMaps)
    with slots.create_inner("one") as inner:
        slots[1] = inner
        assert list(slots.items()) == [(1, inner.id)]
    assert 0 not in slots
    with pytest.raises(MapKeyError):
        slots[0]


def test_the_capacity_of_inner_maps_can_be_set_at_load() -> None:
    spec = ObjectSpec.from_bytes(compile_bpf(SOURCE), "outer")
    with objects.load(spec, max_entries={"slots.inner": 9, "slots": 5}) as made:
        slots = made.maps["slots"]
        assert slots.max_entries == 5
        with slots.create_inner("nine") as inner:
            assert inner.max_entries == 9
            slots[0] = inner


def test_a_map_from_elsewhere_does_not_know_its_inner_maps(loaded: Objects, bpffs: object) -> None:
    path = f"{bpffs}/tables"
    loaded.maps["tables"].pin(path)
    with maps.open_pinned(path) as again, pytest.raises(MapTypeError, match="load it from its object"):
        again.create_inner("x")
