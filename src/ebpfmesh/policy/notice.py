"""What is allowed and yet worth knowing: shares that are rounded, tables that are small, services that nobody reaches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ebpfmesh.engine.balance import registry
from ebpfmesh.identity.workloads import Workloads
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
    workloads = Workloads(config.workloads)
    return [
        notice
        for position, service in enumerate(config.services)
        for notice in of_service(service, f"$.services[{position}]", workloads)
    ]


def of_service(service: Service, where: str, workloads: Workloads) -> Iterator[Notice]:
    """The remarks about one service that has no problems, whose rules mean these workloads; ``where`` is its path."""
    yield from _about_backends(service, where)
    yield from _about_sources(service, where, workloads)
    yield from _about_routes(service, where)


def _about_routes(service: Service, where: str) -> Iterator[Notice]:
    rest = next((number for number, one in enumerate(service.routes) if not one.asks_request), None)
    if rest is not None:
        name = service.routes[rest].name
        what = f"the route {name!r} before it takes every request, so nothing is counted under it"
        yield from (Notice(f"{where}.routes[{n}]", what) for n in range(rest + 1, len(service.routes)))


def _about_sources(service: Service, where: str, workloads: Workloads) -> Iterator[Notice]:
    for kind in ("rules", "limits", "faults"):
        for number, one in enumerate(getattr(service, kind)):
            for place, source in enumerate(one.sources or ()):
                if source.spiffe is not None and not workloads.chosen(selector=source.spiffe):
                    what = "no workload has such an id, so it means nobody"
                    yield Notice(f"{where}.{kind}[{number}].from[{place}].spiffe", what)


def _about_backends(service: Service, where: str) -> Iterator[Notice]:
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
