"""What the L7 tier is doing, read from its maps: works while the agent is dead, as long as the maps are pinned."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import msgspec

from ebpfmesh.policy.wire import Protocol
from ebpfmesh.tiers.connect.status import Status
from ebpfmesh.tiers.l7.abilities import left_out
from ebpfmesh.tiers.l7.installed import Installed
from ebpfmesh.tiers.l7.tables import Tables
from ebpfmesh.tiers.l7.wire import STATS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ebpfmesh.ownership import PinDirectory
    from ebpfmesh.tiers.l7.behaviour import Behaviour


class PolicyStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A service with a policy, and what became of its connections and requests."""

    name: str
    protocol: str
    """"http1", "http2", or "opaque": connections are authorised, and nothing is parsed."""
    connections: int
    """Connections that were enrolled."""
    open: int
    requests: int
    allowed: int
    denied: int
    limited: int
    counters: dict[str, int]
    """All counters of ``enum l7_stat`` that are not 0, by name."""


class L7Status(msgspec.Struct, frozen=True, kw_only=True):
    """Every service with a policy, the sockets that run our programs, and the kernel memory of the maps in bytes."""

    generation: int
    memory: int
    enrolled: int
    services: list[PolicyStatus]
    failing: dict[str, str]
    """Behaviour probes that fail here: programs that rely on it do not work on enrolled sockets."""
    left_out: list[str]
    """What is not used here, since its probe fails or could not be made: "local_reply", "swallow"; refusals are EACCES."""
    reasons: dict[str, str]
    """Of what is left out, the probe that says so and what it saw, as far as that is known."""


class MeshStatus(Status, frozen=True, kw_only=True):
    """The status of both tiers; ``l7`` is None where no service has a policy."""

    l7: L7Status | None = None
    draining: int = 0
    """Connections of an earlier run that still pass as plain ones."""


def joined(connect: Status, l7: L7Status | None, draining: int = 0) -> MeshStatus:
    """The status of the connect tier, with that of this one."""
    fields = {name: getattr(connect, name) for name in Status.__struct_fields__}
    return MeshStatus(**fields, l7=l7, draining=draining)


def read(
    pins: PinDirectory, numbers: Mapping[str, int], behaviour: Behaviour | None = None
) -> L7Status | None:
    """The status of the tier pinned at ``pins``, alive or not; None if none is. ``numbers``: the services', by name.

    ``behaviour``: what the agent measured. Errors: CapabilityError. Capabilities: CAP_BPF.
    """
    from ebpfmesh.maps import open_pinned
    from ebpfmesh.tiers.l7 import sockets

    pinned = [name for name in pins.maps() if name.startswith("l7_")]
    if "l7_settings" not in pinned:
        return None
    with ExitStack() as opened:
        maps = {name: opened.enter_context(open_pinned(pins.map_path(name))) for name in pinned}
        tables = Tables(maps)
        opened.callback(tables.close)
        memory = sum(one.memory() for one in maps.values())
        installed = Installed(tables, numbers, read_only=True)
        return of(tables, installed, memory, sockets.enrolled(maps["l7_sockets"]), behaviour)


def of(
    tables: Tables, installed: Installed, memory: int, enrolled: int, behaviour: Behaviour | None
) -> L7Status:
    """The status from open tables and their mirror."""
    services = []
    for policy in sorted(installed.policies.values(), key=lambda one: one.name):
        counters = dict(zip(STATS, tables.counters(policy.service), strict=False))
        services.append(
            PolicyStatus(
                name=policy.name,
                protocol=Protocol(policy.version.protocol).name.lower(),
                connections=counters["connections"],
                open=counters["open"],
                requests=counters["requests"],
                allowed=counters["allowed"],
                denied=counters["denied"],
                limited=counters["limited"],
                counters={name: count for name, count in counters.items() if count},
            )
        )
    failing = {one.name: one.text for one in behaviour.failing} if behaviour is not None else {}
    missing = left_out(tables.flags)
    reasons = behaviour.reasons if behaviour is not None else {}
    return L7Status(
        generation=tables.generation,
        memory=memory,
        enrolled=enrolled,
        services=services,
        failing=failing,
        left_out=missing,
        reasons={ability: text for ability, text in reasons.items() if ability in missing},
    )
