"""Pins, descriptors and their ends: what lives on, what is warned about, what a concurrent close leaves alone."""

from __future__ import annotations

import gc
import os
import threading
import warnings
from pathlib import Path

import pytest

from ebpfmesh import maps, objects
from ebpfmesh.errors import ClosedError, HostError, KernelError, MapTypeError
from ebpfmesh.layout import U16, U32, U64, Record
from ebpfmesh.spec import MapType, ObjectSpec
from ebpfmesh.testing.compile import compile_bpf

pytestmark = pytest.mark.kernel

SOURCE = r"""
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct key { __u32 address; __u16 port; __u16 pad; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8);
         __type(key, struct key); __type(value, __u64); } flows SEC(".maps");
SEC("license") const char licence[] = "GPL";
"""


class Flow(Record):
    address: U32
    port: U16
    pad: U16 = 0


def test_a_pinned_map_outlives_its_maker_and_keeps_its_types(bpffs: Path) -> None:
    with objects.load(ObjectSpec.from_bytes(compile_bpf(SOURCE), "pins")) as loaded:
        loaded.maps["flows"].pin(bpffs / "flows")
        loaded.maps["flows"][Flow(1, 80)] = 5
    with maps.open_pinned(bpffs / "flows") as again:
        [(key, value)] = again.items()
        assert (key.address, key.port, value) == (1, 80, 5)
    with maps.open_pinned(bpffs / "flows", key=Flow, value=U64) as again:
        assert again[Flow(1, 80)] == 5


def test_a_pinned_map_is_checked_against_the_wanted_types(bpffs: Path) -> None:
    class Other(Record):
        address: U32
        prt: U16
        pad: U16

    with objects.load(ObjectSpec.from_bytes(compile_bpf(SOURCE), "pins")) as loaded:
        loaded.maps["flows"].pin(bpffs / "flows")
    with pytest.raises(MapTypeError, match=r"flows, key\.prt"):
        maps.open_pinned(bpffs / "flows", key=Other)
    with pytest.raises(MapTypeError, match="flows, value"):
        maps.open_pinned(bpffs / "flows", value=U32)


def test_what_is_wrong_with_a_pin_path_is_said(bpffs: Path, tmp_path: Path) -> None:
    with maps.create(MapType.HASH, key=U32, value=U32, max_entries=1, name="one") as one:
        with pytest.raises(HostError, match=r"not on a BPF file system.*mount -t bpf"):
            one.pin(tmp_path / "one")
        with pytest.raises(HostError, match="does not exist"):
            one.pin(bpffs / "missing" / "one")
        one.pin(bpffs / "one")
        with pytest.raises(KernelError, match="is taken: EEXIST"):
            one.pin(bpffs / "one")
    with pytest.raises(HostError, match="nothing is pinned"):
        maps.open_pinned(bpffs / "two")
    with pytest.raises(HostError, match="not on a BPF file system"):
        maps.open_pinned(tmp_path / "one")


def test_a_program_is_not_opened_as_a_map(bpffs: Path) -> None:
    source = SOURCE + '\nSEC("tc") int pass(struct __sk_buff *skb) { return 0; }\n'
    with objects.load(ObjectSpec.from_bytes(compile_bpf(source), "pins")) as loaded:
        loaded.programs["pass"].pin(bpffs / "pass")
    with pytest.raises(HostError, match="a prog is pinned there, not a map"):
        maps.open_pinned(bpffs / "pass")


def test_a_map_that_nobody_closed_is_a_resource_warning_and_is_closed() -> None:
    made = maps.create(MapType.HASH, key=U32, value=U32, max_entries=1, name="forgotten")
    number = made.fd
    with pytest.warns(ResourceWarning, match="map forgotten was never closed"):
        del made
        gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


def test_a_closed_map_is_no_resource_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = maps.create(MapType.HASH, key=U32, value=U32, max_entries=1, name="closed")
        made.close()
        del made
        gc.collect()


def test_close_never_takes_the_descriptor_from_a_call_of_another_thread() -> None:
    # a plain close() would let a call run on whatever got the number next: here, a map full of sevens
    others = []
    try:
        for _ in range(30):
            made = maps.create(MapType.ARRAY, key=U32, value=U64, max_entries=2000, name="ones")
            made.update_batch(range(2000), [1] * 2000)
            wrong: list[object] = []
            begun = threading.Event()

            def read(
                made: object = made, wrong: list[object] = wrong, begun: threading.Event = begun
            ) -> None:
                try:
                    while True:
                        begun.set()
                        _, values = made.lookup_batch()  # type: ignore[attr-defined]
                        if set(values) != {1}:
                            wrong.append(set(values))
                except ClosedError:
                    pass
                except Exception as error:
                    wrong.append(error)

            threads = [threading.Thread(target=read) for _ in range(2)]
            for thread in threads:
                thread.start()
            begun.wait()
            made.close()
            other = maps.create(MapType.ARRAY, key=U32, value=U64, max_entries=2000, name="sevens")
            other.update_batch(range(2000), [7] * 2000)
            others.append(other)
            for thread in threads:
                thread.join()
            assert wrong == []
    finally:
        for other in others:
            other.close()


def test_threads_may_use_a_map_together() -> None:
    with maps.create(MapType.HASH, key=U32, value=U64, max_entries=40_000, name="shared") as made:

        def work(start: int) -> None:
            for key in range(start, start + 2000):
                made[key] = key
                assert made[key] == key

        threads = [threading.Thread(target=work, args=(number * 2000,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert dict(made.items()) == {key: key for key in range(16_000)}
