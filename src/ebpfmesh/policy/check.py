"""What is wrong with a configuration, found offline: each problem one error with the path of the field.

`problems` lists all, `check` raises the first, `check_service` asks about one service among others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from posixpath import normpath

import msgspec

from ebpfmesh.errors import CapacityError, ConfigError, EbpfMeshError
from ebpfmesh.identity import check as identity_check
from ebpfmesh.policy import capacity, reply_check
from ebpfmesh.policy.address import Endpoint
from ebpfmesh.policy.allowance_check import allowance_problems
from ebpfmesh.policy.index import Index, Scope
from ebpfmesh.policy.invalid import invalid
from ebpfmesh.policy.known import NOTHING, Known
from ebpfmesh.policy.model import Capacity, Config, Service
from ebpfmesh.policy.service_check import check_alone

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")

_ROOTS = ("/", "/sys/fs/cgroup", "/sys/fs/cgroup/unified")


def check(config: Config, *, room: bool = True) -> None:
    """Raise the first of `problems`, if there is one: a ConfigError, or a CapacityError."""
    found = problems(config, room=room)
    if found:
        raise found[0]


def problems(config: Config, *, room: bool = True) -> list[EbpfMeshError]:
    """Everything that is wrong with ``config``, in order of the fields; empty when it can be applied.

    Without ``room`` the capacities are not looked at: a running mesh has maps of a given size, and refuses by itself.
    What only the host knows (whether the cgroup is there, the kernel's abilities) is not looked at.
    """
    if wrong_type := _types(config):
        return [wrong_type]
    found: list[EbpfMeshError] = [
        *_settings(config),
        *identity_check.problems(config.workloads, config.cgroup),
        *reply_check.problems(config.replies),
        *allowance_problems(config.log, "$.log"),
    ]
    known = Known.of(config)
    backends: dict[str, set[Endpoint]] = {"tcp": set(), "udp": set()}
    names: dict[str, int] = {}
    owners: dict[Scope, dict[Endpoint, str]] = {}
    before = len(found)
    for position, service in enumerate(config.services):
        where = f"$.services[{position}]"
        wrong, endpoints = check_alone(service, where, known)
        found += wrong
        if endpoints is None:
            continue
        first = names.setdefault(service.name, position)
        if first != position:
            what = f"the name {service.name!r} is that of $.services[{first}] already"
            found.append(ConfigError(what, where=f"{where}.name", remedy="names are unique in a mesh"))
            continue
        backends[service.protocol].update(endpoints.backends)
        taken = owners.setdefault((service.namespace, service.protocol), {})
        for number, endpoint in enumerate(endpoints.addresses):
            owner = taken.setdefault(endpoint, service.name)
            if owner is not service.name:
                found.append(_claimed(service, endpoint, owner, f"{where}.addresses[{number}]"))
    looping = {
        protocol for (_, protocol), taken in owners.items() if not backends[protocol].isdisjoint(taken)
    }
    for protocol in sorted(looping):
        found += _loops(config, protocol, owners, names)
    if room and len(found) == before:
        found += _room(config)
    return found


def check_service(
    service: Service, index: Index, where: str = "", *, known: Known = NOTHING
) -> list[EbpfMeshError]:
    """What is wrong with ``service`` beside the other services of ``index``, in time of its own size.

    The service of the same name in ``index`` is the one that it replaces, and does not count. ``where`` is the path
    that the errors begin with; ``known`` is what its policy may refer to. The capacities are not looked at.
    """
    where = where or f'$.services["{service.name}"]'
    found, parsed = check_alone(service, where, known)
    if parsed is None:
        return found
    name, namespace, protocol = service.name, service.namespace, service.protocol
    for number, endpoint in enumerate(parsed.addresses):
        owner = index.owner(endpoint, namespace, protocol)
        if owner is not None and owner != name:
            found.append(_claimed(service, endpoint, owner, f"{where}.addresses[{number}]"))
        for user in sorted(index.users(endpoint, protocol) - {name}):
            other = index.get(user)
            if other is not None and namespace in (None, other.namespace):
                found.append(_used(endpoint, user, f"{where}.addresses[{number}]"))
    for number, endpoint in enumerate(parsed.backends):
        for scope in {namespace, None}:
            owner = index.owner(endpoint, scope, protocol)
            if owner is not None and owner != name:
                found.append(_loop(endpoint, owner, f"{where}.backends[{number}].address"))
    return found


def _types(config: Config) -> ConfigError | None:
    services: object = config.services  # built in Python, it may be anything
    if not isinstance(services, tuple):
        return ConfigError(f"it is {type(services).__name__}, not a tuple of services", where="$.services")
    wrong = invalid(msgspec.structs.replace(config, services=()), Config, "$")
    capacity: object = config.capacity
    if wrong is None and not isinstance(capacity, Capacity):
        return ConfigError(f"it is {type(capacity).__name__}, not a Capacity", where="$.capacity")
    return wrong


def _settings(config: Config) -> Iterable[EbpfMeshError]:
    if not _NAME.fullmatch(config.name):
        yield ConfigError(
            f"{config.name!r} is no name of a mesh",
            where="$.name",
            remedy='1 to 63 of a-z, 0-9 and "-", not at either end: it names files',
        )
    yield from _cgroup(config)
    try:
        _ = config.memory_budget_bytes
    except ConfigError as error:
        yield ConfigError(error.what, where="$.memory_budget", remedy=error.remedy)


def _cgroup(config: Config) -> Iterable[ConfigError]:
    path = config.cgroup
    if not path.startswith("/") or "\0" in path or ".." in path.split("/"):
        yield ConfigError(
            f"{path!r} is no absolute path",
            where="$.cgroup",
            remedy='write the path below the cgroup v2 mount, as in "/mesh", or with the mount',
        )
    elif normpath("/" + path.lstrip("/")) in _ROOTS and not config.allow_root_cgroup:
        yield ConfigError(
            "it is the root cgroup: every process of the host would be a client",
            where="$.cgroup",
            remedy="choose a cgroup below it, or set allow_root_cgroup = true",
        )


def _loops(
    config: Config, protocol: str, owners: dict[Scope, dict[Endpoint, str]], names: dict[str, int]
) -> Iterable[ConfigError]:
    for name, position in names.items():
        service = config.services[position]
        if service.protocol != protocol:
            continue
        scopes = [owners.get((scope, protocol), {}) for scope in {service.namespace, None}]
        for number, backend in enumerate(service.backends):
            for taken in scopes:
                owner = taken.get(backend.endpoint)
                # A service's own address among its backends is found when it is looked at alone.
                if owner is not None and owner != name:
                    yield _loop(backend.endpoint, owner, f"$.services[{position}].backends[{number}].address")


def _room(config: Config) -> Iterable[CapacityError]:
    given = config.capacity
    if given.services is given.addresses is given.backends is given.slots is None:
        return
    need = capacity.need(config)
    for field in ("services", "addresses", "backends", "slots"):
        room, needed = getattr(given, field), getattr(need, field)
        if room is not None and needed > room:
            yield CapacityError(
                f"the services need {needed} {field}, and there is room for {room}",
                where=f"$.capacity.{field}",
                remedy="raise it, or leave it out: it is then derived from the services",
            )


def _claimed(service: Service, endpoint: Endpoint, owner: str, where: str) -> ConfigError:
    scope = f" in {service.namespace}" if service.namespace else ""
    return ConfigError(
        f"{service.protocol} {endpoint}{scope} is an address of service {owner!r} already",
        where=where,
        remedy="an address belongs to one service of its protocol and namespace",
    )


def _loop(endpoint: Endpoint, owner: str, where: str) -> ConfigError:
    return ConfigError(
        f"{endpoint} is an address of service {owner!r}; a connection is turned once, so nothing would answer there",
        where=where,
        remedy="list the backends of that service",
    )


def _used(endpoint: Endpoint, user: str, where: str) -> ConfigError:
    return ConfigError(
        f"{endpoint} is a backend of service {user!r}; a connection is turned once, so nothing would answer there",
        where=where,
        remedy="give the service an address of its own",
    )
