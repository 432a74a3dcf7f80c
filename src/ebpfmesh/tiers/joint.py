"""The tiers of one mesh: changed in one transaction, so that no connection reaches a service without its policy."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from ebpfmesh.tiers.connect.tier import ConnectTier
from ebpfmesh.tiers.l7 import needs

if TYPE_CHECKING:
    from ebpfmesh.ownership import Ownership
    from ebpfmesh.ownership.cgroup import Cgroup
    from ebpfmesh.policy.model import Config, Service
    from ebpfmesh.tiers.connect.reconcile import Applied
    from ebpfmesh.tiers.l7.reconcile import Change
    from ebpfmesh.tiers.l7.tier import L7Tier


class Tiers:
    """The connect tier, and the L7 tier as soon as a service has a policy: nothing of that one is loaded before."""

    def __init__(self, ownership: Ownership, connect: ConnectTier) -> None:
        self.ownership, self.connect = ownership, connect
        self.l7: L7Tier | None = None
        self._drains = bool(ownership.pins.draining())
        """Whether something of an earlier run is kept for connections that are still open."""

    @classmethod
    def start(cls, ownership: Ownership, config: Config) -> Tiers:
        """Load what ``config`` needs, or take over what a predecessor left, and bring it to ``config``, attached.

        Errors: those of the tiers; nothing is left then that was not there before.
        """
        took_over = bool(ownership.pins.links())
        tiers = cls(ownership, ConnectTier.start(ownership, config))
        try:
            tiers._start(config, took_over=took_over)
        except BaseException:
            with ExitStack() as ending:
                ending.callback(tiers.close)
                ending.callback(tiers._take_back)
            raise
        return tiers

    def _start(self, config: Config, *, took_over: bool) -> None:
        connect = self.connect
        if needs.needed(config.services) or "l7_settings" in self.ownership.pins.maps():
            self.l7 = self._load(config)
        # before the first change, so that a failure leaves the predecessor's services too, and no connection of a service
        # with a policy is made before that is in force
        early = took_over or self.l7 is not None
        if early:
            self._attach()
        wanted = {service.name for service in config.services}
        gone = [name for name in connect.installed.services if name not in wanted]
        put = connect.adopt(config.services)
        self._change(config, put, gone, config.services)
        if not early:
            self._attach()
        connect.settle()
        connect.keep()
        if self.l7 is not None:
            self.l7.keep()
        self.ownership.write_record(self.object_hashes)
        if left := self.draining():
            self.ownership.notices.append(
                f"{left} connections of an earlier run are still open, and pass as plain ones"
            )

    def apply(
        self, config: Config, put: list[Service], gone: list[str], judged: Iterable[Service]
    ) -> Applied | None:
        """Bring both tiers to ``config``: the services of ``put`` differ, those of ``gone`` go; both tiers or none.

        ``judged`` are the services whose policies may differ. Errors: those of the tiers; everything is then as it was.
        """
        judged = list(judged)
        if self.l7 is not None or not needs.needed(judged):
            applied = self._change(config, put, gone, judged)
        else:
            applied = self._first_policy(config, put, gone)
        self.connect.settle()
        return applied

    def _first_policy(self, config: Config, put: list[Service], gone: list[str]) -> Applied | None:
        l7 = self.l7 = self._load(config)
        try:
            l7.attach()
            applied = self._change(config, put, gone, config.services)
            l7.keep()
            self.ownership.write_record(self.object_hashes)
        except BaseException:
            self.l7 = None
            with ExitStack() as ending:
                ending.callback(l7.close)
                ending.callback(l7.take_back)
            raise
        return applied

    def _change(
        self, config: Config, put: list[Service], gone: list[str], judged: Iterable[Service]
    ) -> Applied | None:
        """Policies before the addresses that lead to them, and away after them."""
        l7 = self.l7
        if l7 is None:
            return self.connect.apply(put, gone) if put or gone else None
        policies, without = l7.plan(config, judged)
        fresh = [one for one in policies if one.l7 is not None and one.name not in l7.installed.policies]
        changes: list[Change] = []
        leaving = {name: one for name in gone if (one := self.connect.installed.services.get(name))}

        def before(numbers: dict[str, int]) -> None:
            if policies:
                changes.append(l7.apply(config, policies, numbers))

        applied = None
        try:
            if put or gone:
                applied = self.connect.apply(put, gone, before=before)
            else:
                before({})
        except BaseException:
            for change in changes:
                l7.revert(change)
            raise
        now = {key for one in policies for key in self.connect.installed.services[one.name].frontends}
        l7.end({one.index for one in leaving.values() if not now.isdisjoint(one.frontends)})
        l7.drain(without)
        l7.set_log(config)
        l7.meet_open(fresh)
        return applied

    def collect(self) -> bool:
        """Free what earlier changes retired; False if there was nothing."""
        before = self._backends() if self.l7 is not None else set()
        freed = self.connect.collect()
        if self.l7 is not None:
            if gone := before - self._backends():
                self.l7.tables.clear_metrics(backends=gone)  # their numbers will be other backends'
            freed = self.l7.collect() or freed
        if self._drains:
            from ebpfmesh.tiers.l7 import draining

            self._drains = draining.collect(self.ownership.pins) > 0
        return freed

    def draining(self) -> int:
        """Connections of an earlier run that are still open, and pass as plain ones."""
        if not self._drains:
            return 0
        from ebpfmesh.tiers.l7 import draining

        return draining.count(self.ownership.pins)

    def follow_workloads(self) -> bool:
        """Find the workloads' cgroups again, those that were made anew; whether some were."""
        return self.l7 is not None and self.l7.follow_cgroups()

    def move(self, cgroup: Cgroup) -> None:
        """Attach to ``cgroup``, which this takes, instead; after an error the old links are there as before."""
        if self.l7 is None:
            self.connect.move(cgroup)
        else:
            self.l7.move(cgroup, lambda: self.connect.move(cgroup))
        self.ownership.write_record(self.object_hashes)

    def stop(self, wait: float) -> list[str]:
        """Detach everything: no new connections first; what had to stay. ``wait``: see `L7Tier.stop`."""
        notices: list[str] = []
        with ExitStack() as ending:  # what one step cannot do must not keep the others from being done
            if self.l7 is not None:
                l7 = self.l7
                ending.callback(lambda: notices.extend(l7.stop(wait)))
            ending.callback(self.connect.detach)
        return notices

    def close(self) -> None:
        """Close the descriptors; what is pinned goes on without us."""
        with ExitStack() as ending:
            ending.callback(self.connect.close)
            if self.l7 is not None:
                ending.callback(self.l7.close)

    @property
    def object_hashes(self) -> dict[str, str]:
        """SHA-256 of the loaded objects, for the owner record."""
        return self.connect.object_hashes | (self.l7.object_hashes if self.l7 is not None else {})

    def _backends(self) -> set[int]:
        """The elements of the counters of all backends, those that left too."""
        installed = self.connect.installed
        every = (*installed.services.values(), *installed.retired.values())
        return {
            one.counter
            for service in every
            for one in (*service.backends.values(), *service.leaving.values())
        }

    def _load(self, config: Config) -> L7Tier:
        from ebpfmesh.tiers.l7.tier import L7Tier

        return L7Tier.start(self.ownership, config, self.connect)

    def _attach(self) -> None:
        self.connect.attach()
        if self.l7 is not None:
            self.l7.attach(behind_new=bool(self.connect.fresh))

    def _take_back(self) -> None:
        with ExitStack() as ending:
            ending.callback(self.connect.take_back)
            if self.l7 is not None:
                ending.callback(self.l7.take_back)
