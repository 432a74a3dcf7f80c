"""The L7 tier of one mesh: loaded, or taken over from a predecessor; changed, attached, watched and closed."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack
from functools import cached_property
from socket import IPPROTO_TCP
from typing import TYPE_CHECKING, Any

from ebpfmesh.engine.limit.gcra import expired
from ebpfmesh.tiers.l7 import abilities, draining, loading, memory, sockets, status, workloads
from ebpfmesh.tiers.l7.attaching import SOCKETS, Attaching
from ebpfmesh.tiers.l7.installed import Installed
from ebpfmesh.tiers.l7.reconcile import Change, Reconciler
from ebpfmesh.tiers.l7.tables import Tables

if TYPE_CHECKING:
    from ebpfmesh.ownership import Ownership
    from ebpfmesh.ownership.cgroup import Cgroup
    from ebpfmesh.policy.model import Config, Service
    from ebpfmesh.spec import ObjectSpec
    from ebpfmesh.tiers.connect.tier import ConnectTier
    from ebpfmesh.tiers.l7.behaviour import Behaviour
    from ebpfmesh.tiers.l7.loading import Loaded
    from ebpfmesh.tiers.l7.reconcile import Compiler
    from ebpfmesh.tiers.l7.status import L7Status

_BUCKETS_EVERY = 10.0  # seconds: the walk reads every bucket
_LOOK_EVERY = 0.05
_IDLE = 60 * 10**9  # nanoseconds for which a bucket that is as if never used is kept


def compiler() -> Compiler:
    """What turns policies into tables."""
    from ebpfmesh.policy import compile as module

    return module


def _checked(
    ownership: Ownership, config: Config, connect: ConnectTier, specs: dict[str, ObjectSpec]
) -> dict[str, int]:
    """The capacities of the maps, if what is pinned has our layouts and the budget allows them."""
    from ebpfmesh.tiers.connect.tier import layout_hashes

    for spec in specs.values():
        ownership.pins.check_layouts(layout_hashes(spec))
    capacities = memory.max_entries(config, compiler(), connect.tables.capacity("service_stats"))
    if "l7_settings" not in ownership.pins.maps():
        memory.check_budget(config, memory.estimate(specs, capacities, connect.objects.maps))
    return capacities


class L7Tier:
    """The L7 tier of one mesh. Made by `start`; the only writer of its policy maps.

    Minimum kernel: 5.18. Capabilities: CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON.
    """

    def __init__(
        self, ownership: Ownership, connect: ConnectTier, loaded: Loaded, specs: dict[str, ObjectSpec]
    ) -> None:
        self.ownership, self.connect, self.loaded, self.specs = ownership, connect, loaded, specs
        self._attaching = Attaching(ownership, loaded)
        self._made: list[str] = []
        """Maps that this start has pinned."""
        self._listers = ExitStack()
        self._buckets_at = 0.0
        self.destroyed = 0
        """Sockets that nothing may leave any more, which were destroyed."""
        self._ended: set[int] = set()
        """Cookies of those that their users have not closed yet."""
        self.behaviour: Behaviour | None = None
        """What this kernel does with enrolled sockets; None where nothing is enrolled."""
        self._measured = 0
        self.tables = Tables(loaded.maps)
        self.tables.make_key()
        self.installed = Installed(self.tables, self._numbers())
        self.reconciler = Reconciler(self.tables, self.installed, compiler(), workloads.find)

    @classmethod
    def start(cls, ownership: Ownership, config: Config, connect: ConnectTier) -> L7Tier:
        """Load the objects with maps for ``config``, or take a predecessor's maps over; attaches nothing yet.

        Errors: LayoutError, LoadError, VerifierError, CapabilityError, NotSupportedError, CapacityError, HostError.
        """
        specs = loading.specs(loading.needed(config.services, ownership.pins.maps()))
        capacities = _checked(ownership, config, connect, specs)
        loaded = loading.Loaded(ownership.pins, connect.objects.maps)
        loaded.add(specs, capacities)
        try:
            tier = cls(ownership, connect, loaded, specs)
        except BaseException:
            loaded.close()
            raise
        try:
            tier._take_over()
            tier._measure(config)
        except BaseException:
            tier.take_back()
            tier.close()
            raise
        return tier

    def _take_over(self) -> None:
        there = "l7_settings" in self.ownership.pins.maps()
        self._attaching.open()
        self._pin()
        if there:
            self.tables.grace_period()  # nobody holds what the predecessor changed last

    def _pin(self) -> None:
        from ebpfmesh.tiers.connect.tier import layout_hashes

        pins = self.ownership.pins
        there = set(pins.maps())
        for spec in self.specs.values():
            for name, digest in layout_hashes(spec).items():
                if name in self.loaded.maps and name not in there and name not in self._made:
                    pins.pin_map(name, self.loaded.maps[name], digest)
                    self._made.append(name)

    def set_log(self, config: Config) -> None:
        """Bound the log as ``config`` says."""
        log = config.log
        self.tables.set_logging(log.per.interval, (log.tokens - 1) * log.per.interval, log.sample)

    def _measure(self, config: Config) -> None:
        """Before the first socket is enrolled: what this kernel's behaviour forbids is left out.

        What is left out for want of an answer is asked for again by later changes, some times.
        """
        if not any(service.l7 is not None for service in config.services):
            return
        before = self.behaviour
        if before is not None and not (before.tentative and self._measured < abilities.ATTEMPTS):
            return
        self.behaviour = abilities.measured(self.ownership.run_directory.behaviour_file)
        self._measured += 1
        self.tables.set_flags(abilities.refused(self.behaviour))
        self.ownership.notices += abilities.notices(self.behaviour, before)

    def _bring(self, config: Config) -> None:
        """Load and attach the programs of protocols that a change brings."""
        missing = [name for name in loading.needed(config.services) if name not in self.specs]
        if not missing:
            return
        found = loading.specs(missing)
        capacities = _checked(self.ownership, config, self.connect, {**self.specs, **found})
        self.loaded.add(found, capacities)
        self.specs |= found
        self._pin()
        self._made.clear()
        self._attaching.fill_slots()
        self._attaching.keep()
        room, wanted = self.loaded.maps.get("l7_http2"), capacities["l7_http2"]
        if "l7_http2" in found and room is not None and room.max_entries < wanted:
            self.ownership.notices.append(
                f"there is room for {room.max_entries} HTTP/2 connections at a time, since no service spoke it at first: "
                f"`ebpfmesh stop`, then `ebpfmesh run` makes room for {wanted}"
            )

    # --- changes --------------------------------------------------------------------------------------------------

    def plan(self, config: Config, services: Iterable[Service]) -> tuple[list[Service], list[str]]:
        """See `Reconciler.plan`; all services are looked at where cgroups are told apart otherwise."""
        every = config.services if self.reconciler.touches_all(config) else services
        return self.reconciler.plan(config, every)

    def apply(self, config: Config, put: Iterable[Service], numbers: dict[str, int]) -> Change:
        """Put policies in force; ``numbers`` are those of services that the connect tier is about to add."""
        self._bring(config)
        self._measure(config)
        known = self._numbers() | numbers
        return self.reconciler.apply(config, put, known.__getitem__)

    def revert(self, change: Change) -> None:
        """Put what was in force before ``change`` in force again."""
        self.reconciler.revert(change)

    def drain(self, names: Iterable[str]) -> None:
        """Let the open connections of these services pass from now on."""
        names = list(names)
        if names:
            self.reconciler.drain(names)
            self.free()

    def end(self, numbers: Collection[int]) -> None:
        """Destroy the sockets of services that go while another one takes their address, as in a renaming.

        Drained, they would be judged by nothing, although the address has never been without a policy; so they connect
        anew. What cannot be destroyed is drained, and said in the notices.
        """
        if not numbers:
            return
        ended, stay = sockets.destroy(one for one in self.sockets() if one.service in numbers)
        self.destroyed += len(ended)
        if stay:
            self.ownership.notices.append(
                f"{len(stay)} connections to services whose address is another's now pass as plain ones, until they close"
            )

    def free(self) -> None:
        """Let go of the sockets of services that are drained, whether or not they send anything."""
        sockets.run(self._lister("free_marks").fd, self.loaded.maps["l7_marks"].fd)

    def meet_open(self, services: Iterable[Service]) -> None:
        """Of services that have got ``l7`` just now: leave alone, and say so, or destroy what was open before.

        What cannot be destroyed is said in the notices: the policies are in force, whatever comes of this.
        """
        wanted = {one.name: one for one in services}
        if not wanted:
            return
        numbers = {number: name for name, number in self._numbers().items() if name in wanted}
        marked = {one.cookie for one in self.sockets()}
        before = [
            one for one in self.connect.sockets() if one.service in numbers and one.cookie not in marked
        ]
        for number, name in numbers.items():
            those = [
                sockets.of_connect(one)
                for one in before
                if one.service == number and one.protocol == IPPROTO_TCP
            ]
            if not those:
                continue
            if wanted[name].open_sockets == "destroy":
                ended, those = sockets.destroy(those)
                self.destroyed += len(ended)
            if those:
                self.ownership.notices.append(
                    f"{len(those)} connections to {name} were open before it had l7: left alone, until they close"
                )

    def collect(self) -> bool:
        """Free what earlier changes retired, idle buckets of limits, and sockets that nothing may leave any more."""
        freed = self.reconciler.collect()
        live = set(self._numbers().values())
        self.reconciler.forget([number for number in self.installed.drained if number not in live])
        self._end_lost()
        if time.monotonic() >= self._buckets_at:
            self._buckets_at = time.monotonic() + _BUCKETS_EVERY
            self._collect_buckets()
        return freed

    def follow_cgroups(self) -> bool:
        """Find the workloads' cgroups again: one that was made anew has another id."""
        return self.reconciler.follow_cgroups()

    def _end_lost(self) -> None:
        lost = {one.cookie: one for one in self.sockets() if one.lost}
        self._ended &= lost.keys()
        if fresh := [one for cookie, one in lost.items() if cookie not in self._ended]:
            ended, _ = sockets.destroy(fresh)
            self._ended.update(one.cookie for one in ended)
            self.destroyed += len(ended)

    def _collect_buckets(self) -> None:
        # what is just due may be at this moment in the hands of a request
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) - _IDLE
        self.tables.delete("l7_buckets", [key for key, due in self.tables.buckets() if expired(due, now)])

    # --- attaching --------------------------------------------------------------------------------------------------

    def attach(self, *, behind_new: bool = False) -> None:
        """Attach what is not attached, and bring what is to this version, until `keep` or `take_back`.

        ``behind_new``: the connect tier has attached programs just now, and ours have to come behind them. Errors:
        AttachError, CapabilityError.
        """
        self._attaching.attach(anew=behind_new)

    def move(self, cgroup: Cgroup, connect: Callable[[], None]) -> None:
        """Attach to ``cgroup``; in between ``connect`` takes the connect tier there. After an error nothing has moved.

        Errors: AttachError, CapabilityError.
        """
        before = self.ownership.cgroup
        old = self._attaching.leave()
        try:
            self.ownership.cgroup = cgroup
            self._attaching.attach_followers()
            self.ownership.cgroup = before  # which `connect` looks at
            connect()
            self._attaching.attach_behind(anew=False)
        except BaseException:
            self._attaching.return_to(old)
            raise
        self._attaching.keep()

    def stop(self, wait: float) -> list[str]:
        """End the policies, wait ``wait`` seconds for the connections that run our programs, detach; what had to stay.

        A connection that is still open goes on as a plain one: the few pins that this needs stay until it has closed.
        """
        self.reconciler.drain(list(self.installed.policies))
        self._attaching.detach_cgroup()
        self.free()
        deadline = time.monotonic() + wait
        while (left := self.enrolled()) and time.monotonic() < deadline:
            time.sleep(_LOOK_EVERY)
        if left:
            draining.begin(self.ownership.pins)
            return [draining.notice(self.ownership.name, left)]
        self._attaching.detach_sockets()
        return []

    def status(self) -> L7Status:
        """What the tier is doing, from its maps."""
        return status.of(self.tables, self.installed, self.memory(), self.enrolled(), self.behaviour)

    def keep(self) -> None:
        """End a start: the new links are pinned."""
        self._attaching.keep()
        self._made.clear()

    def take_back(self) -> None:
        """End a start that failed: links and maps are again what they were before it."""
        self._attaching.take_back()
        while self._made:
            self.ownership.pins.remove_pin(f"maps/{self._made.pop()}")

    def close(self) -> None:
        """Close the descriptors; pinned links and maps go on without us."""
        self._attaching.close()
        self._listers.close()
        self.tables.close()
        self.loaded.close()

    # --- looking ----------------------------------------------------------------------------------------------------

    def sockets(self) -> Iterator[sockets.Marked]:
        """Every marked socket, in all network namespaces. Minimum kernel: 5.12."""
        return sockets.listed(self._lister("list_marks").fd, self.loaded.maps["l7_marks"].fd)

    def enrolled(self) -> int:
        """How many sockets run our programs."""
        return sockets.enrolled(self.loaded.maps[SOCKETS])

    def memory(self) -> int:
        """Bytes of kernel memory of the tier's maps, as the kernel accounts for them."""
        return sum(one.memory() for one in self.loaded.maps.values())

    @property
    def links(self) -> dict[str, Any]:
        """The links, by the name of their program."""
        return self._attaching.links

    @property
    def object_hashes(self) -> dict[str, str]:
        """SHA-256 of the loaded objects, for the owner record."""
        return {name: spec.sha256 for name, spec in self.specs.items()}

    @cached_property
    def _programs(self) -> dict[str, Any]:
        return {}

    def _lister(self, program: str) -> Any:
        if program not in self._programs:
            maps = {**self.connect.objects.maps, **self.loaded.maps}
            spec = self.specs[loading.FIRST]
            self._programs[program] = loading.list_with(spec, maps, program, closing=self._listers)
        return self._programs[program]

    def _numbers(self) -> dict[str, int]:
        installed = self.connect.installed
        every = {**installed.retired, **installed.services}
        return {name: one.index for name, one in every.items()}
