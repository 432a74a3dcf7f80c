"""What is in the kernel, as the agent knows it; read back from the maps when it takes over."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from ebpfmesh.policy.address import Endpoint
from ebpfmesh.policy.reach import Reach
from ebpfmesh.tiers.connect.extents import Extents
from ebpfmesh.tiers.connect.ids import Ids
from ebpfmesh.tiers.connect.wire import (
    ADDRESS_KEY,
    BACKEND,
    BACKEND_KEY,
    DISPATCH,
    INDEX,
    LEAVING,
    NO_TABLE,
    SERVICE_RECORD,
    DispatchFlag,
    Extent,
    RecordFlag,
)

if TYPE_CHECKING:
    from ebpfmesh.tiers.connect.tables import Tables


class InstalledBackend(msgspec.Struct, frozen=True, gc=False):
    """A backend's numbers: its id in slots, the element of its counters, and its weight for `status`."""

    id: int
    counter: int
    weight: int


@dataclass(slots=True)
class InstalledService:
    """A service's numbers and places. It is replaced, never changed, but for ``leaving``, which shrinks."""

    name: str
    index: int
    digest: int
    record: bytes
    frontends: dict[bytes, int] = field(default_factory=dict)
    """Address key -> element of ``frontends``."""
    backends: dict[Endpoint, InstalledBackend] = field(default_factory=dict)
    leaving: dict[Endpoint, InstalledBackend] = field(default_factory=dict)
    """Backends that take no new connections and still have some, or were not collected yet."""
    extents: dict[Reach, tuple[Extent, int]] = field(default_factory=dict)
    """(place, pick) of the slot table of each reach."""

    @property
    def retired(self) -> bool:
        """Whether it was removed from the model; it is kept while connections of it are open."""
        return bool(SERVICE_RECORD.unpack(self.record)[5] & RecordFlag.RETIRED)


class Installed:
    """The mirror of the maps, and the numbers that are free."""

    def __init__(self, tables: Tables, *, read_only: bool = False) -> None:
        self.services: dict[str, InstalledService] = {}
        self.retired: dict[str, InstalledService] = {}
        """Services without an address that still have connections."""
        self.frontend_of: dict[bytes, int] = {}
        """Address key -> element of ``frontends``, tombstones included."""
        self.rolled_back = 0
        """Frontends of an apply that the last agent did not finish."""
        _Reader(tables, self, read_only=read_only).read()
        every = [*self.services.values(), *self.retired.values()]
        backends = [
            one for service in every for one in (*service.backends.values(), *service.leaving.values())
        ]
        self.service_ids = Ids(
            "services", tables.capacity("service_stats"), used=(one.index for one in every)
        )
        self.frontend_ids = Ids("addresses", tables.capacity("frontends"), used=self.frontend_of.values())
        self.counter_ids = Ids(
            "backends", tables.capacity("backend_stats"), used=(one.counter for one in backends)
        )
        self.extents = Extents(
            tables.capacity("slots"),
            used=(
                (extent.start, extent.elements)
                for service in every
                for extent, _ in service.extents.values()
                if extent.elements
            ),
        )

    def stray_addresses(self) -> list[bytes]:
        """Address keys that lead to no service: tombstones that were not collected."""
        live = {key for service in self.services.values() for key in service.frontends}
        return [key for key in self.frontend_of if key not in live]


class _Reader:
    """Reads the maps into an Installed, after taking back what an unfinished apply had announced (not if ``read_only``)."""

    def __init__(self, tables: Tables, into: Installed, *, read_only: bool) -> None:
        self.tables, self.into, self.read_only = tables, into, read_only
        self.by_index: dict[int, InstalledService] = {}

    def read(self) -> None:
        generation = self.tables.generation
        for key, value in self.tables.elements("addresses"):
            frontend = INDEX.unpack(value)[0]
            self.into.frontend_of[key] = frontend
            if self.tables.word(frontend) >> 1 > generation and not self.read_only:
                self.tables.retract(frontend)
                self.into.rolled_back += 1
        for key, value in self.tables.elements("services"):
            self._service(key.rstrip(b"\0").decode(), value)
        self._backends()
        for key, frontend in self.into.frontend_of.items():
            self._frontend(key, frontend)
        for service in self.by_index.values():
            # one with frontends is in force: the agent died between the record of the removal and the removal
            if not service.retired or service.frontends:
                self.into.services[service.name] = service
            else:
                service.leaving.update(service.backends)
                service.backends.clear()
                self.into.retired[service.name] = service

    def _service(self, name: str, record: bytes) -> None:
        digest, index, *_ = SERVICE_RECORD.unpack(record)
        self.by_index[index] = InstalledService(name, index, digest, record)

    def _backends(self) -> None:
        strays = []
        for key, value in self.tables.elements("backends"):
            index, number = BACKEND_KEY.unpack(key)
            address, port, counter = BACKEND.unpack(value)
            service = self.by_index.get(index)
            if service is None:
                strays.append(key)
                continue
            weight = self.tables.weight(counter)
            held = service.leaving if weight & LEAVING else service.backends
            held[Endpoint(address, port)] = InstalledBackend(number, counter, weight & ~LEAVING)
        if not self.read_only:
            self.tables.delete("backends", strays)

    def _frontend(self, key: bytes, frontend: int) -> None:
        index, pick, _, flags, _, dual, dual_count, single, single_count = DISPATCH.unpack(
            self.tables.current(frontend)
        )
        service = self.by_index.get(index)
        if not flags & DispatchFlag.PRESENT or service is None:
            return
        service.frontends[key] = frontend
        address, _, port, protocol = ADDRESS_KEY.unpack(key)
        if Endpoint(address, port).is_v4:
            places = {Reach.V4: (dual, dual_count)}
        elif protocol == 6:
            places = {Reach.DUAL: (dual, dual_count), Reach.V6: (single, single_count)}
        else:
            places = {Reach.V6: (single, single_count)}
        for reach, (start, count) in places.items():
            elements = count if pick == 4 else -(-count // 4)
            service.extents[reach] = (
                Extent(start, elements, count) if count else NO_TABLE,
                pick if count else 0,
            )
