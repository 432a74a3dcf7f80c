"""Applies a change to the kernel so that no connection sees half of it, and collects what it leaves behind.

Order of an apply: leaves (backends, slots), the version of each frontend that nobody reads, its word, new addresses,
and last the generation, one store that makes all of it current. A change of one frontend needs no generation: its
word is the one store. What the change retired is collected later, after an RCU grace period; nothing waits for it
unless it wants the place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ebpfmesh.errors import CapacityError, ConfigError, KernelError
from ebpfmesh.lowlevel import garbage
from ebpfmesh.policy.address import Endpoint
from ebpfmesh.tiers.connect.draft import Draft, ScopeOf, digest_of
from ebpfmesh.tiers.connect.installed import Installed, InstalledService
from ebpfmesh.tiers.connect.wire import ADDRESS_KEY, BACKEND_KEY, INDEX, LEAVING, SERVICE_NAME

if TYPE_CHECKING:
    from ebpfmesh.policy.model import Service
    from ebpfmesh.tiers.connect.tables import Tables


@dataclass(frozen=True, slots=True)
class Applied:
    """What an apply did."""

    services: int
    """Services written or removed; those that were already so are not counted."""
    frontends: int
    generation: int
    """What is in force now; a change of one frontend does not raise it."""
    departed: tuple[tuple[int, int], ...]
    """(service index, backend id) of the backends that left."""


class Reconciler:
    """Brings the kernel's maps to the model, one apply at a time; not thread-safe."""

    def __init__(self, tables: Tables, installed: Installed, scope_of: ScopeOf) -> None:
        self.tables, self.installed, self._scope_of = tables, installed, scope_of
        self._touched: set[int] = set()
        """Frontends whose older version somebody may still be reading."""
        self._freed: list[tuple[int, int]] = []
        self._retired_addresses: dict[bytes, int] = dict.fromkeys(installed.stray_addresses(), 0)
        self._deleted = False
        """Elements of a hash were deleted since the last grace period: the kernel may hand them out again at once."""
        self._scoped = _scoped(installed.frontend_of)

    def adopt(self, service: Service) -> bool:
        """Whether the installed service is exactly this one; then the mirror takes it over as it is."""
        old = self.installed.services.get(service.name)
        if old is None or old.digest != digest_of(service, self._scope_of(service.namespace)):
            return False
        wanted = {backend.endpoint for backend in service.backends}
        for endpoint in [one for one in old.backends if one not in wanted]:
            old.leaving[endpoint] = old.backends.pop(endpoint)
        return True

    def apply(
        self,
        put: Sequence[Service],
        remove: Iterable[str] = (),
        *,
        before: Callable[[dict[str, int]], None] | None = None,
    ) -> Applied:
        """Add or change the services of ``put`` and remove those named in ``remove``, all at once.

        ``before`` is called with the numbers of the services of ``put`` when it is known that they fit, and nothing is
        written yet; what it raises ends the apply. Errors: CapacityError if it does not fit (nothing was changed then);
        ConfigError from a balancer; KernelError.
        """
        removed = list(remove)
        for name in removed:
            if name not in self.installed.services or name in {service.name for service in put}:
                raise ConfigError(
                    "only an installed service that is not put too can be removed", where=f"service {name}"
                )
        with garbage.paused():
            return self._apply(put, removed, before)

    def _apply(
        self,
        put: Sequence[Service],
        removed: Sequence[str],
        before: Callable[[dict[str, int]], None] | None,
    ) -> Applied:
        try:
            draft = self._draft(put, removed)
        except CapacityError:
            if not self.collect():  # what the last changes left may be all the room that is needed
                raise
            draft = self._draft(put, removed)
        if before is not None:
            try:
                before({service.name: draft.services[service.name].index for service in put})
            except BaseException:
                draft.undo()
                raise
        try:
            if self._deleted or not self._touched.isdisjoint(draft.versions):
                self._grace()
            self._write_leaves(draft)
            self._publish(draft)
        except BaseException:
            if draft.current:
                self._remember(draft)
            else:
                self._take_back(draft)
            raise
        self._remember(draft)
        self._note(draft)
        departed = tuple(
            (service.index, service.leaving[endpoint].id) for service, endpoint in draft.departed
        )
        return Applied(len(draft.services), len(draft.versions), self.tables.generation, departed)

    def collect(self) -> bool:
        """Wait a grace period and free what earlier applies retired; False if there was nothing.

        A backend that left is kept while a connection of it is open, so this may be called again and again.
        """
        leaving = [service for service in self._all() if service.leaving]
        idle = [
            (service, endpoint)
            for service in leaving
            for endpoint, one in service.leaving.items()
            if not self.tables.active(one.counter)
        ]
        empty = [service for service in self.installed.retired.values() if not service.leaving]
        if not (idle or empty or self._freed or self._retired_addresses):
            return False
        self._grace()
        for start, elements in self._freed:
            self.installed.extents.give_back(start, elements)
        self._freed.clear()
        self._delete_addresses()
        self._delete_backends(idle)
        self._delete_services()
        if self._deleted:
            self._grace()
        return True

    def _draft(self, put: Sequence[Service], remove: Sequence[str]) -> Draft:
        installed = self.installed.services
        names = [*remove, *(service.name for service in put)]
        changing = frozenset(installed[name].index for name in names if name in installed)
        draft = Draft(self.tables, self.installed, self._scope_of, changing)
        try:
            for name in remove:
                draft.remove(name)
            for service in put:
                draft.put(service)
            draft.finish()
        except BaseException:
            draft.undo()
            raise
        return draft

    def _write_leaves(self, draft: Draft) -> None:
        tables = self.tables
        tables.put("services", *self._records(draft, final=False))
        tables.put("backends", [key for key, _ in draft.backend_rows], [row for _, row in draft.backend_rows])
        for start, words in draft.slot_writes:
            tables.write_slots(start, words)

    def _note(self, draft: Draft) -> None:
        """What the next agent reads: who left, and that the services are as their records say."""
        gone = [service.leaving[endpoint] for service, endpoint in draft.departed]
        self.tables.set_weights([(one.counter, one.weight | LEAVING) for one in gone])
        # The change is in force. Without its record the next agent writes the service again, and no more comes of it.
        with suppress(KernelError):
            self.tables.put("services", *self._records(draft, final=True))

    def _publish(self, draft: Draft) -> None:
        tables = self.tables
        at_once = len(draft.versions) == 1
        since = tables.generation if at_once else tables.generation + 1
        if scoped := _scoped(draft.new_addresses):
            self._scoped += scoped
            tables.set_scoped(self._scoped)
        tables.set_weights(draft.weights)
        for first, weights in draft.weight_runs:
            tables.set_weight_run(first, weights)
        for frontend in draft.new_addresses.values():
            tables.reset(frontend)
        for frontend, dispatch in draft.versions.items():
            tables.prepare(frontend, dispatch)
        # from here on there is no way back: with one frontend that an address leads to, its word is the change
        draft.current = at_once and not draft.new_addresses
        for frontend in draft.versions:
            tables.publish(frontend, since)
        tables.put(
            "addresses", list(draft.new_addresses), [INDEX.pack(one) for one in draft.new_addresses.values()]
        )
        draft.current = True
        if not at_once and draft.versions:
            tables.flip(since)
        self._touched.update(draft.versions)

    def _take_back(self, draft: Draft) -> None:
        """Nothing of the draft is current yet: remove what it wrote, so that a refused change leaves what ran before."""
        tables, generation = self.tables, self.tables.generation
        for frontend in draft.versions:
            if tables.word(frontend) >> 1 > generation:
                tables.retract(frontend)
        tables.delete("addresses", list(draft.new_addresses))
        self._scoped = _scoped(self.installed.frontend_of)
        tables.set_scoped(self._scoped)
        known = {BACKEND_KEY.pack(one.index, backend.id) for one in self._all() for backend in
                 (*one.backends.values(), *one.leaving.values())}  # fmt: skip
        written = {
            keys[start : start + BACKEND_KEY.size]
            for keys, _ in draft.backend_rows
            for start in range(0, len(keys), BACKEND_KEY.size)
        }
        tables.delete("backends", sorted(written - known))
        before = {
            name: self.installed.services.get(name) or self.installed.retired.get(name)
            for name in draft.records
        }
        for name, old in before.items():
            if old:
                tables.set_weights([(one.counter, one.weight) for one in old.backends.values()])
                tables.set_weights([(one.counter, one.weight | LEAVING) for one in old.leaving.values()])
                tables.put("services", [SERVICE_NAME.pack(name.encode())], [old.record])
            else:
                tables.delete("services", [SERVICE_NAME.pack(name.encode())])
        self._touched.update(draft.versions)
        self._deleted = True
        draft.undo()

    def _records(self, draft: Draft, *, final: bool) -> tuple[list[bytes], list[bytes]]:
        # Until the change is current the record's digest is 0: an agent that dies in between leaves a service that its
        # successor writes again, whatever it finds.
        names = [SERVICE_NAME.pack(name.encode()) for name in draft.records]
        if final:
            return names, list(draft.records.values())
        return names, [bytes(8) + record[8:] for record in draft.records.values()]

    def _remember(self, draft: Draft) -> None:
        installed = self.installed
        for name, service in draft.services.items():
            old = installed.services.pop(name, None) or installed.retired.pop(name, None)
            for key in old.frontends if old else ():
                if key not in service.frontends:
                    self._retired_addresses[key] = 0
            (installed.retired if service.retired else installed.services)[name] = service
        installed.frontend_of.update(draft.new_addresses)
        for service in draft.services.values():
            for key in service.frontends:
                self._retired_addresses.pop(key, None)
        self._freed += draft.freed_extents

    def _grace(self) -> None:
        self.tables.grace_period()
        self._touched.clear()
        self._deleted = False

    def _delete_addresses(self) -> None:
        if not self._retired_addresses:
            return
        keys = list(self._retired_addresses)
        self._deleted = True
        for key in keys:
            self.tables.delete("addresses", [key])
            self._retired_addresses.pop(key)
            self.installed.frontend_ids.give_back(self.installed.frontend_of.pop(key))
        self._scoped = _scoped(self.installed.frontend_of)
        self.tables.set_scoped(self._scoped)

    def _delete_backends(self, idle: Sequence[tuple[InstalledService, Endpoint]]) -> None:
        for service, endpoint in idle:
            one = service.leaving[endpoint]
            if self.tables.active(one.counter):
                continue  # picked in the last moment before the grace period
            self._deleted = True
            self.tables.clear_backend(
                one.counter
            )  # first: whoever finds the element finds its counters in use
            self.tables.delete("backends", [BACKEND_KEY.pack(service.index, one.id)])
            del service.leaving[endpoint]
            self.installed.counter_ids.give_back(one.counter)

    def _delete_services(self) -> None:
        for service in [one for one in self.installed.retired.values() if not one.leaving]:
            self.tables.clear_service(service.index)
            self.tables.delete("services", [SERVICE_NAME.pack(service.name.encode())])
            del self.installed.retired[service.name]
            self.installed.service_ids.give_back(service.index)
            self._deleted = True

    def _all(self) -> list[InstalledService]:
        return [*self.installed.services.values(), *self.installed.retired.values()]


def _scoped(keys: Iterable[bytes]) -> int:
    """How many of the addresses are of one network namespace."""
    return sum(1 for key in keys if ADDRESS_KEY.unpack(key)[1])
