"""Batch calls and iteration: speed, partial failure, and elements that come and go meanwhile."""

from __future__ import annotations

import threading
from array import array

import pytest

from ebpfmesh import maps
from ebpfmesh.errors import MapFullError, MapKeyError, MapTypeError
from ebpfmesh.layout import U32, U64
from ebpfmesh.maps import batch
from ebpfmesh.spec import MapFlags, MapType

pytestmark = pytest.mark.kernel
COUNT = 100_000


@pytest.mark.parametrize("kind", [MapType.HASH, MapType.ARRAY])
def test_a_hundred_thousand_elements_are_written_and_read_in_batches(kind: MapType) -> None:
    keys, values = array("I", range(COUNT)), array("Q", range(COUNT))
    with maps.create(kind, key=U32, value=U64, max_entries=COUNT, name="many") as made:
        made.update_batch_raw(keys, values)
        found = made.lookup_batch_raw()
        read = dict(zip(array("I", found[0]), array("Q", found[1]), strict=True))
        assert read == {key: key for key in range(COUNT)}


def test_typed_batches_write_read_and_delete() -> None:
    with maps.create(MapType.HASH, key=U32, value=U64, max_entries=100, name="batch") as made:
        made.update_batch(range(100), (key * key for key in range(100)))
        keys, values = made.lookup_batch()
        assert sorted(zip(keys, values, strict=True)) == [(key, key * key) for key in range(100)]
        made.delete_batch(range(50))
        assert sorted(made) == list(range(50, 100))
        made.clear()
        assert made.count() == 0
        made.update_batch([], [])
        made.delete_batch([])
        assert made.lookup_batch() == ([], [])


def test_a_batch_that_does_not_fit_says_how_far_it_came() -> None:
    with maps.create(MapType.HASH, key=U32, value=U64, max_entries=10, name="small") as made:
        with pytest.raises(MapFullError, match=r"update of 12 elements, 10 written.* of key 10: .*holds 10"):
            made.update_batch(range(12), range(12))
        assert sorted(made) == list(range(10))
        with pytest.raises(MapKeyError, match=r"delete of 3 keys, 1 deleted.* of key 77"):
            made.delete_batch([0, 77, 1])
        assert 0 not in made and 1 in made


def test_flags_that_the_batch_call_refuses_are_kept_all_the_same() -> None:
    with maps.create(MapType.HASH, key=U32, value=U64, max_entries=10, name="flags") as made:
        made[1] = 1
        with pytest.raises(MapKeyError, match=r"1 written.* of key 1: .*there already"):
            made.update_batch([0, 1, 2], [5, 5, 5], maps.Update.NOEXIST)
        assert dict(made.items()) == {0: 5, 1: 1}


def test_buffers_of_a_wrong_length_are_type_errors() -> None:
    with maps.create(MapType.HASH, key=U32, value=U64, max_entries=10, name="lengths") as made:
        for keys, values in ((bytes(5), bytes(8)), (bytes(4), bytes(9)), (bytes(8), bytes(8))):
            with pytest.raises(MapTypeError):
                made.update_batch_raw(keys, values)
        with pytest.raises(MapTypeError, match="batch"):
            made.update_batch([1, -1], [1, 1])


@pytest.mark.parametrize("lacking", [False, True], ids=["batch call", "get_next_key"])
@pytest.mark.parametrize("kind", [MapType.HASH, MapType.LPM_TRIE])
def test_elements_that_stay_come_exactly_once_while_others_are_deleted(
    kind: MapType, lacking: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "type_has_batch", {(kind, "lookup"): False} if lacking else {})
    flags = MapFlags.NO_PREALLOC if kind == MapType.LPM_TRIE else 0
    stay = {b"\x20\0\0\0\0\0" + number.to_bytes(2, "big") for number in range(2000)}
    others = [b"\x20\0\0\0\1\0" + number.to_bytes(2, "big") for number in range(2000)]
    with maps.create(kind, key_size=8, value_size=4, max_entries=8000, name="walk", flags=flags) as made:
        made.update_batch_raw(b"".join([*stay, *others]), bytes(4 * 4000))
        stop = threading.Event()

        def churn() -> None:
            while not stop.is_set():
                for key in others:
                    made.discard(key)
                for key in others:
                    made[key] = bytes(4)

        thread = threading.Thread(target=churn)
        thread.start()
        try:
            for _ in range(3):
                seen = [key for keys, _ in made.chunks_raw(64) for key in _pieces(keys, 8)]
                assert {key for key in seen if key in stay} == stay
                assert len([key for key in seen if key in stay]) == len(stay)
        finally:
            stop.set()
            thread.join()


@pytest.mark.parametrize("lacking", [False, True], ids=["batch call", "get_next_key"])
def test_a_walk_may_delete_what_it_meets(lacking: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "type_has_batch", {(MapType.HASH, "lookup"): False} if lacking else {})
    with maps.create(MapType.HASH, key=U32, value=U64, max_entries=1000, name="walk") as made:
        made.update_batch(range(1000), range(1000))
        for key, value in made.items():
            assert key == value
            del made[key]
        assert made.count() == 0


def test_without_the_batch_calls_the_result_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    operations = ("update", "lookup", "delete")
    monkeypatch.setattr(batch, "type_has_batch", {(MapType.HASH, each): False for each in operations})
    with maps.create(MapType.HASH, key=U32, value=U64, max_entries=10, name="loop") as made:
        with pytest.raises(MapFullError, match="10 written"):
            made.update_batch(range(12), range(12))
        assert sorted(made.items()) == [(key, key) for key in range(10)]
        with pytest.raises(MapKeyError, match="1 deleted"):
            made.delete_batch([0, 77])


def test_a_map_with_one_crowded_bucket_is_read_whole() -> None:
    # the batch call answers ENOSPC when a bucket has more elements than the buffer: then the buffer grows
    with maps.create(MapType.HASH, key=U32, value=U32, max_entries=4096, name="crowd") as made:
        made.update_batch(range(4096), range(4096))
        seen = [key for keys, _ in made.chunks_raw(1) for key in array("I", keys)]
        assert sorted(seen) == list(range(4096))


def _pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]
