"""SockmapHook: attaching to a sockmap or sockhash, which holds one program of each kind."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from ebpfmesh import features
from ebpfmesh.errors import AttachError, KernelError, NotSupportedError, OccupiedError
from ebpfmesh.hooks.anchor import DEFAULT, Anchor
from ebpfmesh.hooks.attachment import Attachment, attachments, find_links
from ebpfmesh.hooks.direct import DirectLink
from ebpfmesh.hooks.hook import Hook
from ebpfmesh.hooks.link import BpfLink, Link, new_link
from ebpfmesh.hooks.target import HasDescriptor
from ebpfmesh.lowlevel import attach
from ebpfmesh.lowlevel.attach import open_by_id

if TYPE_CHECKING:
    from ebpfmesh.hooks.program import AnyProgram, Loaded

Sockmap = HasDescriptor | int
FALLBACK = "before 6.10, BPF_PROG_ATTACH, which lasts as long as the map"


class SockmapHook(Hook):
    """A program of a sockmap or sockhash: it runs on the sockets that are put into the map while it is attached.

    A socket keeps the program it was put in with: replacing or detaching changes nothing for it. Mechanism
    "link" is a bpf_link (6.10, commit 699c23f02c65); "prog_attach" is BPF_PROG_ATTACH. With ``replace=True``
    a program that is there is replaced atomically, by the mechanism it came with; of a link the same link is
    then returned, shared with its owner.
    """

    mechanisms = ("link", "prog_attach")
    target = "a sockmap or sockhash, as a Map or a descriptor"

    def attach(
        self,
        program: AnyProgram,
        target: Sockmap,
        *,
        anchor: Anchor = DEFAULT,
        mechanism: str | None = None,
        replace: bool = False,
    ) -> Link:
        """Attach ``program`` to the map; see `Hook.attach`. OccupiedError if the map has one, unless ``replace``."""
        one = self._checked(program, mechanism)
        self._refuse_order(anchor)
        sockmap, where = _descriptor(target)
        if (holder := self._holder(sockmap, where)) is not None:
            if not replace:
                raise self._occupied(one, holder, where)
            return self._take_place(one, sockmap, holder, mechanism)
        if mechanism != "prog_attach":
            link = self._link(one, sockmap, where, mechanism)
            if link is not None:
                return link
        return self._direct(one, sockmap, where)

    def attached(self, target: Sockmap) -> list[Attachment]:
        """The map's program of this kind, if any. Minimum kernel: 5.18 (commit 748cd5729ac7), else NotSupportedError."""
        sockmap, where = _descriptor(target)
        try:
            query = attach.prog_query(sockmap, self.attach_type, links=False, what=f"{self.name} of {where}")
        except KernelError as error:
            features.require("sockmap_query")
            raise AttachError(
                "its programs cannot be listed",
                errno=error.errno,
                where=where,
                remedy="is it a sockmap or sockhash?",
            ) from error
        from ebpfmesh.maps.info import map_info

        number = map_info(sockmap, where).id
        return attachments(
            hook=self.name,
            target=where,
            programs=query.programs,
            links=find_links(query.programs, attach.LINK_SOCKMAP, self.attach_type, number),
            mechanisms=("link", "prog_attach"),
            opener=self._reopen,
        )

    def _reopen(self, one: Attachment) -> Link:
        sockmap = open_by_id("map", int(one.target.removeprefix("map ")))
        try:
            return DirectLink.taken_over(one, target=sockmap, attach_type=self.attach_type)
        finally:
            os.close(sockmap)

    def _holder(self, sockmap: int, where: str) -> Attachment | None:
        try:
            found = self.attached(sockmap)
        except NotSupportedError:
            return None  # before 5.18 nobody can tell; BPF_PROG_ATTACH then replaces whatever is there
        return found[0] if found else None

    def _link(self, one: Loaded, sockmap: int, where: str, mechanism: str | None) -> BpfLink | None:
        try:
            fd = attach.link_create(one.fd, sockmap, self.attach_type, what=f"{one} at {where}")
        except KernelError as error:
            if error.errno == errno.EBUSY and (holder := self._holder(sockmap, where)) is not None:
                raise self._occupied(one, holder, where) from error
            features.require(self.feature, what=f"hook {self.name}")
            if not features.supported("sockmap_link"):
                if mechanism == "link":
                    features.require("sockmap_link", remedy="mechanism 'prog_attach' works before")
                return None
            raise self._failed(error, one, where) from error
        return new_link(fd, f"link of {one} at {self.name} of {where}")

    def _direct(self, one: Loaded, sockmap: int, where: str) -> DirectLink:
        try:
            attach.prog_attach(one.fd, sockmap, self.attach_type, what=f"{one} at {where}")
        except KernelError as error:
            if error.errno == errno.EBUSY and (holder := self._holder(sockmap, where)) is not None:
                raise self._occupied(one, holder, where) from error
            features.require(self.feature, what=f"hook {self.name}")
            raise self._failed(error, one, where) from error
        return DirectLink(
            program=one.fd,
            target=sockmap,
            attach_type=self.attach_type,
            mechanism="prog_attach",
            hook=self.name,
            where=where,
        )

    def _take_place(self, one: Loaded, sockmap: int, holder: Attachment, mechanism: str | None) -> Link:
        if mechanism not in (None, holder.mechanism):
            raise NotSupportedError(
                f"{holder.owner} was attached by {holder.mechanism}, and can be replaced by that only",
                where=f"hook {self.name} of {holder.target}",
                remedy=f"use mechanism={holder.mechanism!r}",
            )
        if holder.link_id is None:
            return self._direct(one, sockmap, holder.target)
        link = BpfLink.open_id(holder.link_id)
        try:
            link.update(one.fd)
        except BaseException:
            link.close()
            raise
        return link

    def _occupied(self, one: Loaded, holder: Attachment, where: str) -> OccupiedError:
        return OccupiedError(
            f"{one} was not attached at {self.name}",
            owner=holder.owner,
            errno=errno.EBUSY,
            where=where,
            remedy="replace=True takes its place",
        )


def _descriptor(target: Sockmap) -> tuple[int, str]:
    from ebpfmesh.maps.info import map_info

    fd = target if isinstance(target, int) else target.fd
    return fd, f"map {map_info(fd).id}"
