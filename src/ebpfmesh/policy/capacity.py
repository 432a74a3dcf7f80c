"""How much room the services take in the kernel's maps, and how much room is made for them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ebpfmesh.engine.balance import registry
from ebpfmesh.policy.model import Backend, Capacity, Config, Service
from ebpfmesh.policy.reach import Reach, reachable, reaches


class Need(NamedTuple):
    """Elements in use, or room for them: services, their addresses, their backends, and 16-bit slots."""

    services: int
    addresses: int
    backends: int
    slots: int

    def __add__(self, other: object) -> Need:
        if not isinstance(other, Need):
            return NotImplemented
        return Need(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


FLOOR = Need(services=256, addresses=512, backends=4096, slots=65536)
"""The least room that is derived: a small mesh grows for a while without its maps being made anew."""

ALIGN = 4
"""Tables begin at a multiple of 4 slots (8 bytes), so that one is copied and compared in words."""


def need(config: Config) -> Need:
    """What ``config`` needs; its addresses have to be valid. Tables that are the same are counted once a service."""
    services = config.services
    return Need(
        services=len(services),
        addresses=sum([len(service.addresses) for service in services]),
        backends=sum([len(service.backends) for service in services]),
        slots=sum([slots(service) for service in services]),
    )


def of_service(service: Service) -> Need:
    """What one service needs."""
    return Need(1, len(service.addresses), len(service.backends), slots(service))


def slots(service: Service) -> int:
    """The 16-bit slots of all tables of a service, each table rounded up to a multiple of 4."""
    balance = service.balance
    total = 0
    for backends in tables(service):
        weights = [0 if backend.draining else backend.weight for backend in backends]
        words = registry.slots(balance.name, weights, balance.table)
        total += -(-words // ALIGN) * ALIGN
    return total


def tables(service: Service) -> Iterable[tuple[Backend, ...]]:
    """The distinct sets of backends that sockets asking for this service can reach; a table is built for each."""
    backends = service.backends
    if not backends:
        return ()
    kinds = {reach for address in service.endpoints for reach in reaches(address, service.protocol)}
    if kinds in ({Reach.V4}, {Reach.DUAL}):
        return (backends,)  # the check has seen that every backend is reached
    sets = {tuple(reachable(backends, reach)) for reach in kinds}
    return sorted((found for found in sets if found), key=len, reverse=True)


def capacities(capacity: Capacity, needed: Need) -> Need:
    """The room to make: what ``capacity`` says, and where it says nothing twice the need, at least `FLOOR`."""
    return Need(
        *(
            max(floor, 2 * wanted) if given is None else given
            for given, wanted, floor in zip(
                (capacity.services, capacity.addresses, capacity.backends, capacity.slots),
                needed,
                FLOOR,
                strict=True,
            )
        )
    )
