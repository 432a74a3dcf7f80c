"""From a service of the model to what the kernel dispatches by: slot tables per reach, and a dispatch per address."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from ebpfmesh.engine.balance import registry
from ebpfmesh.engine.balance.table import Table, Target
from ebpfmesh.errors import ConfigError
from ebpfmesh.policy.address import V4_MAPPED, Endpoint
from ebpfmesh.policy.reach import Reach, reaches
from ebpfmesh.tiers.connect.wire import DISPATCH, DispatchFlag, Extent

if TYPE_CHECKING:
    from ebpfmesh.policy.model import Service


class CompiledTable(NamedTuple):
    """A slot table ready for ``slots``: ``words`` is padded to whole elements of 8 bytes."""

    words: bytes
    slots: int
    pick: int


NO_SLOTS = CompiledTable(b"", 0, 0)


def tables(
    service: Service, targets: list[Target], previous: Callable[[Reach], Table | None]
) -> dict[Reach, CompiledTable]:
    """A table for each reach; ``targets`` are the backends that take connections, ``previous`` gives the table in force.

    Errors: ConfigError, naming the balancer, if it fails or returns what the kernel cannot pick from.
    """
    of_v4 = [target for target in targets if target.identity.startswith(V4_MAPPED)]
    if len(of_v4) == len(targets):
        of_v4, of_v6 = targets, []
    else:
        of_v6 = (
            [target for target in targets if not target.identity.startswith(V4_MAPPED)] if of_v4 else targets
        )
    reached = {Reach.V4: of_v4, Reach.V6: of_v6, Reach.DUAL: targets}
    built: dict[int, CompiledTable] = {}
    result = {}
    for reach in {one for address in service.endpoints for one in reaches(address, service.protocol)}:
        those = reached[reach]
        if id(those) not in built:  # reaches that find the same backends share their table
            built[id(those)] = _build(service, those, previous(reach)) if those else NO_SLOTS
        result[reach] = built[id(those)]
    if len({table.pick for table in built.values() if table.slots}) > 1:
        raise ConfigError(
            "it wants different ways to pick for the families of one service",
            where=f"balancer {service.balance.name!r}",
            remedy="return tables of one pick, however many targets there are",
        )
    return result


def _build(service: Service, targets: list[Target], previous: Table | None) -> CompiledTable:
    table = registry.build(service.balance.name, targets, previous, size=service.balance.table)
    words = table.slots.tobytes()
    return CompiledTable(words + bytes(-len(words) % 8), table.count, int(table.pick))


def dispatch(
    service: Service, index: int, address: Endpoint, extents: Mapping[Reach, tuple[Extent, int]]
) -> bytes:
    """The kernel's ``struct dispatch`` for one address of the service; ``extents`` holds (place, pick) by reach."""
    if address.is_v4:
        dual = single = extents[Reach.V4]
    elif service.protocol == "tcp":
        dual, single = extents[Reach.DUAL], extents[Reach.V6]
    else:
        dual = single = extents[Reach.V6]
    flags = _FLAGS[service.on_error]
    return DISPATCH.pack(
        index, dual[1] or single[1], service.balance.hash_key, flags, service.no_backend_errno,
        dual[0].start, dual[0].slots, single[0].start, single[0].slots,
    )  # fmt: skip


_FLAGS = {
    "fail_closed": int(DispatchFlag.PRESENT),
    "fail_open": int(DispatchFlag.PRESENT | DispatchFlag.FAIL_OPEN),
}
TOMBSTONE = bytes(DISPATCH.size)
