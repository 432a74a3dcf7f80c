"""From the model to the tables of ``bpf/include/ebpfmesh/{authorise/policy,limit/limit,reply/reply}.h``, as pure data.

One service at a time: what its rules say is worked out once (`ebpfmesh.policy.compile.draft`), then placed under numbers
that nobody uses (`ebpfmesh.policy.compile.placing`): a request sees the old tables or the new ones, and never a mixture.
`ebpfmesh.policy.reference` is what the tables have to mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpfmesh.errors import EbpfMeshError
from ebpfmesh.policy.compile.draft import work_out
from ebpfmesh.policy.compile.placing import Compiled, Numbers, Placing
from ebpfmesh.policy.compile.source import cgroups
from ebpfmesh.policy.siphash import Key

if TYPE_CHECKING:
    from ebpfmesh.policy.model import Config, Service

__all__ = ["Compiled", "Numbers", "cgroups", "compile_service", "problems"]


def compile_service(
    service: Service,
    config: Config,
    numbers: Numbers,
    *,
    key: Key,
    identities: int = 0,
    where: str = "",
) -> Compiled:
    """The tables of one service of a configuration that passed the check.

    ``key`` is that of every SipHash of the tier, ``identities`` the number of the workloads' table, ``where`` the path that
    errors begin with. CapacityError names the rules that the tables cannot hold, ConfigError what no table can say.
    """
    where = where or f'$.services["{service.name}"]'
    return Placing(service, config, work_out(service, config, where), numbers, key, where).placed(identities)


def problems(service: Service, config: Config, where: str = "") -> list[EbpfMeshError]:
    """Why the tables could not hold a service, however much room they had: the first reason, or nothing."""
    try:
        work_out(service, config, where or f'$.services["{service.name}"]')
    except EbpfMeshError as error:
        return [error]
    return []
