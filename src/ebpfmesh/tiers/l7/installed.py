"""What is in force in the kernel, as the agent knows it; read back from the maps when it takes over."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ebpfmesh.policy.wire import ServiceFlag
from ebpfmesh.tiers.l7.numbers import Holding, Stock
from ebpfmesh.tiers.l7.reach import Reach
from ebpfmesh.tiers.l7.wire import BUCKET_KEY, WORKLOAD_KEY, Version

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ebpfmesh.tiers.l7.tables import Tables


@dataclass(slots=True)
class InstalledPolicy:
    """A service whose requests are judged. It is replaced, never changed."""

    name: str
    service: int
    """Its number, which the connect tier gave it."""
    version: Version
    holding: Holding = field(default_factory=Holding)


class Installed:
    """The mirror of the maps, and the stock of what is free."""

    def __init__(self, tables: Tables, numbers: Mapping[str, int], *, read_only: bool = False) -> None:
        """Read the maps; ``numbers`` are those of the connect tier's services, by name. Not ``read_only``: tidy them."""
        self.policies: dict[str, InstalledPolicy] = {}
        self.drained: dict[int, int] = {}
        """Number of a service without policy, whose open connections pass -> its protocol."""
        self.rolled_back = 0
        """Services of an apply that the last agent did not finish."""
        self.identities = 0
        """Number of the table of workloads that is in force."""
        self.workloads: dict[int, int] = {}
        """Cgroup -> number of the workload, in that table."""
        if not read_only:
            self._roll_back(tables)
        reach = Reach(tables)
        told_apart: set[int] = set()
        names = {number: name for name, number in numbers.items()}
        for number in tables.numbers():
            version = Version.unpack(tables.current(number))
            if not version.flags & ServiceFlag.PRESENT:
                continue
            name = names.get(number)
            if version.judges and name is not None:
                holding = reach.holding(number, version)
                self.policies[name] = InstalledPolicy(name, number, version, holding)
                told_apart.add(version.identities)
            else:
                self.drained[number] = version.protocol
        self.identities = max(told_apart, default=0)
        self.workloads = dict(reach.workloads.get(self.identities, {}))
        self.identity_holding = reach.workload_holding(self.identities) if self.identities else Holding()
        self.stock = Stock(tables)
        for policy in self.policies.values():
            self.stock.adopt(policy.holding, reach.lengths, reach.names)
        self.stock.adopt(self.identity_holding, reach.lengths, reach.names)
        self.outgoing = [reach.workload_holding(one) for one in told_apart - {0, self.identities}]
        """Older tables of workloads, by which services are judged that an agent did not come to bring to the newer one."""
        for holding in self.outgoing:
            self.stock.adopt(holding, reach.lengths, reach.names)
        if not read_only:
            self._tidy(tables, reach, told_apart)
        self.stock.settle(reach.contents)

    def _roll_back(self, tables: Tables) -> None:
        generation = tables.generation
        for number in tables.numbers():
            if tables.word(number) >> 1 > generation:
                tables.retract(number)
                self.rolled_back += 1

    def _tidy(self, tables: Tables, reach: Reach, told_apart: set[int]) -> None:
        for table, keys in reach.strays():
            tables.delete(table, keys)
        strays = [
            WORKLOAD_KEY.pack(cgroup, identities)
            for identities, cgroups in reach.workloads.items()
            if identities not in told_apart
            for cgroup in cgroups
        ]
        tables.delete("l7_workloads", strays)
        limits = self.stock.numbers("limit").values()
        tables.clear_limits({BUCKET_KEY.unpack(key)[0] for key, _ in tables.buckets()}.difference(limits))
