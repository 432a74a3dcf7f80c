"""A fake kernel for tests without root: the connect tier's maps in memory, and what its programs would read from them.

`FakeMaps` stands in for the open maps; `look_up` does what ``bpf/connect.bpf.c`` does between an address and its
backends, so a test can ask after every single write what a connection would see.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import NamedTuple

from ebpfmesh.errors import MapFullError, MapKeyError
from ebpfmesh.policy.address import Endpoint, parse
from ebpfmesh.tiers.connect.wire import (
    ADDRESS_KEY,
    BACKEND,
    BACKEND_KEY,
    COUNTERS,
    DISPATCH,
    FRONTEND_SIZE,
    INDEX,
    PROTOCOLS,
    SERVICE_COUNTERS,
    SERVICE_NAME,
    SERVICE_RECORD,
    DispatchFlag,
)

ALIAS = 4


class FakeMapping:
    """What ``mmap()`` of an array returns: ``buffer``, writable."""

    def __init__(self, memory: bytearray) -> None:
        self.buffer = memoryview(memory)

    def close(self) -> None:
        """Release the buffer."""
        self.buffer.release()


class FakeArray:
    """An array map that can be mapped; its memory outlives every mapping, as a pinned map's does."""

    def __init__(self, value_size: int, max_entries: int) -> None:
        self.max_entries = max_entries
        self.memory = bytearray(-(-value_size // 8) * 8 * max_entries)

    def mmap(self) -> FakeMapping:
        """Its memory."""
        return FakeMapping(self.memory)


class FakeHash:
    """A hash map of bytes, with a capacity."""

    def __init__(self, key_size: int, value_size: int, max_entries: int) -> None:
        self.key_size, self.value_size, self.max_entries = key_size, value_size, max_entries
        self.elements: dict[bytes, bytes] = {}

    def update_batch_raw(self, keys: bytes, values: bytes) -> None:
        """Insert or replace; MapFullError at the first that does not fit, those before it are in."""
        for number in range(len(keys) // self.key_size):
            key = keys[number * self.key_size : (number + 1) * self.key_size]
            if key not in self.elements and len(self.elements) >= self.max_entries:
                raise MapFullError("the map is full", capacity=self.max_entries)
            self.elements[key] = values[number * self.value_size : (number + 1) * self.value_size]

    def delete_raw(self, key: bytes) -> None:
        """Delete; MapKeyError if it is not there."""
        if self.elements.pop(key, None) is None:
            raise MapKeyError("no such key")

    def lookup_batch_raw(self) -> tuple[bytes, bytes]:
        """All keys, all values."""
        return b"".join(self.elements), b"".join(self.elements.values())


FakeMaps = Mapping[str, FakeArray | FakeHash]


def fake_maps(
    *, services: int = 16, addresses: int = 32, backends: int = 64, elements: int = 4096
) -> FakeMaps:
    """The connect tier's configuration and counter maps, empty; ``elements`` are the 8-byte elements of ``slots``."""
    return {
        "settings": FakeArray(16, 1),
        "addresses": FakeHash(ADDRESS_KEY.size, INDEX.size, addresses),
        "frontends": FakeArray(FRONTEND_SIZE, addresses),
        "slots": FakeArray(8, elements),
        "weights": FakeArray(8, backends),
        "backends": FakeHash(BACKEND_KEY.size, BACKEND.size, backends),
        "services": FakeHash(SERVICE_NAME.size, SERVICE_RECORD.size, services),
        "service_stats": FakeArray(SERVICE_COUNTERS.size, services),
        "backend_stats": FakeArray(COUNTERS.size, backends),
    }


class Seen(NamedTuple):
    """What a connection to an address finds: the backends that a dual-stack socket may get, and a one-family one."""

    dual: frozenset[str]
    single: frozenset[str]


def look_up(maps: FakeMaps, address: str, protocol: str = "tcp", scope: int = 0) -> Seen | None:
    """What a program finds at ``address``; None if the address is nobody's. AssertionError at a dangling reference.

    ``scope`` is the cookie of the network namespace that asks: its own services come before those of every namespace.
    """
    settings = maps["settings"]
    assert isinstance(settings, FakeArray)
    if scope and any(settings.memory[8:16]):  # some address has a scope
        found = _current(maps, address, protocol, scope)
        if found is not None:
            return found
    return _current(maps, address, protocol, 0)


def _current(maps: FakeMaps, address: str, protocol: str, scope: int) -> Seen | None:
    endpoint = parse(address)
    addresses, frontends, settings = maps["addresses"], maps["frontends"], maps["settings"]
    assert isinstance(addresses, FakeHash)
    assert isinstance(frontends, FakeArray)
    assert isinstance(settings, FakeArray)
    found = addresses.elements.get(
        ADDRESS_KEY.pack(endpoint.packed, scope, endpoint.port, PROTOCOLS[protocol])
    )
    if found is None:
        return None
    start = INDEX.unpack(found)[0] * FRONTEND_SIZE
    word = int.from_bytes(frontends.memory[start : start + 8], "little")
    generation = int.from_bytes(settings.memory[:8], "little")
    index = (word & 1) ^ (word >> 1 > generation)
    service, pick, _, flags, _, *tables = DISPATCH.unpack_from(
        frontends.memory, start + 8 + index * DISPATCH.size
    )
    if not flags & DispatchFlag.PRESENT:
        return None
    return Seen(_backends(maps, service, pick, *tables[:2]), _backends(maps, service, pick, *tables[2:]))


def _backends(maps: FakeMaps, service: int, pick: int, start: int, count: int) -> frozenset[str]:
    slots, backends = maps["slots"], maps["backends"]
    assert isinstance(slots, FakeArray)
    assert isinstance(backends, FakeHash)
    words = array(
        "H", bytes(slots.memory[start * 8 : start * 8 + (count * 8 if pick == ALIAS else -(-count // 4) * 8)])
    )
    ids = (
        {word for column in range(count) for word in words[column * 4 : column * 4 + 2]}
        if pick == ALIAS
        else set(words[:count])
    )
    seen = set()
    for number in ids:
        row = backends.elements.get(BACKEND_KEY.pack(service, number))
        assert row is not None, f"slot of service {service} holds id {number}, which is no backend"
        address, port, _ = BACKEND.unpack(row)
        seen.add(str(Endpoint(address, port)))
    return frozenset(seen)
