"""Mesh: the tiers of one configuration, planned, applied, watched and closed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from ebpfmesh.errors import ClosedError, ConfigError, EbpfMeshError
from ebpfmesh.lowlevel import garbage, interrupts
from ebpfmesh.ownership import RUN_ROOT, Ownership
from ebpfmesh.ownership.cgroup import Cgroup
from ebpfmesh.policy.check import check, check_service
from ebpfmesh.policy.index import Index
from ebpfmesh.policy.known import Known
from ebpfmesh.policy.model import Config, Service
from ebpfmesh.policy.plan import Plan, ServiceAdded, ServiceChanged, ServiceRemoved, SettingChanged, diff
from ebpfmesh.tiers.connect import memory, status
from ebpfmesh.tiers.connect.reconcile import Applied
from ebpfmesh.tiers.joint import Tiers

if TYPE_CHECKING:
    from ebpfmesh.tiers.connect.tier import ConnectTier
    from ebpfmesh.tiers.l7.status import MeshStatus
    from ebpfmesh.tiers.l7.tier import L7Tier

_TEND_EVERY = 1.0  # seconds between looks for backends whose last connection ended, and at the cgroup


class Changed(NamedTuple):
    """An event of `Mesh.watch`: the file changed and was applied."""

    plan: Plan


class Refused(NamedTuple):
    """An event of `Mesh.watch`: the file changed, was refused, and what ran before keeps running."""

    error: EbpfMeshError


class Mesh:
    """A running mesh: unmodified programs in a cgroup reach the services of a `Config` through the kernel.

    As a context manager it starts on entry and leaves nothing on exit. It is synchronous and may be used from several
    threads; `watch` is asynchronous. While it runs, the process holds the lock of its name; if the process is killed, the
    kernel goes on balancing, and the next Mesh of the same name takes over.

    Arguments: ``config``; ``run_root``, the directory of locks and records; ``bpffs``, a mounted bpffs (found, or
    mounted, if None); ``drain_for``, the seconds that `close` waits for connections whose requests were judged.
    Minimum kernel: 5.18. Capabilities: CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON; CAP_SYS_ADMIN to mount a bpffs, for services
    of one namespace, and to destroy sockets in other namespaces.
    """

    def __init__(
        self,
        config: Config,
        *,
        run_root: str | Path = RUN_ROOT,
        bpffs: str | Path | None = None,
        drain_for: float = 30.0,
    ) -> None:
        self.config = config
        self.drain_for = drain_for
        self._run_root, self._bpffs = Path(run_root), bpffs
        self._ownership: Ownership | None = None
        self._tiers: Tiers | None = None
        self._took_over = False
        self._index = Index()
        self._lock = threading.RLock()

    # --- life -------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Check the configuration, take the name, load or take over, apply, attach.

        Errors: ConfigError, CapacityError (the configuration); HeldError, OwnershipError, LayoutError (the name is
        not free); HostError, NotSupportedError, CapabilityError (the host); LoadError, AttachError. After an error
        nothing is left that was not there before.
        """
        with self._lock:
            if self._tiers is None:
                try:
                    with interrupts.held(), garbage.paused():
                        self._start()
                except BaseException:
                    self._end(keep=self._took_over)
                    raise
        return self

    def _start(self) -> None:
        check(self.config)
        memory.check_budget(self.config)
        self._took_over = (
            True  # until it is known: a start that fails may then leave pins, but never take them away
        )
        ownership = self._ownership = Ownership.acquire(
            self.config.name,
            cgroup=self.config.cgroup,
            run_root=self._run_root,
            bpffs=self._bpffs,
            allow_root_cgroup=self.config.allow_root_cgroup,
        )
        self._took_over = bool(ownership.pins.links())
        self._tiers = Tiers.start(ownership, self.config)
        self._index = Index(self.config.services)

    def close(self, *, keep: bool = False) -> list[str]:
        """Stop: detach, remove every pin and record. With ``keep`` the kernel goes on without an agent.

        Returns notices about what had to stay. Connections that are open go on: they are plain connections.
        """
        with self._lock, interrupts.held():
            return self._end(keep=keep)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- changes ------------------------------------------------------------------------------------------------

    def plan(self, config: Config) -> Plan:
        """What `apply` would change: a pure comparison of the two configurations."""
        return diff(self.config, config)

    def apply(self, config: Config) -> Plan:
        """Make the kernel hold ``config``; no connection sees half of the change. Returns what changed.

        Errors: ConfigError, CapacityError; after an error everything is as it was before.
        """
        with self._lock, interrupts.held(), garbage.paused():
            tiers = self._running()
            plan = self._planned(config)
            put, gone = _put_and_gone(plan, config)
            if not plan.empty:
                self._check_change(config, plan, put)
                before = self.config
                same = (before.workloads, before.replies) == (config.workloads, config.replies)
                tiers.apply(config, put, gone, put if same else config.services)
                self._remember(config, put, gone)
        return plan

    def put(self, service: Service) -> Applied:
        """Add one service, or change the one of its name: `apply` for a single change, in time that does not grow."""
        with self._lock, interrupts.held():
            tiers = self._running()
            self._check_one(service)
            config = self.config.with_service(service)
            applied = tiers.apply(config, [service], [], [service])
            assert applied is not None  # a service is put
            self._remember(config, [service], [])
        return applied

    def remove(self, name: str) -> Applied:
        """Remove the service of that name. ConfigError if there is none."""
        with self._lock, interrupts.held():
            tiers = self._running()
            if self.config.by_name(name) is None:
                raise ConfigError(f"there is no service {name!r}", where="$.services")
            config = self.config.without(name)
            applied = tiers.apply(config, [], [name], [])
            assert applied is not None  # a service is removed
            self._remember(config, [], [name])
        return applied

    def collect(self) -> bool:
        """Free what earlier changes retired, backends without a connection among it; `watch` does it by itself."""
        with self._lock, interrupts.held():
            return self._running().collect()

    def follow_cgroup(self) -> bool:
        """Attach to the cgroup that has the configured path now, if it is another than before; `watch` does it by itself.

        A service manager that restarts a unit makes its cgroup anew, and the kernel has detached with the old one. False
        if it is the same, or if there is none at the moment. Errors: AttachError, CapabilityError; then the old links stay.
        """
        with self._lock, interrupts.held():
            tiers, ownership = self._running(), self._ownership
            assert ownership is not None
            if not ownership.cgroup.replaced:
                return False
            tiers.move(Cgroup.open(ownership.cgroup.path, allow_root=self.config.allow_root_cgroup))
            ownership.notices.append(
                f"the cgroup {ownership.cgroup.path} was made again: attached to the new one"
            )
        return True

    def follow_workloads(self) -> bool:
        """Find the workloads' cgroups again, those that were made anew; `watch` does it by itself. Whether some were."""
        with self._lock, interrupts.held():
            return self._running().follow_workloads()

    # --- looking --------------------------------------------------------------------------------------------------

    def status(self) -> MeshStatus:
        """Services, backends and counters, from the kernel's maps; of the L7 tier too, where it is loaded."""
        from ebpfmesh.tiers.l7 import status as l7_status

        with self._lock:
            tiers = self._running()
            connect, l7 = tiers.connect, tiers.l7
            found = status.of(connect.tables, connect.installed, connect.memory())
            return l7_status.joined(found, l7.status() if l7 is not None else None, tiers.draining())

    @property
    def connect(self) -> ConnectTier:
        """The connect tier: its links, maps and sockets. ClosedError before `start` and after `close`."""
        return self._running().connect

    @property
    def l7(self) -> L7Tier | None:
        """The L7 tier; None while no service has a policy. ClosedError before `start` and after `close`."""
        return self._running().l7

    @property
    def notices(self) -> list[str]:
        """What the start found, what changed since, and what was done about it, in plain sentences."""
        return list(self._ownership.notices) if self._ownership else []

    async def watch(self, path: str | Path) -> AsyncIterator[Changed | Refused]:
        """Follow a configuration file: each change is applied, or refused and what ran before keeps running."""
        from ebpfmesh.discover.file import FileSource

        tending = asyncio.create_task(self._tend())
        try:
            async for found in FileSource(path).watch():
                if isinstance(found, EbpfMeshError):
                    yield Refused(found)
                    continue
                try:
                    plan = await asyncio.to_thread(self.apply, found)
                except EbpfMeshError as error:
                    yield Refused(error)
                else:
                    if not plan.empty:
                        yield Changed(plan)
        finally:
            tending.cancel()
            with suppress(asyncio.CancelledError):
                await tending

    async def _tend(self) -> None:
        while True:
            await asyncio.sleep(_TEND_EVERY)
            for task in (self.collect, self.follow_cgroup, self.follow_workloads):
                with suppress(EbpfMeshError):  # what cannot be done now may be possible in a second
                    await asyncio.to_thread(task)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _planned(self, config: Config) -> Plan:
        try:
            return diff(self.config, config)
        except ConfigError:  # an address that is none: the check knows where it stands
            check(config)
            raise

    def _check_change(self, config: Config, plan: Plan, put: list[Service]) -> None:
        _refuse_restart(plan)
        one_of_its_name = put and sum(one.name == put[0].name for one in config.services) == 1
        if len(put) == 1 and len(plan.changes) == 1 and one_of_its_name:
            self._check_one(put[0])  # one of 10,000: the others were checked, and are indexed
        else:
            check(config, room=False)
        if any(isinstance(change, SettingChanged) for change in plan.changes):
            memory.check_budget(config)  # otherwise the maps, and what they take, stay as they are

    def _check_one(self, service: Service) -> None:
        for problem in check_service(service, self._index, known=Known.of(self.config)):
            raise problem

    def _remember(self, config: Config, put: list[Service], gone: list[str]) -> None:
        self.config = config
        if len(put) + len(gone) > len(config.services) // 2:
            self._index = Index(config.services)
            return
        for name in gone:
            self._index.remove(name)
        for service in put:
            self._index.put(service)

    def _running(self) -> Tiers:
        if self._tiers is None:
            raise ClosedError(
                f"the mesh {self.config.name} is not running", remedy="use it inside `with Mesh(…)`"
            )
        return self._tiers

    def _end(self, *, keep: bool) -> list[str]:
        tiers, ownership = self._tiers, self._ownership
        self._tiers = self._ownership = None
        with ExitStack() as ending:  # what one step cannot do must not keep the others from being done
            notices: list[str] = []
            if ownership is not None:
                ending.callback(lambda: notices.extend(ownership.release(keep=keep)))
            if tiers is not None:
                ending.callback(tiers.close)
                if not keep:
                    ending.callback(lambda: notices.extend(tiers.stop(self.drain_for)))
        return notices


def _put_and_gone(plan: Plan, config: Config) -> tuple[list[Service], list[str]]:
    put, gone = [], []
    for change in plan.changes:
        if isinstance(change, ServiceRemoved):
            gone.append(change.name)
        elif isinstance(change, ServiceAdded):
            put.append(change.service)
        elif isinstance(change, ServiceChanged):
            service = config.by_name(change.name)
            assert service is not None  # the plan says that it stays
            put.append(service)
    return put, gone


def _refuse_restart(plan: Plan) -> None:
    for change in plan.changes:
        if isinstance(change, SettingChanged) and change.field not in ("memory_budget", "log"):
            raise ConfigError(
                "it cannot change while the mesh runs",
                where=f"$.{change.field}",
                remedy="ebpfmesh stop, then ebpfmesh run",
            )
