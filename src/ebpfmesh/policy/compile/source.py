"""Where requests come from, as far as the rules of a service tell it apart: classes of cgroup, address and port.

The kernel finds the deepest cgroup that has a number and the longest prefix that a service names, and by both the policy.
Which rules hold for a class is settled here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from ipaddress import ip_network
from typing import TYPE_CHECKING, NamedTuple

from ebpfmesh.identity import cgroup_path
from ebpfmesh.identity.workload import Workload
from ebpfmesh.identity.workloads import Workloads, chosen
from ebpfmesh.policy.compile.entry import Entry

if TYPE_CHECKING:
    from ebpfmesh.policy.model import Config, Service
    from ebpfmesh.policy.source import Source

_LONGEST_NAME = 63
_V4_MAPPED = 0xFFFF << 32


def cgroups(config: Config) -> dict[str, str]:
    """Name -> path of every cgroup that policies tell apart: workloads', and those that rules name, named by their path.

    A path that is longer than a name can be is shortened, with a digest of it.
    """
    found = {one.name: cgroup_path.normal(one.cgroup) for one in reversed(config.workloads)}
    taken = set(found.values())
    for service in config.services:
        for path in _named(service):
            if path not in taken:
                taken.add(path)
                found[_name(path)] = path
    return found


def _named(service: Service) -> Iterable[str]:
    for one in (*service.rules, *service.limits, *service.faults):
        for source in one.sources or ():
            if source.cgroup is not None:
                yield cgroup_path.normal(source.cgroup)


def _name(path: str) -> str:
    raw = path.encode()
    if len(raw) <= _LONGEST_NAME:
        return path
    digest = blake2b(raw, digest_size=6).hexdigest()
    return f"/{digest}…{raw[-40:].decode(errors='ignore')}"


class Prefix(NamedTuple):
    """An address range of v4-mapped IPv6: its first address as a number, and bits."""

    address: int
    bits: int

    def includes(self, other: Prefix) -> bool:
        """Whether all of ``other`` is in it."""
        return self.bits <= other.bits and (self.address ^ other.address) >> (128 - self.bits) == 0

    @property
    def packed(self) -> bytes:
        """16 bytes."""
        return self.address.to_bytes(16, "big")


V4 = Prefix(_V4_MAPPED, 96)
"""All of IPv4."""


@lru_cache(maxsize=4096)
def prefix(text: str) -> Prefix:
    """ "10.0.0.7", "10.0.0.0/8", "fd00::/8"; ValueError if it is none. What is v4-mapped is IPv4."""
    network = ip_network(text, strict=False)
    address = int(network.network_address)
    if network.version == 4:
        return Prefix(_V4_MAPPED | address, 96 + network.prefixlen)
    return Prefix(address, network.prefixlen)


class Place(NamedTuple):
    """A cgroup that has a number, and who the processes there are."""

    name: str
    path: str
    workload: Workload | None


@dataclass(frozen=True)
class Classes:
    """The classes of a service's clients: each has the entries that can match there."""

    asks_workload: bool
    asks_address: bool
    asks_port: bool
    default: frozenset[int]
    """Entries of clients that are nobody in particular."""
    rows: dict[tuple[str, int, int], frozenset[int]]
    """(name of a cgroup or "", class of an address or 0, port or 0) -> entries, where they differ from the default."""
    addresses: dict[Prefix, int]
    """The class of each prefix."""


class _Client(NamedTuple):
    """One class, before those that are the same are found."""

    place: Place | None
    prefix: Prefix | None
    port: int


def classes(config: Config, service: Service, entries: Sequence[Entry]) -> Classes:
    """Tell the clients of a service apart by what its entries ask."""
    sources = [source for one in entries for source in one.sources or ()]  # not hashable: they have labels
    asks_workload = any(map(_asks_workload, sources))
    prefixes = _prefixes(sources)
    ports = sorted({endpoint.port for endpoint in service.endpoints}) or [0]
    asks_port = any(one.port is not None for one in entries)
    places: list[Place | None] = [None]
    if asks_workload:
        workloads = Workloads(config.workloads)
        places += [Place(name, path, workloads.at(path)) for name, path in cgroups(config).items()]
    applicable = _Applicable(entries)
    seen = [(place, port) for place in places for port in (ports if asks_port else ports[:1])]
    columns: dict[Prefix | None, tuple[frozenset[int], ...]] = {
        one: tuple(applicable.to(_Client(place, one, port)) for place, port in seen)
        for one in (None, *prefixes)
    }
    keys = [(place.name if place else "", port if asks_port else 0) for place, port in seen]
    numbers = {columns[None]: 0}
    addresses = {one: numbers.setdefault(columns[one], len(numbers)) for one in prefixes}
    default = columns[None][0]
    rows = {
        (name, number, port): found
        for column, number in numbers.items()
        for (name, port), found in zip(keys, column, strict=True)
        if found != default
    }
    return Classes(asks_workload, bool(prefixes), asks_port, default, rows, addresses)


def _asks_workload(source: Source) -> bool:
    return any(asked is not None for asked in (source.workload, source.spiffe, source.labels, source.cgroup))


def _prefixes(sources: Iterable[Source]) -> list[Prefix]:
    found = {prefix(source.address) for source in sources if source.address is not None}
    if any(
        one.includes(V4) and one != V4 for one in found
    ):  # "::/0" is about IPv6, and its numbers hold IPv4's
        found.add(V4)
    return sorted(found)


class _Applicable:
    """Which entries can match requests of a client; what depends on the cgroup alone is worked out once for each."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._always = frozenset(
            number for number, one in enumerate(entries) if one.sources is None and one.port is None
        )
        self._asking = [(number, one) for number, one in enumerate(entries) if number not in self._always]
        self._by_place: dict[tuple[str, int], bool] = {}

    def to(self, client: _Client) -> frozenset[int]:
        """The numbers of the entries."""
        return self._always.union(
            number
            for number, one in self._asking
            if one.port in (None, client.port)
            and (one.sources is None or any(self._means(source, client) for source in one.sources))
        )

    def _means(self, source: Source, client: _Client) -> bool:
        if source.address is not None:
            asked = prefix(source.address)
            if client.prefix is None or not asked.includes(client.prefix):
                return False
            if V4.includes(client.prefix) and not V4.includes(asked):
                return False
        key = client.place.name if client.place else "", id(source)
        known = self._by_place.get(key)
        if known is None:
            known = self._by_place[key] = _is_at(source, client.place)
        return known


def _is_at(source: Source, place: Place | None) -> bool:
    if not _asks_workload(source):
        return True
    if place is None or (source.cgroup is not None and not cgroup_path.within(place.path, source.cgroup)):
        return False
    asked = (source.workload, source.spiffe, source.labels)
    if all(value is None for value in asked):
        return True
    return place.workload is not None and chosen(
        place.workload, name=source.workload, selector=source.spiffe, labels=source.labels
    )
