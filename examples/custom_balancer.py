"""A balancer of your own: the first backend in the list takes everything, the next one stands by.

Run it: it shows the table that the kernel would pick from, before and after the first backend is drained.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from ebpfmesh.engine.balance import Pick, Table, Target, balancer, build
from ebpfmesh.policy import Backend, Balance, Config, Service
from ebpfmesh.policy.check import check


@balancer
class FirstAvailable:
    """Active/standby: the target with the lowest id that takes connections gets all of them."""

    name = "first-available"

    def build(self, targets: Sequence[Target], previous: Table | None, *, size: int | None) -> Table:
        """One slot, that of the first target with a weight above 0."""
        active = sorted(target.id for target in targets if target.weight)
        return Table(array("H", active[:1]), Pick.TURN if active else Pick.NONE, len(active[:1]))


def mesh(*backends: Backend) -> Config:
    """A mesh of one service, balanced by the class above."""
    service = Service(
        "database",
        addresses=("10.96.0.20:5432",),
        backends=backends,
        balance=Balance(FirstAvailable.name),
    )
    return Config(name="example", cgroup="/example", services=(service,))


def table(config: Config) -> Table:
    """The table of the only service; in a running mesh the connect tier keeps the ids and builds it."""
    check(config)
    service = config.services[0]
    targets = [
        Target(id_, backend.effective_weight, backend.endpoint.identity)
        for id_, backend in enumerate(service.backends, start=1)
    ]
    return build(service.balance.name, targets, size=service.balance.table)


if __name__ == "__main__":
    primary, standby = "10.0.0.1:5432", "10.0.0.2:5432"
    print("both in use:     ", table(mesh(Backend(primary), Backend(standby))))
    print("primary draining:", table(mesh(Backend(primary, draining=True), Backend(standby))))
