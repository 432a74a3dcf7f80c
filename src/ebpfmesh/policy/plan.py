"""The difference between two configurations: what applying the second would change, before anything is changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import compress, count
from operator import is_not
from typing import Any, Generic, TypeVar

import msgspec

from ebpfmesh.identity.workload import Workload
from ebpfmesh.policy.address import Endpoint
from ebpfmesh.policy.describe import describe
from ebpfmesh.policy.fault import Fault
from ebpfmesh.policy.http import Http
from ebpfmesh.policy.limit import Limit
from ebpfmesh.policy.model import Backend, Balance, Config, Service
from ebpfmesh.policy.reply import Reply
from ebpfmesh.policy.route import Route
from ebpfmesh.policy.rule import Rule

_POLICY = ("protocol", "namespace", "no_backend", "on_error", "removed_backends", "l7", "open_sockets")
_PARTS = {"rules": "rule", "limits": "limit", "faults": "fault", "routes": "route"}
_SETTINGS = ("name", "cgroup", "allow_root_cgroup", "capacity", "memory_budget", "log")


class FieldChanged(msgspec.Struct, frozen=True):
    """A field that has another value."""

    field: str
    old: Any
    new: Any


class Reweighted(msgspec.Struct, frozen=True):
    """A backend whose weight is another."""

    address: str
    old: int
    new: int


Part = TypeVar("Part", Rule, Limit, Fault, Route, Workload, Reply)


class Edited(msgspec.Struct, Generic[Part], frozen=True, omit_defaults=True):
    """A named part of the configuration that is new (``old`` is None), gone (``new`` is None) or another."""

    name: str
    old: Part | None = None
    new: Part | None = None


class ServiceAdded(msgspec.Struct, frozen=True, tag="service-added", tag_field="change"):
    """A service that is new."""

    service: Service

    @property
    def name(self) -> str:
        """The name of the service."""
        return self.service.name


class ServiceRemoved(msgspec.Struct, frozen=True, tag="service-removed", tag_field="change"):
    """A service that is gone; ``service`` is what it was."""

    service: Service

    @property
    def name(self) -> str:
        """The name of the service."""
        return self.service.name


class ServiceChanged(
    msgspec.Struct, frozen=True, omit_defaults=True, tag="service-changed", tag_field="change"
):
    """A service that stays and differs. Addresses are written in their normal form."""

    name: str
    addresses_added: tuple[str, ...] = ()
    addresses_removed: tuple[str, ...] = ()
    backends_added: tuple[Backend, ...] = ()
    backends_removed: tuple[Backend, ...] = ()
    reweighted: tuple[Reweighted, ...] = ()
    draining: tuple[str, ...] = ()
    """Backends that take no new connections from now on."""
    undraining: tuple[str, ...] = ()
    """Backends that were draining and take new connections again."""
    balance: tuple[Balance, Balance] | None = None
    """The old and the new one, when they differ."""
    policy: tuple[FieldChanged, ...] = ()
    """Other fields: protocol, namespace, no_backend, on_error, removed_backends, l7, open_sockets, and "http.trace" …"""
    rules: tuple[Edited[Rule], ...] = ()
    limits: tuple[Edited[Limit], ...] = ()
    faults: tuple[Edited[Fault], ...] = ()
    routes: tuple[Edited[Route], ...] = ()
    reordered: tuple[str, ...] = ()
    """Of "rules", "limits", "faults" and "routes" those of which the parts that stay have another order: the first that
    matches gives its reply, and its name in metrics."""


class SettingChanged(msgspec.Struct, frozen=True, tag="setting-changed", tag_field="change"):
    """A field of the configuration itself; some of them need a restart, which is the mesh's to say."""

    field: str
    old: Any
    new: Any


class WorkloadChanged(
    msgspec.Struct, frozen=True, omit_defaults=True, tag="workload-changed", tag_field="change"
):
    """A workload that is new (``old`` is None), gone (``new`` is None) or another."""

    name: str
    old: Workload | None = None
    new: Workload | None = None


class ReplyChanged(msgspec.Struct, frozen=True, omit_defaults=True, tag="reply-changed", tag_field="change"):
    """A reply that is new (``old`` is None), gone (``new`` is None) or another."""

    name: str
    old: Reply | None = None
    new: Reply | None = None


Change = ServiceAdded | ServiceRemoved | ServiceChanged | SettingChanged | WorkloadChanged | ReplyChanged


_OTHERS: dict[type, str] = {SettingChanged: "setting", WorkloadChanged: "workload", ReplyChanged: "reply"}


class Plan(msgspec.Struct, frozen=True):
    """The changes, in the order settings, workloads, replies, services added and changed (as the new configuration lists
    them), removed.
    """

    changes: tuple[Change, ...]
    unchanged: int
    """Services that stay as they are."""

    @property
    def empty(self) -> bool:
        """Whether nothing would change."""
        return not self.changes

    def to_json(self) -> bytes:
        """The plan as one JSON object; each change is an object whose ``change`` names its kind."""
        return msgspec.json.encode(self)

    def __str__(self) -> str:
        return "\n".join([*(line for change in self.changes for line in _lines(change)), self.summary])

    @property
    def summary(self) -> str:
        """One line: how many services are added, changed, removed and unchanged, and which settings differ."""
        kinds = [type(change) for change in self.changes]
        if not kinds:
            return f"nothing to change, {_count(self.unchanged, 'service')}"
        parts = [
            f"{kinds.count(ServiceAdded)} added",
            f"{kinds.count(ServiceChanged)} changed",
            f"{kinds.count(ServiceRemoved)} removed",
            f"{self.unchanged} unchanged",
        ]
        others = [
            f"; {_count(kinds.count(kind), noun)} changed" for kind, noun in _OTHERS.items() if kind in kinds
        ]
        return "services: " + ", ".join(parts) + "".join(others)


def diff(old: Config | None, new: Config) -> Plan:
    """What changes from ``old`` (None: nothing was there) to ``new``; both have passed the check.

    Services are told apart by name, backends and addresses by what they mean: another spelling of an address, or
    another order, is no change. A service that is the same object in both costs next to nothing.
    """
    if old is None:
        added = [ServiceAdded(service) for service in new.services]
        return Plan((*_entries(None, new), *added), 0)
    changes: list[Change] = [
        SettingChanged(field, *values)
        for field in _SETTINGS
        if (values := (getattr(old, field), getattr(new, field))) and values[0] != values[1]
    ]
    changes += _entries(old, new)
    changes += _services(*_differing(old.services, new.services))
    touched = sum(isinstance(change, ServiceAdded | ServiceChanged) for change in changes)
    return Plan(tuple(changes), len(new.services) - touched)


def _entries(old: Config | None, new: Config) -> Iterator[Change]:
    workloads, replies = (old.workloads, old.replies) if old else ((), ())
    yield from (WorkloadChanged(one.name, one.old, one.new) for one in _edited(workloads, new.workloads))
    yield from (ReplyChanged(one.name, one.old, one.new) for one in _edited(replies, new.replies))


def _edited(old: Sequence[Part], new: Sequence[Part]) -> Iterator[Edited[Part]]:
    """The parts that are another, new ones among them, in the new order; then those that are gone."""
    if old is new:
        return
    before = {one.name: one for one in old}
    for one in new:
        if (known := before.pop(one.name, None)) != one:
            yield Edited(one.name, known, one)
    yield from (Edited(one.name, one, None) for one in before.values())


def _reordered(old: Sequence[Any], new: Sequence[Any]) -> bool:
    names_old, names_new = [one.name for one in old], [one.name for one in new]
    both = {*names_old}.intersection(names_new)
    return [name for name in names_old if name in both] != [name for name in names_new if name in both]


def _differing(
    old: tuple[Service, ...], new: tuple[Service, ...]
) -> tuple[Sequence[Service], Sequence[Service]]:
    # Most of 10,000 services are the same objects in the same order: they are passed over in C, by identity.
    shorter = min(len(old), len(new))
    first = next(compress(count(), map(is_not, old, new)), shorter)
    after = next(compress(count(), map(is_not, reversed(old), reversed(new))), shorter)
    after = min(after, shorter - first)
    old, new = old[first : len(old) - after], new[first : len(new) - after]
    kept = {*map(id, old)}.intersection(map(id, new))
    if not kept:
        return old, new
    return [one for one in old if id(one) not in kept], [one for one in new if id(one) not in kept]


def _services(old: Sequence[Service], new: Sequence[Service]) -> Iterator[Change]:
    before = {service.name: service for service in old}
    for service in new:
        known = before.pop(service.name, None)
        if known is None:
            yield ServiceAdded(service)
        elif known != service and (change := changed(known, service)) is not None:
            yield change
    yield from map(ServiceRemoved, before.values())


def changed(old: Service, new: Service) -> ServiceChanged | None:
    """How ``new`` differs from ``old``, a service of the same name; None if both mean the same."""
    addresses_old, addresses_new = dict.fromkeys(old.endpoints), dict.fromkeys(new.endpoints)
    backends_old = {backend.endpoint: backend for backend in old.backends}
    backends_new = {backend.endpoint: backend for backend in new.backends}
    both = [
        (str(endpoint), backends_old[endpoint], backend)
        for endpoint, backend in backends_new.items()
        if endpoint in backends_old
    ]
    change = ServiceChanged(
        name=new.name,
        addresses_added=tuple(str(one) for one in addresses_new if one not in addresses_old),
        addresses_removed=tuple(str(one) for one in addresses_old if one not in addresses_new),
        backends_added=_without(backends_new, backends_old),
        backends_removed=_without(backends_old, backends_new),
        reweighted=tuple(
            Reweighted(address, before.weight, after.weight)
            for address, before, after in both
            if before.weight != after.weight
        ),
        draining=tuple(address for address, before, after in both if after.draining > before.draining),
        undraining=tuple(address for address, before, after in both if after.draining < before.draining),
        balance=(old.balance, new.balance) if old.balance != new.balance else None,
        policy=tuple(
            FieldChanged(field, before, after)
            for field in _POLICY
            if (before := getattr(old, field)) != (after := getattr(new, field))
        )
        + _http_changed(old.http, new.http),
        rules=tuple(_edited(old.rules, new.rules)),
        limits=tuple(_edited(old.limits, new.limits)),
        faults=tuple(_edited(old.faults, new.faults)),
        routes=tuple(_edited(old.routes, new.routes)),
        reordered=tuple(kind for kind in _PARTS if _reordered(getattr(old, kind), getattr(new, kind))),
    )
    return None if change == ServiceChanged(new.name) else change


def _http_changed(old: Http, new: Http) -> tuple[FieldChanged, ...]:
    return tuple(
        FieldChanged(f"http.{field}", before, after)
        for field in Http.__struct_fields__
        if (before := getattr(old, field)) != (after := getattr(new, field))
    )


def _without(backends: dict[Endpoint, Backend], others: dict[Endpoint, Backend]) -> tuple[Backend, ...]:
    return tuple(backend for endpoint, backend in backends.items() if endpoint not in others)


def _lines(change: Change) -> Iterator[str]:
    if isinstance(change, ServiceAdded):
        yield f"+ service {change.name}: {_described(change.service)}"
    elif isinstance(change, ServiceRemoved):
        yield f"- service {change.name}: {_described(change.service)}"
    elif isinstance(change, SettingChanged):
        yield f"~ {change.field}: {_shown(change.old)} -> {_shown(change.new)}"
    elif isinstance(change, WorkloadChanged | ReplyChanged):
        noun = "workload" if isinstance(change, WorkloadChanged) else "reply"
        yield _edit(noun, change.name, change.old, change.new)
    else:
        yield f"~ service {change.name}"
        for line in _service_lines(change):
            yield f"    {line}"


def _service_lines(change: ServiceChanged) -> Iterator[str]:
    yield from (f"+ address {address}" for address in change.addresses_added)
    yield from (f"- address {address}" for address in change.addresses_removed)
    yield from (f"+ backend {_backend(backend)}" for backend in change.backends_added)
    yield from (f"- backend {_backend(backend)}" for backend in change.backends_removed)
    yield from (f"~ backend {one.address}: weight {one.old} -> {one.new}" for one in change.reweighted)
    yield from (f"~ backend {address}: draining" for address in change.draining)
    yield from (f"~ backend {address}: no longer draining" for address in change.undraining)
    if change.balance:
        yield f"~ balance: {_balance(change.balance[0])} -> {_balance(change.balance[1])}"
    for one in change.policy:
        unset = "any" if one.field == "namespace" else "none"
        before, after = (unset if value is None else _shown(value) for value in (one.old, one.new))
        yield f"~ {one.field}: {before} -> {after}"
    for kind, noun in _PARTS.items():
        yield from (_edit(noun, one.name, one.old, one.new) for one in getattr(change, kind))
        if kind in change.reordered:
            yield f"~ {kind}: in another order"


def _edit(noun: str, name: str, old: object | None, new: object | None) -> str:
    if old is None:
        return f"+ {noun} {name}: {describe(new)}"
    if new is None:
        return f"- {noun} {name}: {describe(old)}"
    before, after = describe(old), describe(new)
    if before == after:  # a body, for example, of which the line tells the length
        return f"~ {noun} {name}: {after}, with other contents"
    return f"~ {noun} {name}: {before} -> {after}"


def _described(service: Service) -> str:
    addresses = ", ".join(map(str, service.endpoints)) or "no address"
    scope = f" in {service.namespace}" if service.namespace else ""
    backends = _count(len(service.backends), "backend")
    text = f"{service.protocol} {addresses}{scope}, {backends}, {_balance(service.balance)}"
    parts = [
        _count(len(getattr(service, kind)), noun) for kind, noun in _PARTS.items() if getattr(service, kind)
    ]
    return ", ".join([text, *([service.l7] if service.l7 else []), *parts])


def _backend(backend: Backend) -> str:
    draining = ", draining" if backend.draining else ""
    return f"{backend.endpoint}, weight {backend.weight}{draining}"


def _balance(balance: Balance) -> str:
    details = [f"table {balance.table}"] if balance.table is not None else []
    details += [f"key {balance.key}"] if balance.key != "workload" else []
    return f"{balance.name} ({', '.join(details)})" if details else balance.name


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return ", ".join(f"{field}: {one}" for field, one in value.items()) or "none"
    if isinstance(value, msgspec.Struct):
        set_fields = msgspec.to_builtins(value)
        return ", ".join(f"{field} {one}" for field, one in set_fields.items()) or "derived"
    return "any" if value is None else str(value)


def _count(number: int, noun: str) -> str:
    if number == 1:
        return f"{number} {noun}"
    return f"{number} {noun.removesuffix('y')}ies" if noun.endswith("ly") else f"{number} {noun}s"
