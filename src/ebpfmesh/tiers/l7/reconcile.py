"""Applies a change of policies to the kernel so that no request sees half of it, and collects what it leaves behind.

Order of an apply: elements that nobody reads, the hashes' new keys (each begins with a number that is new), the version of
each service that nobody reads, its word, and last the generation, one store that makes all of it current, on open
connections too. What the change retired is collected later, after an RCU grace period.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from ebpfmesh.errors import CapacityError, EbpfMeshError
from ebpfmesh.policy.wire import INDEX
from ebpfmesh.tiers.l7.digest import digest_of
from ebpfmesh.tiers.l7.installed import Installed, InstalledPolicy
from ebpfmesh.tiers.l7.needs import judged
from ebpfmesh.tiers.l7.numbers import Holding, Numbers
from ebpfmesh.tiers.l7.wire import ABSENT, WORKLOAD_KEY, Version, drained

if TYPE_CHECKING:
    from ebpfmesh.policy.model import Config, Service
    from ebpfmesh.tiers.l7.tables import Tables


class Compiled(Protocol):
    """What the compiler makes of one service."""

    @property
    def version(self) -> bytes:
        """``struct l7_service``, without its digest."""

    @property
    def tables(self) -> Mapping[str, Mapping[int | bytes, bytes]]:
        """Elements by index, hashes' elements by key."""


class Compiler(Protocol):
    """`ebpfmesh.policy.compile`."""

    def cgroups(self, config: Config) -> dict[str, str]:
        """Name -> path of the cgroups that policies tell apart."""

    def compile_service(
        self, service: Service, config: Config, numbers: Numbers, *, key: tuple[int, int], identities: int
    ) -> Compiled:
        """The tables of one service, under numbers that it takes."""


@dataclass(slots=True)
class Draft:
    """A change, worked out before anything is written."""

    policies: dict[str, InstalledPolicy] = field(default_factory=dict)
    rows: dict[str, dict[int, bytes]] = field(default_factory=dict)
    elements: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    workloads: dict[int, int] | None = None
    """The new table of workloads, if there is one."""
    identities: int = 0
    holdings: list[Holding] = field(default_factory=list)


@dataclass(slots=True)
class Change:
    """A change that is in force, as far as it takes to undo it."""

    versions: dict[int, Version]
    """Number of a service -> what was in force."""
    policies: dict[str, InstalledPolicy | None]
    drained: dict[int, int]
    identities: int
    workloads: dict[int, int]
    identity_holding: Holding
    cgroups: dict[str, str] | None
    made: list[Holding]


class Reconciler:
    """Brings the kernel's policy maps to the model, one apply at a time; not thread-safe.

    ``find`` turns the path of a cgroup into its id, None if there is none.
    """

    def __init__(
        self, tables: Tables, installed: Installed, compiler: Compiler, find: Callable[[str], int | None]
    ) -> None:
        self.tables, self.installed, self._compiler, self._find = tables, installed, compiler, find
        self._retired: list[Holding] = list(installed.outgoing)
        self._touched: set[int] = set()
        """Services whose older version somebody may still be reading."""
        self._deleted = False
        self._cgroups: dict[str, str] | None = None
        """Name -> path of the table of workloads in force; None: not known, a predecessor made it."""

    # --- what differs -------------------------------------------------------------------------------------------------

    def plan(self, config: Config, services: Iterable[Service]) -> tuple[list[Service], list[str]]:
        """Of ``services``, those whose policy is not in force; and the names of policies that ``config`` has no more."""
        cgroups = self._compiler.cgroups(config)
        wanted = [one for one in services if judged(one)]
        policies = self.installed.policies
        put = [
            one
            for one in wanted
            if one.name not in policies
            or policies[one.name].version.digest != digest_of(one, config, cgroups)
        ]
        if self._cgroups is None and len(put) < len(wanted):
            self._cgroups = cgroups  # one of them was compiled with exactly these
        gone = [name for name in policies if (service := config.by_name(name)) is None or not judged(service)]
        return put, gone

    def touches_all(self, config: Config) -> bool:
        """Whether other cgroups are told apart than before: then every policy has to be looked at."""
        return self._cgroups != self._compiler.cgroups(config)

    # --- changing -------------------------------------------------------------------------------------------------------

    def apply(self, config: Config, put: Iterable[Service], number_of: Callable[[str], int]) -> Change:
        """Put the policies of the services of ``put`` in force, all at once, for open connections too.

        Errors: CapacityError, ConfigError (nothing was changed then); KernelError.
        """
        services = list(put)
        try:
            draft = self._draft(config, services, number_of)
        except CapacityError:
            if not self.collect():  # what the last changes left may be all the room that is needed
                raise
            draft = self._draft(config, services, number_of)
        numbers = [policy.service for policy in draft.policies.values()]
        try:
            if self._deleted or not self._touched.isdisjoint(numbers):
                self._grace()
            self._write(draft)
            versions = {policy.service: policy.version for policy in draft.policies.values()}
            change = self._publish(versions, draft)
        except BaseException:
            self._take_back(draft, numbers)
            raise
        self._cgroups = self._compiler.cgroups(config)
        return change

    def drain(self, names: Iterable[str]) -> None:
        """Let the open connections of these services pass; their policies are retired."""
        gone = [self.installed.policies[name] for name in names if name in self.installed.policies]
        if not gone:
            return
        if not self._touched.isdisjoint(one.service for one in gone):
            self._grace()
        self._flip({one.service: drained(one.version.protocol) for one in gone})
        for one in gone:
            del self.installed.policies[one.name]
            self.installed.drained[one.service] = one.version.protocol
            self._retired.append(one.holding)
        if not self.installed.policies:  # nobody asks any more who is who
            self._retired.append(self.installed.identity_holding)
            self.installed.identities, self.installed.workloads = 0, {}
            self.installed.identity_holding = Holding()
            self._cgroups = None

    def revert(self, change: Change) -> None:
        """Put what was in force before ``change`` in force again; nothing was collected meanwhile."""
        installed = self.installed
        self._flip(change.versions)
        for name, policy in change.policies.items():
            if policy is None:
                installed.policies.pop(name, None)
            else:
                installed.policies[name] = policy
        installed.drained = change.drained
        installed.identities, installed.workloads = change.identities, change.workloads
        installed.identity_holding = change.identity_holding
        again = [one.holding for one in change.policies.values() if one is not None]
        again.append(change.identity_holding)
        self._retired = [
            one for one in self._retired if not any(one is other for other in again)
        ] + change.made
        self._cgroups = change.cgroups

    def collect(self) -> bool:
        """Wait a grace period and free what earlier changes retired; False if there was nothing."""
        if not self._retired:
            return False
        self._grace()
        retired, self._retired = self._retired, []
        freed: list[tuple[str, int]] = []
        for holding in retired:
            for table, keys in holding.keys.items():
                self.tables.delete(table, keys)
                self._deleted = self._deleted or bool(keys)
            freed += self.installed.stock.release(holding)
        self.tables.clear_limits(number for kind, number in freed if kind == "limit")
        self.tables.clear_metrics(routes=[number for kind, number in freed if kind == "route"])
        if self._deleted:
            self._grace()
        return True

    def forget(self, numbers: Iterable[int]) -> None:
        """These numbers are no service's any more: their drained versions and their counters are cleared."""
        gone = [number for number in numbers if number in self.installed.drained]
        if not gone:
            return
        if not self._touched.isdisjoint(gone):
            self._grace()
        self._flip(dict.fromkeys(gone, ABSENT))
        for number in gone:
            del self.installed.drained[number]
        self.tables.clear_counters(gone)

    def follow_cgroups(self) -> bool:
        """Enter the cgroups that were made since, leave out those that are gone; whether something changed."""
        installed = self.installed
        if not installed.identities or self._cgroups is None:
            return False
        wanted = self._resolved(self._cgroups)
        if wanted == installed.workloads:
            return False
        if self._deleted:
            self._grace()
        new = {cgroup: number for cgroup, number in wanted.items() if cgroup not in installed.workloads}
        key_of = WORKLOAD_KEY.pack
        holding = installed.identity_holding
        added = Holding(keys={"l7_workloads": [key_of(one, installed.identities) for one in new]})
        installed.stock.hold_keys(added)
        self.tables.put("l7_workloads", added.keys["l7_workloads"], map(INDEX.pack, new.values()))
        gone = [key_of(one, installed.identities) for one in installed.workloads if one not in wanted]
        self.tables.delete("l7_workloads", gone)  # ids of cgroups are never used again
        self._deleted = self._deleted or bool(gone)
        keys = [one for one in holding.keys.get("l7_workloads", ()) if one not in gone]
        installed.stock.release(Holding(keys={"l7_workloads": gone}))
        holding.keys["l7_workloads"] = keys + added.keys["l7_workloads"]
        installed.workloads = wanted
        if new:
            self.tables.flip(self.tables.generation + 1)  # connections that were nobody's look again
        return True

    # --- inside -------------------------------------------------------------------------------------------------------

    def _draft(self, config: Config, services: list[Service], number_of: Callable[[str], int]) -> Draft:
        draft = Draft(identities=self.installed.identities)
        cgroups = self._compiler.cgroups(config)
        try:
            if cgroups != self._cgroups:
                self._draft_workloads(draft, cgroups)
            for service in services:
                self._draft_service(draft, config, service, number_of(service.name), cgroups)
        except BaseException:
            self._undo(draft)
            raise
        return draft

    def _draft_workloads(self, draft: Draft, cgroups: Mapping[str, str]) -> None:
        draft.identities, draft.workloads = 0, {}
        if not cgroups:
            return
        numbers = Numbers(self.installed.stock, 0)
        draft.holdings.append(numbers.holding)
        draft.identities = numbers.take("identities")
        for name, path in cgroups.items():
            number, found = numbers.named("workload", name), self._find(path)
            if found is not None:
                draft.workloads[found] = number
        elements = {
            WORKLOAD_KEY.pack(cgroup, draft.identities): INDEX.pack(number)
            for cgroup, number in draft.workloads.items()
        }
        self._add(draft, numbers, {"l7_workloads": elements})

    def _draft_service(
        self, draft: Draft, config: Config, service: Service, number: int, cgroups: Mapping[str, str]
    ) -> None:
        numbers = Numbers(self.installed.stock, number)
        draft.holdings.append(numbers.holding)
        compiled = self._compiler.compile_service(
            service, config, numbers, key=self.tables.key, identities=draft.identities
        )
        self._add(draft, numbers, compiled.tables)
        digest = digest_of(service, config, cgroups)
        version = Version.unpack(compiled.version)._replace(digest=digest, identities=draft.identities)
        draft.policies[service.name] = InstalledPolicy(service.name, number, version, numbers.holding)

    def _add(
        self,
        draft: Draft,
        numbers: Numbers,
        tables: Mapping[str, Mapping[int | bytes, bytes]] | Mapping[str, Mapping[bytes, bytes]],
    ) -> None:
        for table, rows in numbers.rows.items():
            draft.rows.setdefault(table, {}).update(rows)
        for table, elements in tables.items():
            for key, value in elements.items():
                if isinstance(key, bytes):
                    draft.elements.setdefault(table, {})[key] = value
                    numbers.holding.keys.setdefault(table, []).append(key)
                else:
                    draft.rows.setdefault(table, {})[key] = value
        keys, numbers.holding.keys = numbers.holding.keys, {}
        self.installed.stock.hold_keys(Holding(keys=keys))
        numbers.holding.keys = keys

    def _write(self, draft: Draft) -> None:
        for table, rows in draft.rows.items():
            self.tables.write(table, rows)
        for table, elements in draft.elements.items():
            self.tables.put(table, elements.keys(), elements.values())

    def _publish(self, versions: Mapping[int, Version], draft: Draft) -> Change:
        installed = self.installed
        known = {*installed.drained, *(one.service for one in installed.policies.values())}
        if fresh := versions.keys() - known:
            self.tables.clear_counters(fresh)
        before = {number: Version.unpack(self.tables.current(number)) for number in versions}
        change = Change(
            before,
            {name: installed.policies.get(name) for name in draft.policies},
            dict(installed.drained),
            installed.identities,
            installed.workloads,
            installed.identity_holding,
            self._cgroups,
            draft.holdings,
        )
        self._flip(versions)
        for name, policy in draft.policies.items():
            old = installed.policies.get(name)
            if old is not None:
                self._retired.append(old.holding)
            installed.policies[name] = policy
            installed.drained.pop(policy.service, None)
        if draft.workloads is not None:
            self._retired.append(installed.identity_holding)
            installed.identities, installed.workloads = draft.identities, draft.workloads
            installed.identity_holding = draft.holdings[0] if draft.identities else Holding()
        return change

    def _flip(self, versions: Mapping[int, Version]) -> None:
        tables = self.tables
        since = tables.generation + 1
        for number, version in versions.items():
            tables.prepare(number, version.pack())
        for number in versions:
            tables.publish(number, since)
        tables.flip(since)
        self._touched.update(versions)

    def _take_back(self, draft: Draft, numbers: Iterable[int]) -> None:
        """Nothing of the draft is current: a refused change leaves what ran before."""
        generation = self.tables.generation
        for number in numbers:
            if self.tables.word(number) >> 1 > generation:
                self.tables.retract(number)
        self._touched.update(numbers)
        for table, elements in draft.elements.items():
            with suppress(EbpfMeshError):
                self.tables.delete(table, elements)
        self._deleted = True
        self._undo(draft)

    def _undo(self, draft: Draft) -> None:
        for holding in draft.holdings:
            self.installed.stock.release(holding)

    def _resolved(self, cgroups: Mapping[str, str]) -> dict[int, int]:
        numbers = self.installed.stock.numbers("workload")
        found = {}
        for name, path in cgroups.items():
            cgroup = self._find(path)
            if cgroup is not None and (0, name) in numbers:
                found[cgroup] = numbers[0, name]
        return found

    def _grace(self) -> None:
        self.tables.grace_period()
        self._touched.clear()
        self._deleted = False
