"""What the connect tier is doing, read from its maps: works while the agent is dead, as long as the maps are pinned."""

from __future__ import annotations

from contextlib import ExitStack
from socket import IPPROTO_TCP
from typing import TYPE_CHECKING

import msgspec

from ebpfmesh.policy.address import Endpoint
from ebpfmesh.tiers.connect.installed import Installed, InstalledBackend, InstalledService
from ebpfmesh.tiers.connect.tables import ARRAYS, HASHES, Tables
from ebpfmesh.tiers.connect.wire import ADDRESS_KEY, SERVICE_NAME, SERVICE_RECORD

if TYPE_CHECKING:
    from ebpfmesh.ownership import PinDirectory


class BackendStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A backend and what became of its connections; bytes are counted when a TCP connection ends."""

    address: str
    id: int
    weight: int
    leaving: bool
    """Removed from the model; it stays until its last connection ends."""
    opened: int
    active: int
    failed: int
    closed: int
    bytes_sent: int
    bytes_received: int
    datagrams: int


class ServiceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A service, the sums over its backends of all time, and what went wrong."""

    name: str
    protocol: str
    addresses: list[str]
    balancer: str
    backends: list[BackendStatus]
    opened: int
    active: int
    failed: int
    closed: int
    bytes_sent: int
    bytes_received: int
    datagrams: int
    refused: int
    """Connections refused because no backend was left."""
    errors: int
    """Failed look-ups and allocations in the kernel; the service's on_error decided."""
    reply_misses: int
    """UDP replies that kept their source: the translation was evicted, or the sender was no backend of a service."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Every service of the tier, and the kernel memory of its maps in bytes."""

    generation: int
    memory: int
    services: list[ServiceStatus]


def read(pins: PinDirectory) -> Status:
    """The status of the mesh pinned at ``pins``, alive or not; changes nothing.

    Errors: HostError if nothing is pinned there; CapabilityError. Capabilities: CAP_BPF.
    """
    from ebpfmesh.errors import HostError
    from ebpfmesh.maps import open_pinned

    pinned = pins.maps()
    lacking = [name for name in (*ARRAYS, *HASHES) if name not in pinned]
    if lacking:
        raise HostError(
            f"no mesh {pins.name} is installed", where=str(pins.path), remedy="start it: ebpfmesh run FILE"
        )
    with ExitStack() as opened:
        maps = {name: opened.enter_context(open_pinned(pins.map_path(name))) for name in pinned}
        tables = Tables(maps)
        opened.callback(tables.close)
        return of(tables, Installed(tables, read_only=True), sum(one.memory() for one in maps.values()))


def numbers(pins: PinDirectory) -> dict[str, int]:
    """The numbers of the services pinned at ``pins``, by name, those that only have connections left among them."""
    from ebpfmesh.maps import open_pinned

    with open_pinned(pins.map_path("services")) as records:
        keys, values = records.lookup_batch_raw()
    name, record = SERVICE_NAME.size, SERVICE_RECORD.size
    return {
        keys[at * name : (at + 1) * name].rstrip(b"\0").decode(): SERVICE_RECORD.unpack_from(
            values, at * record
        )[1]
        for at in range(len(keys) // name)
    }


def of(tables: Tables, installed: Installed, memory: int) -> Status:
    """The status from open tables and their mirror."""
    services = [*installed.services.values(), *(one for one in installed.retired.values() if one.leaving)]
    return Status(
        generation=tables.generation,
        memory=memory,
        services=[_service(tables, one) for one in sorted(services, key=lambda one: one.name)],
    )


def _service(tables: Tables, service: InstalledService) -> ServiceStatus:
    _, _, protocol, _, _, _, _, balancer, _ = SERVICE_RECORD.unpack(service.record)
    opened, active, failed, closed, sent, received, datagrams, refused, errors, misses = (
        tables.service_counters(service.index)
    )
    backends = [_backend(tables, endpoint, one, leaving=False) for endpoint, one in service.backends.items()]
    backends += [_backend(tables, endpoint, one, leaving=True) for endpoint, one in service.leaving.items()]
    return ServiceStatus(
        name=service.name,
        protocol="tcp" if protocol == IPPROTO_TCP else "udp",
        addresses=[_address(key) for key in service.frontends],
        balancer=balancer.rstrip(b"\0").decode(),
        backends=sorted(backends, key=lambda one: one.id),
        opened=opened, active=active, failed=failed, closed=closed, bytes_sent=sent, bytes_received=received,
        datagrams=datagrams, refused=refused, errors=errors, reply_misses=misses,
    )  # fmt: skip


def _backend(tables: Tables, endpoint: Endpoint, one: InstalledBackend, *, leaving: bool) -> BackendStatus:
    opened, active, failed, closed, sent, received, datagrams = tables.backend_counters(one.counter)
    return BackendStatus(
        address=str(endpoint), id=one.id, weight=one.weight, leaving=leaving,
        opened=opened, active=active, failed=failed, closed=closed, bytes_sent=sent, bytes_received=received,
        datagrams=datagrams,
    )  # fmt: skip


def _address(key: bytes) -> str:
    packed, _, port, _ = ADDRESS_KEY.unpack(key)
    return str(Endpoint(packed, port))
