"""Brings the connect tier's programs to their hooks, in a way that can be taken back until it is kept."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from ebpfmesh.errors import EbpfMeshError

if TYPE_CHECKING:
    from ebpfmesh.hooks.link import Link
    from ebpfmesh.hooks.program import AnyProgram
    from ebpfmesh.objects import Objects
    from ebpfmesh.ownership import Ownership
    from ebpfmesh.ownership.cgroup import Cgroup

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


OTHERS = ("l7_",)
"""What the names of other tiers' pins begin with."""


class Attaching:
    """The links of one mesh, by program: a predecessor's, taken over where they are, and new ones.

    New links are pinned only by `keep`, and a replaced program is held until then: a start that fails leaves what ran
    before, and so does one that is killed, for a link without a pin ends with its process. ``same_object`` says that the
    predecessor loaded the very same object.
    """

    def __init__(self, ownership: Ownership, objects: Objects, *, same_object: bool) -> None:
        self._ownership, self._objects, self._same_object = ownership, objects, same_object
        self.links: dict[str, Link] = {}
        self._new: list[str] = []
        self._pinned: list[str] = []
        self._obsolete: list[str] = []
        """Keys of links that another version had and this one has not."""
        self._replaced: list[tuple[Link, int]] = []
        """(link, descriptor of the program that it had)."""

    def open(self) -> None:
        """Open the links that a predecessor left at our cgroup. Errors: CapabilityError, KernelError."""
        from ebpfmesh.hooks.link import Link

        pinned = self._ownership.pins.links()
        self._obsolete = [
            f"links/{name}" for name in pinned if name not in HOOKS and not name.startswith(OTHERS)
        ]
        for name in HOOKS:
            if name in pinned and f"links/{name}" not in self._ownership.elsewhere:
                self.links[name] = Link.open_pinned(self._ownership.pins.link_path(name))

    def attach(self) -> None:
        """Attach what is not attached, and bring what is to this version; nothing is pinned yet.

        Errors: AttachError, CapabilityError; what has been done until then is undone by `take_back`.
        """
        from ebpfmesh import hooks

        tags = {name: one.detail.get("prog_tag") for name, one in self._ownership.pins.links().items()}
        cgroup = self._ownership.cgroup.fd  # not the path: another cgroup may have its name by now
        for name, hook in HOOKS.items():
            program = self._objects.programs[name]
            link = self.links.get(name)
            if link is None:
                self.links[name] = getattr(hooks, hook).attach(program, cgroup)
                self._new.append(name)
            elif not (self._same_object and tags.get(name) == program.tag):
                self._update(link, program)

    @property
    def fresh(self) -> frozenset[str]:
        """The programs that were attached anew and are not kept yet: they stand behind all others at their hooks."""
        return frozenset(self._new)

    def keep(self) -> None:
        """Pin the new links: from here on they outlive this process, and there is no way back."""
        pins = self._ownership.pins
        for key in {*self._ownership.elsewhere, *self._obsolete}:
            pins.remove_pin(key)
        self._ownership.elsewhere.clear()
        self._obsolete.clear()
        for name in self._new:
            self._pinned.append(name)
            pins.pin_link(name, self.links[name])
        self._new.clear()
        self._pinned.clear()
        self._let_go()

    def move(self, cgroup: Cgroup) -> None:
        """Put links at ``cgroup``, which this takes, in the place of all that there are; an error leaves those."""
        ownership, before, links = self._ownership, self._ownership.cgroup, self.links
        ownership.cgroup, self.links = cgroup, {}
        try:
            self.attach()
        except BaseException:
            self.take_back()
            ownership.cgroup, self.links = before, links
            cgroup.close()
            raise
        pinned = ownership.pins.links()
        ownership.elsewhere = [f"links/{name}" for name in links if name in pinned]
        self.keep()
        for link in links.values():
            link.close()  # no detach(): its pin's path is the new link's now
        before.close()

    def take_back(self) -> None:
        """Leave what was there before `attach`: new links go, the others get their programs back."""
        for link, program in self._replaced:
            with suppress(EbpfMeshError):  # its cgroup is gone: nothing runs there
                link.update(program)
        for name in self._new:
            link = self.links.pop(name)
            with suppress(EbpfMeshError):
                link.detach()
        self._new.clear()
        while self._pinned:  # a pin of that name may also be a link at another cgroup, which stays
            self._ownership.pins.remove_pin(f"links/{self._pinned.pop()}")
        self._let_go()

    def detach(self) -> None:
        """Detach everything, in the opposite order: no new connections first."""
        for name in reversed(HOOKS):
            link = self.links.pop(name, None)
            if link is not None:
                link.detach()

    def close(self) -> None:
        """Close the descriptors; pinned links go on."""
        for link in self.links.values():
            link.close()
        self.links.clear()
        self._let_go()

    def _update(self, link: Link, program: AnyProgram) -> None:
        from ebpfmesh.lowlevel import attach

        with suppress(
            EbpfMeshError
        ):  # without CAP_SYS_ADMIN no program opens by its id: then it cannot be given back
            self._replaced.append((link, attach.open_by_id("prog", link.info().program_id)))
        link.update(program)

    def _let_go(self) -> None:
        while self._replaced:
            os.close(self._replaced.pop()[1])
