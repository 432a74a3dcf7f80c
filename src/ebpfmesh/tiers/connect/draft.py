"""A change worked out before anything is written: which elements to write, and what they leave behind."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from itertools import chain, repeat
from struct import Struct
from typing import TYPE_CHECKING

import msgspec

from ebpfmesh.engine.balance.table import MAX_ID, Pick, Table, Target
from ebpfmesh.errors import CapacityError, ConfigError
from ebpfmesh.policy.address import Endpoint
from ebpfmesh.tiers.connect import compile as compiler
from ebpfmesh.tiers.connect.compile import TOMBSTONE
from ebpfmesh.tiers.connect.ids import Ids
from ebpfmesh.tiers.connect.installed import Installed, InstalledBackend, InstalledService
from ebpfmesh.tiers.connect.wire import (
    ADDRESS_KEY,
    BACKEND,
    BACKEND_KEY,
    BALANCER_BYTES,
    DISPATCH,
    NO_TABLE,
    PROTOCOLS,
    SERVICE_RECORD,
    DispatchFlag,
    Extent,
    RecordFlag,
)

if TYPE_CHECKING:
    from ebpfmesh.policy.model import Service
    from ebpfmesh.tiers.connect.tables import Tables

ScopeOf = Callable[[str | None], int]
"""The cookie of the network namespace at a path; 0 for None."""

_encode = msgspec.msgpack.Encoder().encode


def digest_of(service: Service, scope: int) -> int:
    """A 63-bit digest of everything the kernel's part of the service is made from; never 0."""
    text = _encode(service) + scope.to_bytes(8, "little")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little") >> 1 | 1 << 62


@dataclass(slots=True)
class Draft:
    """The writes of one apply, in the order in which they are made."""

    tables: Tables
    installed: Installed
    scope_of: ScopeOf
    changing: frozenset[int] = frozenset()
    """Indices of the installed services that the change puts or removes: their addresses may move."""
    backend_rows: list[tuple[bytes, bytes]] = field(default_factory=list)
    """(keys, elements), of one backend or of all of a new service."""
    weights: list[tuple[int, int]] = field(default_factory=list)
    """(counter, weight) of the backends whose weight is another."""
    weight_runs: list[tuple[int, array[int]]] = field(default_factory=list)
    """(first counter, weights) of new services whose counters follow one another."""
    slot_writes: list[tuple[int, bytes]] = field(default_factory=list)
    versions: dict[int, bytes] = field(default_factory=dict)
    """Frontend -> its next dispatch."""
    new_addresses: dict[bytes, int] = field(default_factory=dict)
    records: dict[str, bytes] = field(default_factory=dict)
    services: dict[str, InstalledService] = field(default_factory=dict)
    """What the mirror will hold."""
    freed_extents: list[tuple[int, int]] = field(default_factory=list)
    current: bool = False
    """The change is visible, or the next store makes it so: it can only be finished, not taken back."""
    departed: list[tuple[InstalledService, Endpoint]] = field(default_factory=list)
    """Backends that leave with this change."""
    _claimed: set[bytes] = field(default_factory=set)
    _taken: dict[str, list[int]] = field(
        default_factory=lambda: {"services": [], "frontends": [], "counters": []}
    )

    def put(self, service: Service) -> None:
        """Add the service, or make the installed one so. CapacityError if it does not fit."""
        old = self.installed.services.get(service.name) or self.installed.retired.get(service.name)
        scope = self.scope_of(service.namespace)
        index = old.index if old else self._take("services", self.installed.service_ids)
        new = InstalledService(service.name, index, digest_of(service, scope), b"")
        endpoints = [backend.endpoint for backend in service.backends]
        if old is None:
            ids: Sequence[int] = self._first_backends(service, endpoints, new)
        else:
            ids = self._put_backends(service, endpoints, new, old)
        weights = [backend.effective_weight for backend in service.backends]
        identities = [endpoint.identity for endpoint in endpoints]
        # with those of weight 0: a balancer may size its table by how many there are, not by who takes connections now
        self._put_tables(service, list(map(Target, ids, weights, identities)), new, old)
        self._put_addresses(service, new, scope)
        new.record = _record(service, new, scope)
        self.records[service.name] = new.record
        self.services[service.name] = new

    def remove(self, name: str) -> None:
        """Take the service away: its addresses are nobody's, its backends leave."""
        old = self.installed.services[name]
        new = InstalledService(
            name, old.index, 0, _retire(old.record), leaving={**old.leaving, **old.backends}
        )
        self.departed += [(new, endpoint) for endpoint in old.backends]
        self.freed_extents += {(one.start, one.elements) for one, _ in old.extents.values() if one.elements}
        self.records[name] = new.record
        self.services[name] = new

    def finish(self) -> None:
        """Tombstones for the addresses that nobody claimed."""
        for name in self.services:
            old = self.installed.services.get(name)
            for key, frontend in old.frontends.items() if old else ():
                new = self.services[name]
                if key not in new.frontends and frontend not in self.versions:
                    self._set_version(frontend, TOMBSTONE)

    def undo(self) -> None:
        """Give every number and place back."""
        installed, taken = self.installed, self._taken
        for start, words in self.slot_writes:
            installed.extents.give_back(start, len(words) // 8)
        for kind, ids in (
            ("services", installed.service_ids), ("frontends", installed.frontend_ids), ("counters", installed.counter_ids)
        ):  # fmt: skip
            for number in taken[kind]:
                ids.give_back(number)

    def _put_backends(
        self, service: Service, endpoints: list[Endpoint], new: InstalledService, old: InstalledService
    ) -> list[int]:
        known = {**old.leaving, **old.backends}
        counters = self._take_counters(len(endpoints) - sum(map(known.__contains__, endpoints)))
        used = {one.id for one in known.values()}
        if len(used) + len(counters) > MAX_ID:
            raise CapacityError(
                f"{len(used)} ids are in use, some by backends that left, and {len(counters)} more are needed",
                where=f"service {service.name}",
                remedy="wait until connections of the removed backends have ended",
            )
        numbers = zip(
            (number for number in range(1, MAX_ID + 1) if number not in used), counters, strict=False
        )
        for backend, endpoint in zip(service.backends, endpoints, strict=True):
            one = known.pop(endpoint, None)
            if one is not None and endpoint not in old.backends:  # it had left, and comes back
                self.weights.append((one.counter, backend.weight))
            if one is None:
                one = InstalledBackend(*next(numbers), backend.weight)
                row = BACKEND.pack(endpoint.packed, endpoint.port, one.counter)
                self.backend_rows.append((BACKEND_KEY.pack(new.index, one.id), row))
                self.weights.append((one.counter, backend.weight))
            elif one.weight != backend.weight:
                one = msgspec.structs.replace(one, weight=backend.weight)
                self.weights.append((one.counter, backend.weight))
            new.backends[endpoint] = one
        new.leaving = known
        self.departed += [(new, endpoint) for endpoint in known if endpoint in old.backends]
        return [new.backends[endpoint].id for endpoint in endpoints]

    def _first_backends(self, service: Service, endpoints: list[Endpoint], new: InstalledService) -> range:
        # The backends of a service that is new, column by column: a first apply has 100,000 of them.
        ids = range(1, len(endpoints) + 1)
        counters = self._take_counters(len(endpoints))
        weights = [backend.weight for backend in service.backends]
        new.backends = dict(zip(endpoints, map(InstalledBackend, ids, counters, weights), strict=True))
        packed, ports = [one.packed for one in endpoints], [one.port for one in endpoints]
        keys, rows = _of_many(len(endpoints))
        if counters and counters[-1] - counters[0] == len(counters) - 1:
            self.weight_runs.append((counters[0], array("Q", weights)))
        else:
            self.weights += zip(counters, weights, strict=True)
        self.backend_rows.append(
            (
                keys.pack(*chain.from_iterable(zip(repeat(new.index), ids))),
                rows.pack(*chain.from_iterable(zip(packed, ports, counters, strict=True))),
            )
        )
        return ids

    def _take_counters(self, count: int) -> list[int]:
        counters = self.installed.counter_ids.take_many(count)
        self._taken["counters"] += counters
        return counters

    def _put_tables(
        self, service: Service, targets: list[Target], new: InstalledService, old: InstalledService | None
    ) -> None:
        placed: dict[int, tuple[Extent, int]] = {}
        before = old.extents if old else {}
        tables = compiler.tables(service, targets, lambda reach: self._previous(before.get(reach)))
        for reach, table in tables.items():
            if id(table) not in placed:
                placed[id(table)] = self._place(table, before.values())
            new.extents[reach] = placed[id(table)]
        if not before:
            return
        kept = {extent.start for extent, _ in new.extents.values() if extent.elements}
        gone = {
            (one.start, one.elements) for one, _ in before.values() if one.elements and one.start not in kept
        }
        self.freed_extents += gone

    def _place(
        self, table: compiler.CompiledTable, before: Iterable[tuple[Extent, int]]
    ) -> tuple[Extent, int]:
        if not table.slots:
            return NO_TABLE, 0
        for extent, pick in before:
            if (
                pick == table.pick
                and extent.slots == table.slots
                and self.tables.read_slots(extent) == table.words
            ):
                return extent, pick
        elements = len(table.words) // 8
        start = self.installed.extents.take(elements)
        self.slot_writes.append((start, table.words))
        return Extent(start, elements, table.slots), table.pick

    def _previous(self, place: tuple[Extent, int] | None) -> Table | None:
        if place is None or not place[0].slots:
            return None
        extent, pick = place
        slots = array("H", self.tables.read_slots(extent))
        return Table(slots if pick == Pick.ALIAS else slots[: extent.slots], Pick(pick), extent.slots)

    def _put_addresses(self, service: Service, new: InstalledService, scope: int) -> None:
        protocol = PROTOCOLS[service.protocol]
        for address in service.endpoints:
            key = ADDRESS_KEY.pack(address.packed, scope, address.port, protocol)
            dispatch = compiler.dispatch(service, new.index, address, new.extents)
            frontend = self.installed.frontend_of.get(key)
            if key in self._claimed or (frontend is not None and self._is_anothers(frontend, new.index)):
                raise ConfigError(
                    f"the address {address} is another service's in the same network namespace",
                    where=f"service {service.name}",
                    remedy="two paths may lead to one namespace: use one of them",
                )
            self._claimed.add(key)
            if frontend is None:
                frontend = self.new_addresses[key] = self._take("frontends", self.installed.frontend_ids)
                self.versions[frontend] = (
                    dispatch  # whatever is there: nobody can read it, and it is reset first
                )
            else:
                self._set_version(frontend, dispatch)
            new.frontends[key] = frontend

    def _is_anothers(self, frontend: int, index: int) -> bool:
        """Whether the address leads to a service that this change leaves as it is."""
        owner, *_, flags, _, _, _, _, _ = DISPATCH.unpack(self.tables.current(frontend))
        return bool(flags & DispatchFlag.PRESENT) and owner != index and owner not in self.changing

    def _set_version(self, frontend: int, dispatch: bytes) -> None:
        self.versions.pop(frontend, None)
        if self.tables.current(frontend) != dispatch:
            self.versions[frontend] = dispatch

    def _take(self, kind: str, ids: Ids) -> int:
        number = ids.take()
        self._taken[kind].append(number)
        return number


@lru_cache(maxsize=1024)
def _of_many(count: int) -> tuple[Struct, Struct]:
    """The layouts of ``count`` keys and elements of ``backends`` in a row: one call packs a whole service."""
    key, row = BACKEND_KEY.format.lstrip("="), BACKEND.format.lstrip("=")
    return Struct("=" + key * count), Struct("=" + row * count)


def _record(service: Service, new: InstalledService, scope: int) -> bytes:
    balancer = service.balance.name.encode()
    if len(balancer) >= BALANCER_BYTES:
        raise ConfigError(
            f"the name of a balancer has at most {BALANCER_BYTES - 1} bytes",
            where=f"service {service.name}, balancer {service.balance.name!r}",
        )
    flags = 0
    if service.on_error == "fail_open":
        flags |= RecordFlag.FAIL_OPEN
    if service.removed_backends == "destroy":
        flags |= RecordFlag.DESTROY_REMOVED
    return SERVICE_RECORD.pack(
        new.digest, new.index, PROTOCOLS[service.protocol], service.balance.hash_key,
        service.no_backend_errno, flags, service.balance.table or 0, balancer, scope,
    )  # fmt: skip


def _retire(record: bytes) -> bytes:
    digest, index, protocol, key, refusal, flags, size, balancer, scope = SERVICE_RECORD.unpack(record)
    del digest
    return SERVICE_RECORD.pack(
        0, index, protocol, key, refusal, flags | RecordFlag.RETIRED, size, balancer, scope
    )  # fmt: skip
