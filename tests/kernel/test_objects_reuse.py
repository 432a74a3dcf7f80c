"""Reuse of open and pinned maps: what fits is shared, what differs is named before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ebpfmesh import maps, objects
from ebpfmesh.errors import HostError, LayoutError
from ebpfmesh.objects import Objects
from ebpfmesh.spec import MapType, ObjectSpec
from ebpfmesh.testing.compile import compile_bpf
from ebpfmesh.testing.leaks import no_leaks

pytestmark = pytest.mark.kernel

SOURCE = r"""
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct key { __u32 address; __u16 port; __u16 zone; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 16);
         __type(key, struct key); __type(value, __u64); } flows SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 5000); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 63); __uint(map_flags, BPF_F_NO_COMMON_LRU);
         __type(key, __u32); __type(value, __u64); } recent SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS); __uint(max_entries, 2); __type(key, __u32);
         __array(values, struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4);
                                  __type(key, __u32); __type(value, __u32); }); } tables SEC(".maps");
SEC("tc") int count(struct __sk_buff *skb)
{
    struct key key = { .address = 1 };
    __u64 one = 1, *value = bpf_map_lookup_elem(&flows, &key);
    if (value) { *value += 1; return *value; }
    bpf_map_update_elem(&flows, &key, &one, 0);
    return 1;
}
SEC("license") const char licence[] = "GPL";
"""


@pytest.fixture
def first(_leaks_fail: None) -> Iterator[Objects]:
    """The object above, loaded."""
    with objects.load(spec()) as made:
        yield made


def spec() -> ObjectSpec:
    return ObjectSpec.from_bytes(compile_bpf(SOURCE), "reuse")


def changed(old: str, new: str) -> ObjectSpec:
    assert old in SOURCE
    return ObjectSpec.from_bytes(compile_bpf(SOURCE.replace(old, new)), "reuse")


def test_a_reused_map_is_shared_by_both_programs(first: Objects) -> None:
    first.programs["count"].test_run(bytes(64), repeat=3)
    with objects.load(spec(), reuse={"flows": first.maps["flows"]}) as second:
        assert second.maps["flows"].id == first.maps["flows"].id
        assert second.programs["count"].test_run(bytes(64)).value == 4
    assert first.maps["flows"].count() == 1  # closing the second left it open


def test_every_kind_of_map_can_be_reused_as_it_was_made(first: Objects) -> None:
    with objects.load(spec(), reuse=dict(first.maps)) as second:
        assert {name: each.id for name, each in second.maps.items()} == {
            name: each.id for name, each in first.maps.items()
        }


def test_a_pin_or_a_descriptor_is_reused_too(first: Objects, bpffs: Path) -> None:
    first.maps["flows"].pin(bpffs / "flows")
    for source in (bpffs / "flows", str(bpffs / "flows"), first.maps["flows"].fd):
        with no_leaks(), objects.load(spec(), reuse={"flows": source}) as second:
            assert second.maps["flows"].id == first.maps["flows"].id
    with pytest.raises(HostError, match="nothing is pinned"):
        objects.load(spec(), reuse={"flows": bpffs / "other"})


@pytest.mark.parametrize(
    ("old", "new", "difference"),
    [
        ("_HASH); __uint(max_entries, 16)", "_LRU_HASH); __uint(max_entries, 16)", "type is HASH, not LRU_HASH"),
        ("__u16 zone;", "__u16 zone; __u32 mark;", "key size is 8, not 12"),
        ("__type(value, __u64); } flows", "__type(value, __u32); } flows", "value size is 8, not 4"),
        ("max_entries, 16", "max_entries, 32", "max_entries is 16, not 32"),
        ("max_entries, 16);", "max_entries, 16); __uint(map_flags, BPF_F_NO_PREALLOC);", "flags is 0, not 1"),
        ("__u16 zone;", "__u16 realm;", "key is struct key .*zone.*, not struct key .*realm"),
        ("__type(value, __u64); } flows", "__type(value, __s64); } flows", "value is .*, not "),
    ],
    ids=["type", "key size", "value size", "capacity", "flags", "key layout", "value layout"],
)  # fmt: skip
def test_what_differs_is_named_and_nothing_is_loaded(
    first: Objects, old: str, new: str, difference: str
) -> None:
    with no_leaks(), pytest.raises(LayoutError, match=f"map flows: .*{difference}"):
        objects.load(changed(old, new), reuse={"flows": first.maps["flows"]})


def test_a_capacity_given_at_load_counts_for_reuse(first: Objects) -> None:
    with objects.load(spec(), max_entries={"flows": 99}) as large:
        with pytest.raises(LayoutError, match="max_entries is 99, not 16"):
            objects.load(spec(), reuse={"flows": large.maps["flows"]})
        with objects.load(spec(), max_entries={"flows": 99}, reuse={"flows": large.maps["flows"]}) as again:
            assert again.maps["flows"].id == large.maps["flows"].id


def test_a_map_without_btf_is_checked_by_its_sizes() -> None:
    with (
        maps.create(MapType.HASH, key_size=8, value_size=8, max_entries=16, name="flows") as made,
        objects.load(spec(), reuse={"flows": made}) as loaded,
    ):
        loaded.programs["count"].test_run(bytes(64))
        assert made.count() == 1
