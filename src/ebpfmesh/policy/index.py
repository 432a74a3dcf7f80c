"""Who has which name, address and backend, so that one service is checked against 10,000 others by a few lookups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ebpfmesh.policy.address import Endpoint
from ebpfmesh.policy.model import Service

Scope = tuple[str | None, str]
"""(network namespace or None for any, protocol): where an address is unique."""


class Index:
    """The services that are in force, found by name, by address and by backend; kept up to date by `put` and `remove`.

    It is built from services that passed the check: of two that claim one address, the later would be listed.
    """

    def __init__(self, services: Iterable[Service] = ()) -> None:
        self._services: dict[str, Service] = {}
        self._addresses: dict[Scope, dict[Endpoint, str]] = {}
        # The name of the one service with this backend, which is the usual case, or a set of names.
        self._backends: dict[str, dict[Endpoint, str | set[str]]] = {"tcp": {}, "udp": {}}
        for service in services:
            self._add(service)

    def __len__(self) -> int:
        return len(self._services)

    def __contains__(self, name: object) -> bool:
        return name in self._services

    def __iter__(self) -> Iterator[Service]:
        return iter(self._services.values())

    def get(self, name: str) -> Service | None:
        """The service of that name, or None."""
        return self._services.get(name)

    def put(self, service: Service) -> None:
        """Add ``service``, in place of the one of its name if there is one."""
        self.remove(service.name)
        self._add(service)

    def remove(self, name: str) -> Service | None:
        """Forget the service of that name, and return it; None if there is none."""
        service = self._services.pop(name, None)
        if service is None:
            return None
        addresses = self._addresses[service.namespace, service.protocol]
        for endpoint in service.endpoints:
            if addresses.get(endpoint) == name:
                del addresses[endpoint]
        backends = self._backends[service.protocol]
        for backend in service.backends:
            endpoint = backend.endpoint
            users = backends.get(endpoint)
            if isinstance(users, set):
                users.discard(name)
                if not users:
                    del backends[endpoint]
            elif users == name:
                del backends[endpoint]
        return service

    def owner(self, endpoint: Endpoint, namespace: str | None, protocol: str) -> str | None:
        """The name of the service with this address in exactly this scope, or None."""
        return self._addresses.get((namespace, protocol), {}).get(endpoint)

    def users(self, endpoint: Endpoint, protocol: str) -> set[str]:
        """The names of the services of ``protocol`` that have ``endpoint`` as a backend."""
        users = self._backends[protocol].get(endpoint, set())
        return {users} if isinstance(users, str) else set(users)

    def _add(self, service: Service) -> None:
        name = service.name
        self._services[name] = service
        addresses = self._addresses.setdefault((service.namespace, service.protocol), {})
        for endpoint in service.endpoints:
            addresses[endpoint] = name
        backends = self._backends[service.protocol]
        for backend in service.backends:
            endpoint = backend.endpoint
            before = backends.setdefault(endpoint, name)
            if before is not name:
                backends[endpoint] = {*before, name} if isinstance(before, set) else {before, name}
