"""The hook of listener lookup: a program of a network namespace chooses the socket that gets a new connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpfmesh import features
from ebpfmesh.errors import AttachError, KernelError
from ebpfmesh.hooks.anchor import DEFAULT, Anchor
from ebpfmesh.hooks.attachment import Attachment, attachments, find_links, inode
from ebpfmesh.hooks.hook import About, Hook
from ebpfmesh.hooks.link import Link, new_link
from ebpfmesh.hooks.target import Namespace, open_namespace
from ebpfmesh.lowlevel import attach
from ebpfmesh.spec import AttachType, ProgramType

if TYPE_CHECKING:
    from ebpfmesh.hooks.program import AnyProgram


class NamespaceHook(Hook):
    """A hook of a network namespace. Programs run in the order in which they were attached, which cannot be chosen."""

    mechanisms = ("link",)
    target = "a network namespace, as a path or a descriptor"

    def attach(
        self,
        program: AnyProgram,
        target: Namespace,
        *,
        anchor: Anchor = DEFAULT,
        mechanism: str | None = None,
        replace: bool = False,
    ) -> Link:
        """Attach ``program`` to the namespace; see `Hook.attach`."""
        one = self._checked(program, mechanism)
        self._refuse_order(anchor)
        self._refuse_replace(replace)
        with open_namespace(target) as (namespace, where):
            try:
                fd = attach.link_create(one.fd, namespace, self.attach_type, what=f"{one} at {where}")
            except KernelError as error:
                features.require(self.feature, what=f"hook {self.name}")
                raise self._failed(error, one, where) from error
            return new_link(fd, f"link of {one} at {self.name} of {where}")

    def attached(self, target: Namespace) -> list[Attachment]:
        """What is attached to the namespace, in the order it runs."""
        with open_namespace(target) as (namespace, where):
            try:
                query = attach.prog_query(
                    namespace, self.attach_type, links=False, what=f"{self.name} of {where}"
                )
            except KernelError as error:
                features.require(self.feature, what=f"hook {self.name}")
                raise AttachError("its programs cannot be listed", errno=error.errno, where=where) from error
            links = find_links(query.programs, attach.LINK_NETNS, self.attach_type, inode(namespace))
            return attachments(
                hook=self.name,
                target=where,
                programs=query.programs,
                links=links,
                mechanisms=("link", "link"),
            )


SK_LOOKUP = NamespaceHook(
    "sk_lookup",
    AttachType.SK_LOOKUP,
    ProgramType.SK_LOOKUP,
    About(
        "At the lookup of a listening TCP or an unconnected UDP socket for a packet: chooses a socket with "
        "bpf_sk_assign(), or refuses.",
        "sk_lookup",
        "5.9",
        "e9ddbb7707ff",
        "none; the hook is as old as its link",
        "sk_lookup",
    ),
)
