"""LPM tries: the longest prefix wins, IPv4 and IPv6, a rule set by its id."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ebpfmesh import maps
from ebpfmesh.errors import MapFullError, MapKeyError, MapTypeError
from ebpfmesh.layout import U32, Bytes, Record
from ebpfmesh.maps import LpmTrieMap, prefix
from ebpfmesh.spec import MapFlags, MapType

pytestmark = pytest.mark.kernel


class Prefix(Record):
    length: U32
    address: Bytes[16]


@pytest.fixture
def trie(_leaks_fail: None) -> Iterator[LpmTrieMap[int]]:
    """Eight prefixes of 128 bits."""
    with maps.create(
        MapType.LPM_TRIE, key=Prefix, value=U32, max_entries=8, name="trie", flags=MapFlags.NO_PREALLOC
    ) as made:
        yield made


def host(address: str) -> Any:
    return Prefix(*prefix(address, mapped=True))


def test_the_longest_prefix_that_matches_is_found(trie: LpmTrieMap[int]) -> None:
    trie[Prefix(*prefix("10.0.0.0/8", mapped=True))] = 8
    trie[Prefix(*prefix("10.1.0.0/16", mapped=True))] = 16
    trie[Prefix(*prefix("fd00::/8"))] = 6
    assert trie[host("10.2.3.4")] == 8
    assert trie[host("10.1.3.4")] == 16
    assert trie[host("fd00::1")] == 6
    assert host("11.0.0.1") not in trie
    del trie[Prefix(*prefix("10.1.0.0/16", mapped=True))]
    assert trie[host("10.1.3.4")] == 8


def test_iteration_gives_every_prefix_once(trie: LpmTrieMap[int]) -> None:
    networks = ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "192.168.0.0/24"]
    for number, network in enumerate(networks):
        trie[Prefix(*prefix(network, mapped=True))] = number
    found = {tuple(key): value for key, value in trie.items()}
    assert found == {prefix(network, mapped=True): number for number, network in enumerate(networks)}
    assert trie.count() == 4


def test_deletion_means_exactly_that_prefix(trie: LpmTrieMap[int]) -> None:
    trie[Prefix(*prefix("10.0.0.0/8", mapped=True))] = 8
    with pytest.raises(MapKeyError):
        del trie[host("10.1.2.3")]


def test_a_full_trie_says_so(trie: LpmTrieMap[int]) -> None:
    for number in range(8):
        trie[host(f"10.0.0.{number}")] = number
    with pytest.raises(MapFullError, match="holds 8"):
        trie[host("10.0.0.8")] = 8


def test_a_prefix_longer_than_the_data_is_a_type_error(trie: LpmTrieMap[int]) -> None:
    with pytest.raises(MapTypeError, match="at most 128 bits"):
        trie[Prefix(129, bytes(16))] = 1


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0.0/33", "example", ""])
def test_what_is_no_network_has_no_prefix(text: str) -> None:
    with pytest.raises(MapTypeError, match="no IP network"):
        prefix(text)
