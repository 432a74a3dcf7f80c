"""Hash maps on the real kernel: elements, flags, errors, typed keys, eviction, values per CPU."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ebpfmesh import maps
from ebpfmesh.errors import ClosedError, MapFullError, MapKeyError, MapTypeError, NotSupportedError, SpecError
from ebpfmesh.layout import U16, U32, U64, Bytes, Record
from ebpfmesh.maps import HashMap, LruHashMap, PerCpuHashMap, Update, possible_cpus
from ebpfmesh.spec import MapFlags, MapType

pytestmark = pytest.mark.kernel


class Key(Record):
    address: Bytes[16]
    port: U16


@pytest.fixture
def numbers(_leaks_fail: None) -> Iterator[HashMap[int, int]]:
    """Eight elements of U32 -> U64."""
    with maps.create(MapType.HASH, key=U32, value=U64, max_entries=8, name="numbers") as made:
        yield made


def test_an_element_is_written_read_and_deleted(numbers: HashMap[int, int]) -> None:
    numbers[7] = 70
    assert numbers[7] == 70
    assert 7 in numbers and 8 not in numbers
    assert numbers.lookup(8) is None and numbers.lookup(8, 1) == 1
    del numbers[7]
    assert 7 not in numbers


def test_a_missing_key_is_a_key_error_that_names_map_and_key(numbers: HashMap[int, int]) -> None:
    with pytest.raises(MapKeyError, match=r"map numbers: no key 7"):
        numbers[7]
    with pytest.raises(KeyError):
        del numbers[7]
    assert numbers.discard(7) is False


def test_a_full_map_says_its_capacity_and_takes_known_keys_still(numbers: HashMap[int, int]) -> None:
    for key in range(8):
        numbers[key] = key
    with pytest.raises(MapFullError, match=r"map numbers: .*it holds 8 ") as caught:
        numbers[8] = 8
    assert caught.value.capacity == 8
    numbers[3] = 33
    assert numbers[3] == 33


def test_update_flags_are_kept(numbers: HashMap[int, int]) -> None:
    with pytest.raises(MapKeyError, match="no such key"):
        numbers.update(1, 1, Update.EXIST)
    numbers.update(1, 1, Update.NOEXIST)
    with pytest.raises(MapKeyError, match="there already"):
        numbers.update(1, 2, Update.NOEXIST)
    numbers.update(1, 3, Update.EXIST)
    assert numbers[1] == 3


def test_take_removes_and_returns_in_one_step(numbers: HashMap[int, int]) -> None:
    numbers[1] = 11
    assert numbers.take(1) == 11
    with pytest.raises(MapKeyError):
        numbers.take(1)


@pytest.mark.parametrize("key", [-1, 1 << 32, "1", None, b"1234"])
def test_a_key_that_does_not_fit_is_a_type_error(numbers: HashMap[int, int], key: object) -> None:
    with pytest.raises(MapTypeError, match="map numbers, key"):
        numbers[key] = 1  # type: ignore[index]


def test_a_value_that_does_not_fit_is_a_type_error_and_nothing_is_written(numbers: HashMap[int, int]) -> None:
    with pytest.raises(MapTypeError, match="map numbers, value"):
        numbers[1] = 1 << 64
    assert 1 not in numbers


def test_a_struct_key_is_packed_with_zeroed_padding_and_read_back() -> None:
    class Padded(Record):
        port: U16
        mark: U32

    with maps.create(MapType.HASH, key=Padded, value=Key, max_entries=4, name="structs") as made:
        made[Padded(port=80, mark=5)] = Key(address=bytes(16), port=443)
        assert made.lookup_raw(b"\x50\0\0\0\x05\0\0\0") is not None
        [(key, value)] = made.items()
        assert (key.port, key.mark) == (80, 5)
        assert value == Key(address=bytes(16), port=443)
        with pytest.raises(MapTypeError, match=r"structs, key\.port"):
            made[Padded(port=1 << 16, mark=0)]


def test_bytes_of_another_size_never_reach_the_kernel() -> None:
    with maps.create(MapType.HASH, key_size=4, value_size=8, max_entries=4, name="raw") as made:
        for key, value in (
            (b"123", bytes(8)),
            (b"12345", bytes(8)),
            (b"1234", bytes(7)),
            (b"1234", bytes(9)),
        ):
            with pytest.raises(MapTypeError):
                made[key] = value
            with pytest.raises(MapTypeError):
                made.update_raw(key, value)
        with pytest.raises(MapTypeError):
            made.lookup_raw(b"")
        assert made.count() == 0


def test_a_closed_map_says_so_in_every_operation(numbers: HashMap[int, int]) -> None:
    numbers.close()
    numbers.close()
    for operation in (
        lambda: numbers[1],
        lambda: numbers.update(1, 1),
        lambda: numbers.delete(1),
        lambda: list(numbers),
        numbers.lookup_batch,
        lambda: numbers.update_batch([1], [1]),
        numbers.memory,
        lambda: numbers.fd,
    ):
        with pytest.raises(ClosedError, match="map numbers"):
            operation()


def test_a_frozen_map_refuses_writes(numbers: HashMap[int, int]) -> None:
    numbers[1] = 1
    numbers.freeze()
    assert numbers[1] == 1
    with pytest.raises(Exception, match="not permitted"):
        numbers[2] = 2


def test_a_name_that_the_kernel_would_cut_is_refused() -> None:
    maps.create(MapType.HASH, key=U32, value=U32, max_entries=1, name="x" * 15).close()
    with pytest.raises(SpecError, match="16 characters"):
        maps.create(MapType.HASH, key=U32, value=U32, max_entries=1, name="x" * 16)


def test_memory_and_info_are_the_kernels(numbers: HashMap[int, int]) -> None:
    info = numbers.info()
    assert (info.id, info.name, info.type, info.key_size, info.value_size, info.max_entries) == (
        numbers.id, "numbers", MapType.HASH, 4, 8, 8)  # fmt: skip
    with maps.create(MapType.HASH, key=U32, value=U64, max_entries=80000, name="large") as large:
        assert large.memory() > 80000 * 12 > numbers.memory() > 0


def test_an_lru_map_evicts_instead_of_refusing() -> None:
    with maps.create(MapType.LRU_HASH, key=U32, value=U32, max_entries=64, name="lru") as lru:
        assert isinstance(lru, LruHashMap)
        for key in range(1000):
            lru[key] = key
        assert 0 < lru.count() <= 64
        assert 999 in lru


@pytest.mark.parametrize("kind", [MapType.PERCPU_HASH, MapType.LRU_PERCPU_HASH])
def test_a_per_cpu_hash_has_a_value_for_each_possible_cpu(kind: MapType) -> None:
    with maps.create(kind, key=U32, value=U32, max_entries=64, name="percpu") as made:
        assert isinstance(made, PerCpuHashMap)
        cpus = possible_cpus()
        made[1] = 5
        assert made[1] == [5] * cpus
        made[1] = list(range(cpus))
        assert made[1] == list(range(cpus))
        assert made.total(1) == sum(range(cpus))
        with pytest.raises(MapTypeError, match="one for each possible CPU"):
            made[1] = [1] * (cpus + 1)
        keys, values = made.lookup_batch()
        assert (keys, values) == ([1], [list(range(cpus))])
        made.update_batch([2, 3], [[7] * cpus, 8])
        assert made[2] == [7] * cpus and made[3] == [8] * cpus


def test_an_operation_that_the_type_lacks_is_not_supported() -> None:
    with (
        maps.create(MapType.ARRAY, key=U32, value=U64, max_entries=1, name="array") as array,
        pytest.raises(NotSupportedError),
    ):
        array.take(0)


def test_a_type_without_a_family_is_a_map_of_bytes() -> None:
    with maps.create(MapType.DEVMAP_HASH, key_size=4, value_size=4, max_entries=4, name="devices") as made:
        assert type(made) is maps.Map
        made[b"\1\0\0\0"] = b"\1\0\0\0"  # lo is interface 1, and only named here
        assert made[b"\1\0\0\0"] == b"\1\0\0\0"


def test_flags_of_the_kernel_are_passed_on() -> None:
    with maps.create(
        MapType.HASH, key=U32, value=U32, max_entries=4, name="flags", flags=MapFlags.NO_PREALLOC
    ) as made:
        assert made.info().flags == MapFlags.NO_PREALLOC
