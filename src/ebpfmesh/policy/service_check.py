"""What is wrong with one service by itself: its names, addresses, weights, families and balancer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from operator import attrgetter
from typing import NamedTuple

from ebpfmesh.engine.balance import registry
from ebpfmesh.errors import ConfigError, EbpfMeshError
from ebpfmesh.policy.address import V4_MAPPED, Endpoint, parse
from ebpfmesh.policy.invalid import CHOICES, invalid
from ebpfmesh.policy.known import NOTHING, Known
from ebpfmesh.policy.model import Balance, Service

MAX_BACKENDS = 65535

_ADDRESS, _WEIGHT, _DRAINING = attrgetter("address"), attrgetter("weight"), attrgetter("draining")


class Parsed(NamedTuple):
    """The endpoints of a service."""

    addresses: list[Endpoint]
    backends: list[Endpoint]


def check_alone(
    service: Service, where: str, known: Known = NOTHING
) -> tuple[list[EbpfMeshError], Parsed | None]:
    """The problems of a service whatever the others are, and its endpoints if all of them could be read.

    ``known`` is what its policy may refer to.
    The ordinary case, no problem at all, is decided by a few tests over whole lists; only when one of them fails are
    the fields looked at one by one.
    """
    try:
        addresses = list(map(parse, service.addresses))
        backends = list(map(parse, map(_ADDRESS, service.backends)))
        weights, draining = list(map(_WEIGHT, service.backends)), list(map(_DRAINING, service.backends))
        if True in draining:
            weights = [0 if out else weight for weight, out in zip(weights, draining, strict=True)]
        if {*map(type, draining)} <= {bool} and _sound(service, addresses, backends, weights):
            if not service.has_policy:
                return [], Parsed(addresses, backends)
            if (wrong := invalid(service, Service, where)) is None:
                return _policy_problems(service, where, known), Parsed(addresses, backends)
            return [wrong], None
    except (EbpfMeshError, TypeError, AttributeError, ValueError):
        pass  # said below, with the path
    return _explain(service, where, known)


def _policy_problems(service: Service, where: str, known: Known) -> list[EbpfMeshError]:
    from ebpfmesh.policy.policy_check import policy_problems  # 60 ms, for the few services that have one

    return policy_problems(service, where, known)


def _sound(
    service: Service, addresses: Sequence[Endpoint], backends: Sequence[Endpoint], weights: Sequence[int]
) -> bool:
    return (
        isinstance(service, Service)
        and _name_problem(service.name) is None
        and not _choices(
            service.protocol,
            service.namespace,
            service.no_backend,
            service.on_error,
            service.removed_backends,
        )
        and len(backends) <= MAX_BACKENDS
        # No address twice, no backend twice, and none that is both.
        and len({*addresses, *backends}) == len(addresses) + len(backends)
        and {*map(type, weights)} <= {int}
        and (not weights or (min(weights) >= 0 and 0 < max(weights) <= 65535))
        and _balance_problem(service.balance, weights) is None
        and _families_fit(service.protocol, addresses, backends)
    )


def _families_fit(protocol: str, addresses: Sequence[Endpoint], backends: Sequence[Endpoint]) -> bool:
    if not addresses or not backends:
        return True
    asked = {endpoint.packed[:12] == V4_MAPPED for endpoint in addresses}
    prefixes = {endpoint.packed[:12] for endpoint in backends}
    some_v4 = V4_MAPPED in prefixes
    some_v6 = len(prefixes) > some_v4
    if asked == {True}:
        return not some_v6
    if asked == {False}:
        return protocol == "tcp" or not some_v4
    return some_v4 and (protocol == "tcp" or some_v6)


def _explain(service: object, where: str, known: Known) -> tuple[list[EbpfMeshError], Parsed | None]:
    if not isinstance(service, Service):
        return [ConfigError(f"it is {type(service).__name__}, not a Service", where=where)], None
    if wrong := invalid(service, Service, where):
        return [wrong], None
    found: list[EbpfMeshError] = []
    if reason := _name_problem(service.name):
        remedy = "1 to 63 bytes of printable text, no blank at either end"
        found.append(ConfigError(reason, where=f"{where}.name", remedy=remedy))
    chosen = _choices(
        service.protocol, service.namespace, service.no_backend, service.on_error, service.removed_backends
    )
    found += [ConfigError(what, where=f"{where}.{field}", remedy=remedy) for field, what, remedy in chosen]
    addresses = _endpoints(service.addresses, f"{where}.addresses", "", found)
    written = [backend.address for backend in service.backends]
    backends = _endpoints(written, f"{where}.backends", ".address", found)
    found += _backends(service, where)
    if service.has_policy:
        found += _policy_problems(service, where, known)
    if addresses is None or backends is None:
        return found, None
    for number, endpoint in enumerate(backends):
        if endpoint in addresses:
            found.append(
                ConfigError(
                    f"{endpoint} is an address of this service; a connection would be turned to where it was going",
                    where=f"{where}.backends[{number}].address",
                    remedy="write the address that the backend itself listens on",
                )
            )
    found += _families(service.protocol, addresses, backends, where)
    return found, Parsed(addresses, backends)


def _endpoints(
    texts: Sequence[str], where: str, field: str, found: list[EbpfMeshError]
) -> list[Endpoint] | None:
    result: dict[Endpoint, int] = {}
    whole = True
    for number, text in enumerate(texts):
        path = f"{where}[{number}]{field}"
        try:
            endpoint = parse(text)
        except ConfigError as error:
            found.append(ConfigError(error.what, where=path, remedy=error.remedy))
            whole = False
            continue
        first = result.setdefault(endpoint, number)
        if first != number:
            found.append(
                ConfigError(f"{endpoint} is {where}[{first}] already", where=path, remedy="list it once")
            )
    return list(result) if whole else None


def _backends(service: Service, where: str) -> list[EbpfMeshError]:
    found: list[EbpfMeshError] = []
    backends = service.backends
    if len(backends) > MAX_BACKENDS:
        what = f"{len(backends)} backends are more than a service can have"
        found.append(ConfigError(what, where=f"{where}.backends", remedy=f"at most {MAX_BACKENDS}"))
    if any(not backend.draining for backend in backends) and not any(map(_weight, backends)):
        found.append(
            ConfigError(
                "no backend has a weight above 0, so nobody would take new connections",
                where=f"{where}.backends",
                remedy="give one a weight, set draining = true where that is meant, or list no backends",
            )
        )
    reason = _balance_problem(service.balance, [backend.effective_weight for backend in backends])
    if reason:
        field, what, remedy = reason
        found.append(ConfigError(what, where=f"{where}.balance{field}", remedy=remedy))
    return found


def _families(
    protocol: str, addresses: Sequence[Endpoint], backends: Sequence[Endpoint], where: str
) -> list[EbpfMeshError]:
    if not addresses or not backends:
        return []
    found: list[EbpfMeshError] = []
    some_v4 = any(backend.is_v4 for backend in backends)
    some_v6 = any(not backend.is_v4 for backend in backends)
    for number, address in enumerate(addresses):
        if address.is_v4 and not some_v4:
            what = f"{address} is IPv4 and every backend is IPv6: a socket that asks for it cannot reach one"
        elif not address.is_v4 and protocol == "udp" and not some_v6:
            what = f"{address} is IPv6 over UDP and every backend is IPv4: such a socket cannot be turned to IPv4"
        else:
            continue
        remedy = "add a backend of the address's family"
        found.append(ConfigError(what, where=f"{where}.addresses[{number}]", remedy=remedy))
    if found:
        return found  # then the backends are out of reach for the reason given
    asked_v4 = any(address.is_v4 for address in addresses)
    asked_v6 = any(not address.is_v4 for address in addresses)
    for number, backend in enumerate(backends):
        reached = (asked_v4 or protocol == "tcp") if backend.is_v4 else asked_v6
        if not reached:
            family, other = ("IPv4", "IPv6") if backend.is_v4 else ("IPv6", "IPv4")
            what = f"{backend} is {family} and no address is: nobody who asks for {other} over {protocol} reaches it"
            remedy = f"add an {family} address, or remove the backend"
            found.append(ConfigError(what, where=f"{where}.backends[{number}].address", remedy=remedy))
    return found


def _name_problem(name: str) -> str | None:
    if not name.isprintable() or not 1 <= len(name.encode(errors="replace")) <= 63 or name != name.strip():
        return f"{name[:80]!r} is no name of a service"
    return None


def _balance_problem(balance: Balance, weights: Sequence[int]) -> tuple[str, str, str] | None:
    if balance.key not in CHOICES["key"]:
        return ".key", f"{balance.key!r} cannot be hashed", f"one of: {', '.join(CHOICES['key'])}"
    try:
        reason = registry.refusal(balance.name, weights, balance.table)
    except ConfigError as error:
        return ".name", f"{error.where}: {error.what}" if error.where else error.what, error.remedy
    return (".table", reason, "choose another, or leave it out") if reason else None


@lru_cache(maxsize=4096)
def _choices(
    protocol: str, namespace: str | None, no_backend: str, on_error: str, removed: str
) -> tuple[tuple[str, str, str], ...]:
    found = []
    given = {
        "protocol": protocol,
        "no_backend": no_backend,
        "on_error": on_error,
        "removed_backends": removed,
    }
    for field, value in given.items():
        if value not in CHOICES[field]:
            found.append((field, f"{value!r} is not known", f"one of: {', '.join(CHOICES[field])}"))
    if namespace is not None and (not namespace.startswith("/") or "\0" in namespace):
        found.append(("namespace", f"{namespace!r} is no absolute path", 'write "/run/netns/NAME"'))
    return tuple(found)


def _weight(backend: object) -> int:
    weight: int = getattr(backend, "effective_weight", 0)
    return weight
