"""CgroupHook: attaching at the hooks of a cgroup, which all do it the same way."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ebpfmesh import features
from ebpfmesh.errors import AttachError, KernelError, NotSupportedError
from ebpfmesh.hooks.anchor import DEFAULT, Anchor, Place
from ebpfmesh.hooks.attachment import Attachment, attachments, find_links, inode
from ebpfmesh.hooks.direct import DirectLink
from ebpfmesh.hooks.hook import Hook, find_neighbour
from ebpfmesh.hooks.link import BpfLink, Link, new_link
from ebpfmesh.hooks.target import Cgroup, open_cgroup
from ebpfmesh.lowlevel import attach

if TYPE_CHECKING:
    from ebpfmesh.hooks.program import AnyProgram, Loaded

FALLBACK = "before 5.7, BPF_PROG_ATTACH with BPF_F_ALLOW_MULTI, which outlives the process"
_ANCHORS = "only Anchor.default(), the end of the order, works before"


class CgroupHook(Hook):
    """A hook of a cgroup; the program sees the sockets and packets of the cgroup and of those below it.

    Programs of one cgroup run in their order, those of the cgroup itself before those of its ancestors.
    Mechanism "link" is a bpf_link; "legacy" is BPF_PROG_ATTACH. An `Anchor` other than the default needs 6.17
    (commit 1209339844601), and the kernel orders links among links and legacy programs among legacy programs
    only.
    """

    mechanisms = ("link", "legacy")
    target = "a cgroup v2 directory, as a path or a descriptor"

    def attach(
        self,
        program: AnyProgram,
        target: Cgroup,
        *,
        anchor: Anchor = DEFAULT,
        mechanism: str | None = None,
        replace: bool = False,
    ) -> Link:
        """Attach ``program`` to the cgroup; see `Hook.attach`."""
        one = self._checked(program, mechanism)
        self._refuse_replace(replace)
        with open_cgroup(target) as (cgroup, where):
            if anchor.place is Place.REPLACE:
                return self._replace(one, cgroup, where, anchor, mechanism)
            flags, relative, needed = self._order(cgroup, where, anchor, mechanism)
            wanted = mechanism or needed
            if (
                wanted != "legacy"
                and (link := self._link(one, cgroup, where, flags, relative, wanted=wanted)) is not None
            ):
                return link
            return self._legacy(one, cgroup, where, flags, relative)

    def attached(self, target: Cgroup, *, effective: bool = False) -> list[Attachment]:
        """What is attached to the cgroup, in order; ``effective``: what runs for it, its ancestors' programs included."""
        with open_cgroup(target) as (cgroup, where):
            return self._attached(cgroup, where, effective=effective)

    def _attached(self, cgroup: int, where: str, *, effective: bool = False) -> list[Attachment]:
        flags = attach.QUERY_EFFECTIVE if effective else 0
        try:
            query = attach.prog_query(
                cgroup, self.attach_type, flags=flags, links=False, what=f"{self.name} of {where}"
            )
        except KernelError as error:
            features.require(self.feature, what=f"hook {self.name}")
            raise AttachError(error.what, where=where, remedy="is it a directory of cgroup v2?") from error
        owner = None if effective else inode(cgroup)
        return attachments(
            hook=self.name,
            target=where,
            programs=query.programs,
            links=find_links(query.programs, attach.LINK_CGROUP, self.attach_type, owner),
            mechanisms=("link", "legacy"),
            opener=self._reopen,
        )

    def _reopen(self, one: Attachment) -> Link:
        with open_cgroup(one.target.removeprefix("cgroup ")) as (cgroup, _):
            return DirectLink.taken_over(one, target=cgroup, attach_type=self.attach_type)

    def _order(
        self, cgroup: int, where: str, anchor: Anchor, mechanism: str | None
    ) -> tuple[int, int, str | None]:
        """The flags and the relative id of an anchor, and the mechanism that it needs."""
        if anchor.place in (Place.DEFAULT, Place.LAST):
            return 0, 0, None  # the end is where every kernel puts it
        if anchor.place is Place.FIRST:
            return attach.BEFORE, 0, None
        features.require("cgroup_anchors", what=f"{anchor.place.value} at hook {self.name}", remedy=_ANCHORS)
        neighbour = find_neighbour(anchor, self._attached(cgroup, where), where)
        side = attach.BEFORE if anchor.place is Place.BEFORE else attach.AFTER
        if neighbour.link_id:
            needed, flags, relative = "link", side | attach.BY_ID | attach.BY_LINK, neighbour.link_id
        else:
            needed, flags, relative = "legacy", side | attach.BY_ID, neighbour.program_id
        if mechanism not in (None, needed):
            raise NotSupportedError(
                f"the kernel orders links among links and legacy programs among legacy programs; the anchor is {neighbour}",
                where=f"hook {self.name}",
                remedy=f"use mechanism={needed!r}, or Anchor.first()",
            )
        return flags, relative, needed

    def _link(
        self, one: Loaded, cgroup: int, where: str, flags: int, relative: int, *, wanted: str | None
    ) -> BpfLink | None:
        """A kernel link; None where the kernel has none and nobody asked for one."""
        try:
            fd = attach.link_create(
                one.fd, cgroup, self.attach_type, flags, relative, what=f"{one} at {where}"
            )
        except KernelError as error:
            features.require(self.feature, what=f"hook {self.name}")
            if not features.supported("cgroup_link"):
                if wanted == "link":
                    features.require("cgroup_link", remedy="mechanism 'legacy' works before")
                return None
            if flags:
                features.require("cgroup_anchors", what=f"an order at hook {self.name}", remedy=_ANCHORS)
            raise self._failed(error, one, where) from error
        return new_link(fd, f"link of {one} at {self.name} of {where}")

    def _legacy(self, one: Loaded, cgroup: int, where: str, flags: int, relative: int) -> DirectLink:
        what = f"{one} at {where}"
        try:
            attach.prog_attach(
                one.fd, cgroup, self.attach_type, attach.ALLOW_MULTI | flags, relative=relative, what=what
            )
        except KernelError as error:
            features.require(self.feature, what=f"hook {self.name}")
            if flags:
                features.require("cgroup_anchors", what=f"an order at hook {self.name}", remedy=_ANCHORS)
            raise self._failed(error, one, where) from error
        return self._direct(one, cgroup, where)

    def _replace(
        self, one: Loaded, cgroup: int, where: str, anchor: Anchor, mechanism: str | None
    ) -> DirectLink:
        """Take a legacy program's place (BPF_F_REPLACE); a link's place only its own holder can give away."""
        neighbour = find_neighbour(anchor, self._attached(cgroup, where), where)
        if neighbour.link_id or mechanism == "link":
            raise NotSupportedError(
                f"only a legacy program can be replaced by another attach, not {neighbour}",
                where=f"hook {self.name}",
                remedy="use Link.update() of that link: attachment.open().update(program)",
            )
        old = attach.open_by_id("prog", neighbour.program_id)
        try:
            flags = attach.ALLOW_MULTI | attach.REPLACE
            attach.prog_attach(
                one.fd, cgroup, self.attach_type, flags, replaced=old, what=f"{one} at {where}"
            )
        except KernelError as error:
            raise self._failed(error, one, where) from error
        finally:
            os.close(old)
        return self._direct(one, cgroup, where)

    def _direct(self, one: Loaded, cgroup: int, where: str) -> DirectLink:
        return DirectLink(
            program=one.fd,
            target=cgroup,
            attach_type=self.attach_type,
            mechanism="legacy",
            hook=self.name,
            where=where,
        )
