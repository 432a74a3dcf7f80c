"""ConnectTier: loads the object (or takes its pinned maps over), attaches, applies, stops."""

from __future__ import annotations

import errno
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ebpfmesh.errors import CapabilityError, HostError, KernelError
from ebpfmesh.tiers.connect import memory, needs, sockets
from ebpfmesh.tiers.connect.attaching import HOOKS, Attaching
from ebpfmesh.tiers.connect.installed import Installed, InstalledService
from ebpfmesh.tiers.connect.reconcile import Applied, Reconciler
from ebpfmesh.tiers.connect.tables import Tables
from ebpfmesh.tiers.connect.wire import SERVICE_RECORD, RecordFlag

if TYPE_CHECKING:
    from ebpfmesh.hooks.link import Link
    from ebpfmesh.objects import Objects
    from ebpfmesh.ownership import Ownership
    from ebpfmesh.ownership.cgroup import Cgroup
    from ebpfmesh.policy.model import Config, Service
    from ebpfmesh.spec import ObjectSpec

OBJECT = "connect"
LISTER = "list_sockets"
_RECOUNT_EVERY = 10.0  # seconds: the listing walks every socket of the mesh


def object_path() -> Path:
    """The built object in the installed package."""
    return Path(str(resources.files("ebpfmesh.bpf"))) / f"{OBJECT}.bpf.o"


class ConnectTier:
    """The connect tier of one mesh. Made by `start`; the only writer of its maps.

    Minimum kernel: 5.18 (bpf_set_retval). Capabilities: CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON (it reads socket fields).
    """

    def __init__(self, ownership: Ownership, objects: Objects, spec: ObjectSpec) -> None:
        self.ownership, self.objects, self.spec = ownership, objects, spec
        previous = ownership.previous
        same_object = previous is not None and previous.objects.get(OBJECT) == spec.sha256
        self._attaching = Attaching(ownership, objects, same_object=same_object)
        self._made: list[str] = []
        """Maps that this start has pinned."""
        self._scopes: dict[str | None, int] = {None: 0}
        self._unsettled: set[str] = set()
        """Services that may have backends that left and sockets that are not destroyed yet."""
        self._recount_at = 0.0
        self.tables = Tables(objects.maps)
        self.installed = Installed(self.tables)
        self.reconciler = Reconciler(self.tables, self.installed, self._scope)
        self._lister: Objects | None = None

    @classmethod
    def start(cls, ownership: Ownership, config: Config) -> ConnectTier:
        """Load the object with maps for ``config``, or take a predecessor's pinned maps over; attaches nothing yet.

        Errors: LayoutError (pinned maps of another version), LoadError, VerifierError, CapabilityError, NotSupportedError.
        """
        from ebpfmesh import maps, objects
        from ebpfmesh.spec import ObjectSpec

        spec = ObjectSpec.from_file(object_path())
        ownership.pins.check_layouts(layout_hashes(spec))
        with ExitStack() as opened:
            pinned = ownership.pins.maps()
            reuse = {
                name: opened.enter_context(maps.open_pinned(ownership.pins.map_path(name)))
                for name in spec.maps
                if name in pinned
            }
            # a pinned map keeps the capacity that it was made with
            capacities = memory.max_entries(config) | _capacities(reuse)
            try:
                loaded = objects.load(spec, reuse=reuse, max_entries=capacities, programs=list(HOOKS))
            except KernelError as error:
                _refuse_missing_capability(error)
                _refuse_old_kernel()
                raise
        try:
            tier = cls(ownership, loaded, spec)
        except BaseException:
            loaded.close()
            raise
        try:
            tier._take_over(reuse.keys())
        except BaseException:
            tier.take_back()
            tier.close()
            raise
        return tier

    def _take_over(self, reused: Collection[str]) -> None:
        pins = self.ownership.pins
        self._attaching.open()
        for name, digest in layout_hashes(self.spec).items():
            if name not in reused:
                pins.pin_map(name, self.objects.maps[name], digest)
                self._made.append(name)
        if reused:
            self.tables.grace_period()  # nobody holds what the predecessor changed last
        if reused and not {"lifetime", "released"} <= self.links.keys():
            self.recount()

    def apply(
        self,
        put: Sequence[Service],
        remove: Iterable[str] = (),
        *,
        before: Callable[[dict[str, int]], None] | None = None,
    ) -> Applied:
        """Add or change services and remove others, at once; see `Reconciler.apply`. `settle` belongs after it."""
        remove = list(remove)
        self._scopes = {None: 0}  # a path may lead to another namespace by now
        applied = self.reconciler.apply(put, remove, before=before)
        self._unsettled.update([service.name for service in put], remove)
        return applied

    def settle(self) -> None:
        """Destroy the sockets of backends that left a service with ``removed_backends = "destroy"``.

        The change is in force, whatever comes of this: what could not be destroyed is said in the notices, and tried again
        after the next change.
        """
        departed = {
            (service.index, backend.id)
            for service in filter(None, map(self._service, self._unsettled))
            if service.leaving and _destroys(service)
            for backend in service.leaving.values()
        }
        try:
            if departed:
                self.tables.grace_period()  # whoever picked one has written it into its socket's record by now
                if stay := sockets.destroy(self.sockets, departed):
                    raise HostError(
                        f"{stay} sockets of removed backends stay open",
                        remedy="their network namespace cannot be entered: it needs CAP_SYS_ADMIN and a process in it",
                    )
        except (KernelError, CapabilityError, HostError) as error:
            self.ownership.notices.append(str(error))
        else:
            self._unsettled.clear()

    def collect(self) -> bool:
        """Free what earlier changes retired; see `Reconciler.collect`.

        A backend that left and seems busy is compared with the sockets there are, at times: somebody else's sockops
        program may switch our events off, and then its connections end uncounted.
        """
        freed = self.reconciler.collect()
        every = (*self.installed.services.values(), *self.installed.retired.values())
        busy = [
            one for service in every for one in service.leaving.values() if self.tables.active(one.counter)
        ]
        if busy and time.monotonic() >= self._recount_at:
            self._recount_at = time.monotonic() + _RECOUNT_EVERY
            found = Counter(one.counter for one in self.sockets())
            for one in busy:
                self.tables.set_backend_active(one.counter, found[one.counter])
        return freed

    def adopt(self, services: Iterable[Service]) -> list[Service]:
        """Of these services, those that the kernel does not hold exactly as they are."""
        missing = [service for service in services if not self.reconciler.adopt(service)]
        # a predecessor may have ended between its apply and the destroying: the next apply makes up for it
        self._unsettled.update(name for name, service in self.installed.services.items() if service.leaving)
        self._unsettled.update(self.installed.retired)
        return missing

    def attach(self) -> None:
        """Attach the programs that are not attached, and bring those that are to this version, until `keep` or `take_back`.

        Errors: AttachError, CapabilityError. What is attached already keeps working whatever fails.
        """
        self._attaching.attach()

    def keep(self) -> None:
        """End a start: the new links are pinned, those at another cgroup removed."""
        self._attaching.keep()
        self._made.clear()

    def take_back(self) -> None:
        """End a start that failed: links and maps are again what they were before it."""
        self._attaching.take_back()
        while self._made:
            self.ownership.pins.remove_pin(f"maps/{self._made.pop()}")

    def move(self, cgroup: Cgroup) -> None:
        """Attach to ``cgroup``, which this takes, instead; after an error the old links are there as before.

        Errors: AttachError, CapabilityError.
        """
        self._attaching.move(cgroup)

    def recount(self) -> None:
        """Set every backend's open connections to the sockets there are: for a start that found nothing attached.

        While no program ran, connections ended uncounted, and a backend that seems busy would keep its id for ever.
        """
        found = Counter(one.counter for one in self.sockets())
        for service in (*self.installed.services.values(), *self.installed.retired.values()):
            backends = (*service.backends.values(), *service.leaving.values())
            self.tables.set_active(service.index, {one.counter: found[one.counter] for one in backends})

    def sockets(self) -> Iterator[sockets.Socket]:
        """Every connected socket of the mesh, in all network namespaces. Minimum kernel: 5.12."""
        program = self._listing.programs[LISTER]
        return sockets.listed(program.fd, self.objects.maps["connections"].fd)

    def memory(self) -> int:
        """Bytes of kernel memory of the tier's maps, as the kernel accounts for them."""
        return sum(one.memory() for one in self.objects.maps.values())

    def detach(self) -> None:
        """Detach everything, in the opposite order: no new connections first."""
        self._attaching.detach()

    def close(self) -> None:
        """Close the descriptors; pinned links and maps go on without us."""
        self._attaching.close()
        self.tables.close()
        if self._lister is not None:
            self._lister.close()
        self.objects.close()

    @property
    def links(self) -> Mapping[str, Link]:
        """The links, by the name of their program."""
        return self._attaching.links

    @property
    def fresh(self) -> frozenset[str]:
        """The programs that were attached anew since the last `keep`: they stand behind all others at their hooks."""
        return self._attaching.fresh

    @property
    def object_hashes(self) -> dict[str, str]:
        """SHA-256 of the loaded object, for the owner record."""
        return {OBJECT: self.spec.sha256}

    @cached_property
    def _listing(self) -> Objects:
        from ebpfmesh import objects

        reuse = {name: self.objects.maps[name] for name in self.spec.maps}
        self._lister = objects.load(self.spec, reuse=reuse, max_entries=_capacities(reuse), programs=[LISTER])
        return self._lister

    def _service(self, name: str) -> InstalledService | None:
        return self.installed.services.get(name) or self.installed.retired.get(name)

    def _scope(self, path: str | None) -> int:
        if path not in self._scopes:
            from ebpfmesh.lowlevel import netns_cookie

            self._scopes[path] = netns_cookie.cookie_of(str(path))
        return self._scopes[path]


def layout_hashes(spec: ObjectSpec) -> dict[str, str]:
    """SHA-256, in hexadecimal, of each map's type and of its key's and value's layout; capacities may differ."""

    def describe(name: str) -> str:
        one = spec.maps[name]
        parts = (one.type, one.flags, one.key_size, one.value_size, one.key and one.key.signature)
        return f"{parts} {one.value and one.value.signature}"

    return {name: hashlib.sha256(describe(name).encode()).hexdigest() for name in spec.maps}


def _destroys(service: InstalledService) -> bool:
    return bool(SERVICE_RECORD.unpack(service.record)[5] & RecordFlag.DESTROY_REMOVED)


def _capacities(open_maps: Mapping[str, Any]) -> dict[str, int]:
    return {
        name: one.max_entries for name, one in open_maps.items() if one.max_entries
    }  # socket storage has none


def _refuse_missing_capability(error: KernelError) -> None:
    """CapabilityError if one is missing: the verifier says EACCES for CAP_PERFMON, and speaks of pointers."""
    from ebpfmesh.lowlevel import capabilities, libbpf

    needed = "CAP_BPF CAP_PERFMON"
    if capabilities.missing(["CAP_SYS_ADMIN"]):  # which stands for all three where programs are loaded
        needed += " CAP_NET_ADMIN"
    explained = libbpf.failure("load the connect tier", errno.EPERM, needs=needed)
    if isinstance(explained, CapabilityError):
        raise explained from error


def _refuse_old_kernel() -> None:
    """NotSupportedError for the first thing the tier needs and a probe finds missing; asked after a load has failed."""
    from ebpfmesh import features

    for need in needs.FEATURES:
        if features.probe(need).supported is False:
            features.require(need, what="the connect tier")
