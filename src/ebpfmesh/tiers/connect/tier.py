"""ConnectTier: loads the object (or takes its pinned maps over), attaches, applies, stops."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ebpfmesh.errors import KernelError
from ebpfmesh.tiers.connect import memory, needs, sockets
from ebpfmesh.tiers.connect.installed import Installed
from ebpfmesh.tiers.connect.reconcile import Applied, Reconciler
from ebpfmesh.tiers.connect.tables import Tables

if TYPE_CHECKING:
    from ebpfmesh.hooks.link import Link
    from ebpfmesh.objects import Objects
    from ebpfmesh.ownership import Ownership
    from ebpfmesh.policy.model import Config, Service
    from ebpfmesh.spec import ObjectSpec

OBJECT = "connect"

# In the order of attaching: what follows a connection and translates back is there before the first one is made.
HOOKS = {
    "lifetime": "SOCKOPS",
    "released": "SOCK_RELEASE",
    "recvmsg4": "RECVMSG4",
    "recvmsg6": "RECVMSG6",
    "getpeername4": "GETPEERNAME4",
    "getpeername6": "GETPEERNAME6",
    "sendmsg4": "SENDMSG4",
    "sendmsg6": "SENDMSG6",
    "connect4": "CONNECT4",
    "connect6": "CONNECT6",
}
LISTER = "list_sockets"


def object_path() -> Path:
    """The built object in the installed package."""
    return Path(str(resources.files("ebpfmesh.bpf"))) / f"{OBJECT}.bpf.o"


class ConnectTier:
    """The connect tier of one mesh. Made by `start`; the only writer of its maps.

    Minimum kernel: 5.18 (bpf_set_retval). Capabilities: CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON (it reads socket fields).
    """

    def __init__(
        self, ownership: Ownership, objects: Objects, spec: ObjectSpec, links: dict[str, Link]
    ) -> None:
        self.ownership, self.objects, self.spec, self.links = ownership, objects, spec, links
        self._scopes: dict[str | None, int] = {None: 0}
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
            except KernelError:
                _refuse_old_kernel()
                raise
        tier = cls(ownership, loaded, spec, _open_links(ownership))
        for name, digest in layout_hashes(spec).items():
            if name not in reuse:
                ownership.pins.pin_map(name, loaded.maps[name], digest)
        if reuse and not {"lifetime", "released"} <= tier.links.keys():
            tier.recount()
        return tier

    def apply(self, put: Sequence[Service], remove: Iterable[str] = ()) -> Applied:
        """Add or change services and remove others, at once; see `Reconciler.apply`.

        Sockets of backends that leave a service with ``removed_backends = "destroy"`` are destroyed before it returns.
        """
        doomed_services = {one.name for one in put if one.removed_backends == "destroy"}
        doomed_services |= {name for name in remove if self._destroys(name)}
        indices = {
            self.installed.services[name].index for name in doomed_services if name in self.installed.services
        }
        applied = self.reconciler.apply(put, remove)
        departed = {pair for pair in applied.departed if pair[0] in indices}
        if departed:
            self.tables.grace_period()  # whoever picked one of them has written it into its socket's record by now
            sockets.destroy(self.sockets, departed)
        return applied

    def adopt(self, services: Iterable[Service]) -> list[Service]:
        """Of these services, those that the kernel does not hold exactly as they are."""
        return [service for service in services if not self.reconciler.adopt(service)]

    def attach(self) -> None:
        """Attach the programs that are not attached, and bring those that are to this version; pins every link.

        Errors: AttachError, CapabilityError. What is attached already keeps working whatever fails.
        """
        from ebpfmesh import hooks

        for program, hook in HOOKS.items():
            link = self.links.get(program)
            if link is None:
                link = getattr(hooks, hook).attach(self.objects.programs[program], self.ownership.cgroup.path)
                self.links[program] = link
                self.ownership.pins.pin_link(program, link)
            elif not self._is_current(link):
                link.update(self.objects.programs[program])

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
        for program in reversed(HOOKS):
            link = self.links.pop(program, None)
            if link is not None:
                link.detach()

    def close(self) -> None:
        """Close the descriptors; pinned links and maps go on without us."""
        for link in self.links.values():
            link.close()
        self.links.clear()
        self.tables.close()
        if self._lister is not None:
            self._lister.close()
        self.objects.close()

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

    def _is_current(self, link: Link) -> bool:
        previous = self.ownership.previous
        del link
        return previous is not None and previous.objects.get(OBJECT) == self.spec.sha256

    def _destroys(self, name: str) -> bool:
        from ebpfmesh.tiers.connect.wire import SERVICE_RECORD, RecordFlag

        service = self.installed.services.get(name)
        return service is not None and bool(
            SERVICE_RECORD.unpack(service.record)[5] & RecordFlag.DESTROY_REMOVED
        )

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


def _capacities(open_maps: Mapping[str, Any]) -> dict[str, int]:
    return {
        name: one.max_entries for name, one in open_maps.items() if one.max_entries
    }  # socket storage has none


def _open_links(ownership: Ownership) -> dict[str, Link]:
    from ebpfmesh.hooks.link import Link

    pinned: Mapping[str, Any] = ownership.pins.links()
    return {name: Link.open_pinned(ownership.pins.link_path(name)) for name in HOOKS if name in pinned}


def _refuse_old_kernel() -> None:
    """NotSupportedError for the first thing the tier needs and a probe finds missing; asked after a load has failed."""
    from ebpfmesh import features

    for need in needs.FEATURES:
        if features.probe(need).supported is False:
            features.require(need, what="the connect tier")
