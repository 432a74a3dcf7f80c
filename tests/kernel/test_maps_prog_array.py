"""Program arrays: tail calls follow what is written, and a miss is the caller's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ebpfmesh import objects
from ebpfmesh.errors import MapError, MapKeyError
from ebpfmesh.maps import ProgramArrayMap
from ebpfmesh.objects import Objects
from ebpfmesh.spec import ObjectSpec
from ebpfmesh.testing.compile import compile_bpf

pytestmark = pytest.mark.kernel

SOURCE = r"""
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 4);
         __uint(key_size, 4); __uint(value_size, 4); } slots SEC(".maps");
SEC("tc") int entry(struct __sk_buff *skb) { bpf_tail_call(skb, &slots, 1); return 99; }
SEC("tc") int one(struct __sk_buff *skb) { return 1; }
SEC("tc") int two(struct __sk_buff *skb) { return 2; }
SEC("xdp") int other(struct xdp_md *ctx) { return 2; }
SEC("license") const char licence[] = "GPL";
"""


@pytest.fixture
def loaded(_leaks_fail: None) -> Iterator[Objects]:
    """The object above."""
    with objects.load(ObjectSpec.from_bytes(compile_bpf(SOURCE), "tail")) as made:
        yield made


def test_a_tail_call_follows_the_slot(loaded: Objects) -> None:
    slots, entry = loaded.maps["slots"], loaded.programs["entry"]
    assert isinstance(slots, ProgramArrayMap)
    assert entry.test_run(bytes(64)).value == 99
    for name, value in (("one", 1), ("two", 2)):
        slots[1] = loaded.programs[name]
        assert slots[1] == loaded.programs[name].id
        assert entry.test_run(bytes(64)).value == value
    del slots[1]
    assert entry.test_run(bytes(64)).value == 99


def test_an_empty_slot_is_a_missing_key(loaded: Objects) -> None:
    slots = loaded.maps["slots"]
    with pytest.raises(MapKeyError):
        slots[0]
    with pytest.raises(MapKeyError):
        slots[4]
    slots[3] = loaded.programs["one"]
    assert list(slots.items()) == [(3, loaded.programs["one"].id)]


def test_a_program_of_another_type_is_refused(loaded: Objects) -> None:
    with pytest.raises(MapError, match="EINVAL"):
        loaded.maps["slots"][0] = loaded.programs["other"]
