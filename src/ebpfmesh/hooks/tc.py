"""The hooks of an interface's packets in the traffic control layer, in and out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpfmesh import features
from ebpfmesh.errors import AttachError, KernelError, NotSupportedError
from ebpfmesh.hooks import clsact
from ebpfmesh.hooks.anchor import DEFAULT, Anchor, Place
from ebpfmesh.hooks.attachment import Attachment, attachments
from ebpfmesh.hooks.hook import About, Hook, find_neighbour
from ebpfmesh.hooks.link import BpfLink, Link, new_link
from ebpfmesh.hooks.program import program_name
from ebpfmesh.hooks.target import Interface, OpenInterface, open_interface
from ebpfmesh.lowlevel import attach, netns
from ebpfmesh.spec import AttachType, ProgramType

if TYPE_CHECKING:
    from ebpfmesh.hooks.program import AnyProgram, Loaded

_PAST_LAST = 0x10000
_CLSACT = "use mechanism='clsact', which every kernel has"


class TcHook(Hook):
    """A TC hook of an interface. tcx programs run before clsact filters; TCX_NEXT (-1) passes on to the next of either.

    Mechanism "tcx" is a bpf_link (6.6, commit e420bed02507) that ends with the process unless pinned;
    "clsact" is a cls_bpf filter in direct-action mode, which stays. Both keep an order: every `Anchor` works,
    in one mechanism.
    """

    mechanisms = ("tcx", "clsact")
    target = "an interface, as a name or an index of the caller's network namespace, or an Interface"

    def __init__(self, direction: str, attach_type: AttachType, about: About) -> None:
        super().__init__(f"tc_{direction}", attach_type, ProgramType.SCHED_CLS, about)
        self.direction = direction

    def attach(
        self,
        program: AnyProgram,
        target: str | int | Interface,
        *,
        anchor: Anchor = DEFAULT,
        mechanism: str | None = None,
        replace: bool = False,
    ) -> Link:
        """Attach ``program`` to the interface; see `Hook.attach`."""
        one = self._checked(program, mechanism)
        self._refuse_replace(replace)
        with open_interface(target) as interface:
            neighbour = self._neighbour(anchor, interface, mechanism)
            if anchor.place is Place.REPLACE:
                return self._replace(one, interface, neighbour)
            wanted = mechanism or (neighbour.mechanism if neighbour else None)
            if wanted != "clsact":
                link = self._tcx(one, interface, anchor, neighbour, wanted)
                if link is not None:
                    return link
            between = self._between(interface, anchor, neighbour)
            return clsact.attach_clsact(one, interface, self.name, self.direction, between)

    def attached(self, target: str | int | Interface) -> list[Attachment]:
        """What is attached to the interface, in the order it runs: tcx, then clsact, foreign filters of any kind too."""
        with open_interface(target) as interface:
            return self._attached(interface, target)

    def _attached(
        self, interface: OpenInterface, target: str | int | Interface | None = None
    ) -> list[Attachment]:
        def reopen(one: Attachment) -> Link:
            with open_interface(interface.index if target is None else target) as again:
                place = clsact.Place(again.index, self.direction, one.priority, one.handle)
                return clsact.reopen(again, self.name, place, one.program_id)

        filters = [
            Attachment(
                hook=self.name,
                target=interface.where,
                program_id=one.program_id,
                program_name=program_name(one.program_id) if one.program_id else one.kind,
                mechanism="clsact",
                priority=one.priority,
                handle=one.handle,
                _open=reopen,
            )
            for one in clsact.filters(interface, self.direction)
        ]
        return self._tcx_attached(interface) + filters

    def _tcx_attached(self, interface: OpenInterface) -> list[Attachment]:
        try:
            query = netns.inside(
                interface.namespace,
                lambda: attach.prog_query(
                    interface.index, self.attach_type, what=f"{self.name} of {interface.where}"
                ),
            )
        except KernelError as error:
            if not features.supported("tcx"):
                return []
            raise AttachError(
                "its programs cannot be listed", errno=error.errno, where=interface.where
            ) from error
        return attachments(
            hook=self.name,
            target=interface.where,
            programs=query.programs,
            links=query.links,
            mechanisms=("tcx", "prog_attach"),
        )

    def _neighbour(
        self, anchor: Anchor, interface: OpenInterface, mechanism: str | None
    ) -> Attachment | None:
        if anchor.neighbour is None:
            return None
        found = find_neighbour(anchor, self._attached(interface), interface.where)
        family = "clsact" if found.mechanism == "clsact" else "tcx"
        if mechanism not in (None, family):
            raise NotSupportedError(
                f"{mechanism} and {family} are ordered apart (tcx runs first); the anchor is {found}",
                where=f"hook {self.name}",
                remedy=f"use mechanism={family!r}",
            )
        return found

    def _tcx(
        self,
        one: Loaded,
        interface: OpenInterface,
        anchor: Anchor,
        neighbour: Attachment | None,
        wanted: str | None,
    ) -> BpfLink | None:
        """A tcx link; None where the kernel has none and nobody asked for one (it answers EINVAL, not EOPNOTSUPP)."""
        flags = attach.BEFORE if anchor.place in (Place.FIRST, Place.BEFORE) else 0
        if anchor.place is Place.AFTER:
            flags = attach.AFTER
        relative = 0
        if neighbour is not None:
            flags |= attach.BY_ID | (attach.BY_LINK if neighbour.link_id else 0)
            relative = neighbour.link_id or neighbour.program_id
        try:
            fd = netns.inside(
                interface.namespace,
                lambda: attach.link_create(
                    one.fd,
                    interface.index,
                    self.attach_type,
                    flags,
                    relative,
                    what=f"{one} at {interface.where}",
                ),
            )
        except KernelError as error:
            if not features.supported("tcx"):
                if wanted == "tcx":
                    features.require("tcx", remedy=_CLSACT)
                return None
            raise self._failed(error, one, interface.where) from error
        return new_link(fd, f"link of {one} at {self.name} of {interface.where}")

    def _between(
        self, interface: OpenInterface, anchor: Anchor, neighbour: Attachment | None
    ) -> tuple[int, int]:
        """The priorities of the clsact filters between which the anchor's place is."""
        taken = sorted({one.priority for one in clsact.filters(interface, self.direction)})
        if anchor.place is Place.FIRST:
            return 0, taken[0] if taken else _PAST_LAST
        if neighbour is not None and anchor.place is Place.BEFORE:
            return max((one for one in taken if one < neighbour.priority), default=0), neighbour.priority
        if neighbour is not None and anchor.place is Place.AFTER:
            return neighbour.priority, min(
                (one for one in taken if one > neighbour.priority), default=_PAST_LAST
            )
        return taken[-1] if taken else 0, _PAST_LAST

    def _replace(self, one: Loaded, interface: OpenInterface, neighbour: Attachment | None) -> Link:
        if neighbour is None or neighbour.mechanism != "clsact" or not neighbour.program_id:
            raise NotSupportedError(
                f"only a clsact filter with a BPF program can be replaced by another attach, not {neighbour}",
                where=f"hook {self.name}",
                remedy="use Link.update() of that link: attachment.open().update(program)",
            )
        place = clsact.Place(interface.index, self.direction, neighbour.priority, neighbour.handle)
        link = clsact.reopen(interface, self.name, place, neighbour.program_id)
        try:
            link.update(one.fd)
        except BaseException:
            link.close(keep=True)
            raise
        return link


def _about(does: str) -> About:
    return About(
        does,
        "tc, classifier",
        "4.5",
        "1f211a1b929c",
        "before 6.6, a cls_bpf filter in clsact, which outlives the process",
        "clsact",
    )


TC_INGRESS = TcHook(
    "ingress",
    AttachType.TCX_INGRESS,
    _about("On each packet that an interface receives, after XDP and before routing, as an sk_buff."),
)
TC_EGRESS = TcHook(
    "egress",
    AttachType.TCX_EGRESS,
    _about("On each packet that an interface is about to send, as an sk_buff."),
)
