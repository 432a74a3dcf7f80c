"""What is allowed and yet worth knowing: shares that are rounded, tables that are small, services that nobody reaches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ebpfmesh.engine.balance import registry
from ebpfmesh.policy.capacity import tables
from ebpfmesh.policy.model import Config, Service


class Notice(NamedTuple):
    """One remark; ``where`` is the path of the field that it is about."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def notices(config: Config) -> list[Notice]:
    """The remarks about a configuration without problems, in order of the services."""
    return [
        notice
        for position, service in enumerate(config.services)
        for notice in of_service(service, f"$.services[{position}]")
    ]


def of_service(service: Service, where: str) -> Iterator[Notice]:
    """The remarks about one service that has no problems; ``where`` is its path."""
    if not service.addresses:
        yield Notice(f"{where}.addresses", "there is no address, so nobody connects to this service")
    if not service.backends:
        yield Notice(
            f"{where}.backends", f"there is no backend, so connecting fails with {service.no_backend}"
        )
    elif all(backend.draining for backend in service.backends):
        yield Notice(f"{where}.backends", f"all are draining, so connecting fails with {service.no_backend}")
    balance = service.balance
    said = set()
    for backends in tables(service):
        remark = registry.notice(balance.name, [one.effective_weight for one in backends], balance.table)
        if remark and remark not in said:
            said.add(remark)
            yield Notice(f"{where}.balance", remark)
