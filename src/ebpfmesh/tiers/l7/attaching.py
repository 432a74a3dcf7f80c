"""Brings the L7 tier's programs to their hooks: the protocols to slots, two to the sockhash, the rest to the cgroup.

Slots are filled first, since a socket that is enrolled runs the programs at once; the sockhash comes before the cgroup.
All of it can be taken back until it is kept, as in the connect tier. A slot has no old and new: open connections too run
what is in it from their next message on.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ebpfmesh.errors import EbpfMeshError
from ebpfmesh.tiers.l7.wire import SLOTS

if TYPE_CHECKING:
    from ebpfmesh.hooks.link import Link
    from ebpfmesh.ownership import Ownership
    from ebpfmesh.tiers.l7.loading import Loaded

AT_SOCKETS = {"received": "SK_SKB_STREAM_VERDICT", "sent": "SK_MSG"}
AT_CGROUP = {
    "forget": "SOCK_RELEASE",
    "guard": "CGROUP_SKB_EGRESS",
    "enrol": "SOCKOPS",
}
BEHIND_CONNECT = {
    "authorise_sendmsg4": "SENDMSG4",
    "authorise_sendmsg6": "SENDMSG6",
    "authorise_connect4": "CONNECT4",
    "authorise_connect6": "CONNECT6",
}
"""Those have to run after the connect tier's program at the same hook, which writes what they read."""
PROGRAMS = (*AT_SOCKETS, *AT_CGROUP, *BEHIND_CONNECT)
SOCKETS = "l7_sockets"
PREFIX = "l7_"
"""Of the names of our links' pins."""


class Attaching:
    """The links of the tier, by program: a predecessor's, taken over where they are, and new ones."""

    def __init__(self, ownership: Ownership, loaded: Loaded) -> None:
        self._ownership, self._loaded = ownership, loaded
        previous = ownership.previous
        self._same_object = previous is not None and all(
            previous.objects.get(name) == one.spec.sha256 for name, one in loaded.objects.items()
        )
        self._tags: dict[str, str | None] = {}
        self.links: dict[str, Link] = {}
        self._new: list[str] = []
        self._replaced: list[tuple[Link, int]] = []
        """(link, descriptor of the program that it had)."""
        self._slots: list[tuple[str, int, int]] = []
        """(program array, element, descriptor of the program that was there)."""
        self._aside: list[Link] = []
        """Links in whose place new ones came; detached once these are kept."""

    def open(self) -> None:
        """Open the links that a predecessor left. Errors: CapabilityError, KernelError."""
        from ebpfmesh import hooks
        from ebpfmesh.hooks.link import Link

        pinned = self._ownership.pins.links()
        for name in PROGRAMS:
            key = PREFIX + name
            if key in pinned and f"links/{key}" not in self._ownership.elsewhere:
                self.links[name] = Link.open_pinned(self._ownership.pins.link_path(key))
        for (
            name,
            hook,
        ) in AT_SOCKETS.items():  # before 6.10 there is no link to pin: the map keeps the program
            if name not in self.links:
                found = getattr(hooks, hook).attached(self._loaded.maps[SOCKETS]) if pinned else []
                if found:
                    self.links[name] = found[0].open()

    def attach(self, *, anew: bool = False) -> None:
        """Attach what is not attached, and bring what is to this version; nothing is pinned yet.

        ``anew``: programs that belong behind the connect tier's get new links, since that one has new ones. Errors:
        AttachError, CapabilityError; what has been done until then is undone by `take_back`.
        """
        self.attach_followers()
        self.attach_behind(anew=anew)

    def attach_followers(self) -> None:
        """Attach what follows a connection; see `attach`."""
        self._tags = {name: one.detail.get("prog_tag") for name, one in self._ownership.pins.links().items()}
        self.fill_slots()
        for name, hook in AT_SOCKETS.items():
            self._put(name, hook, self._loaded.maps[SOCKETS])
        for name, hook in AT_CGROUP.items():
            self._put(
                name, hook, self._ownership.cgroup.fd
            )  # not the path: another cgroup may have its name by now

    def attach_behind(self, *, anew: bool) -> None:
        """Attach what belongs behind the connect tier's programs; see `attach`."""
        for name, hook in BEHIND_CONNECT.items():
            if anew and name in self.links:
                self._aside.append(self.links.pop(name))
            self._put(name, hook, self._ownership.cgroup.fd)

    def keep(self) -> None:
        """Pin the new links: from here on they outlive this process."""
        pins = self._ownership.pins
        for name in self._new:
            if self.links[name].mechanism == "link":
                pins.pin_link(PREFIX + name, self.links[name])
        self._new.clear()
        for link in self._aside:
            link.close()  # no detach(): its pin's path is the new link's now
        self._aside.clear()
        self._let_go()

    def take_back(self) -> None:
        """Leave what was there before `attach`: new links go, the others get their programs back."""
        for link, program in self._replaced:
            with suppress(EbpfMeshError):
                link.update(program)
        for array, slot, program in self._slots:
            with suppress(EbpfMeshError):
                self._loaded.maps[array][slot] = program
        for name in self._new:
            with suppress(EbpfMeshError):
                self.links.pop(name).detach()
        self._new.clear()
        self._let_go()

    def leave(self) -> dict[str, Link]:
        """The links at the cgroup, which is about to be another; `attach` makes new ones, `keep` ends these."""
        old = {name: self.links.pop(name) for name in (*AT_CGROUP, *BEHIND_CONNECT) if name in self.links}
        self._aside += old.values()
        return old

    def return_to(self, old: dict[str, Link]) -> None:
        """After a move that failed: the links at the cgroup before."""
        self.take_back()
        self._aside = [one for one in self._aside if one not in old.values()]
        self.links |= old

    def detach_cgroup(self) -> None:
        """No new connection is followed, and no packet held back; sockets that are enrolled keep their programs."""
        for name in reversed((*AT_CGROUP, *BEHIND_CONNECT)):
            link = self.links.pop(name, None)
            if link is not None:
                link.detach()

    def detach_sockets(self) -> None:
        """Take the programs off the sockhash; only once no socket is left in it."""
        for name in AT_SOCKETS:
            link = self.links.pop(name, None)
            if link is not None:
                link.detach()

    def close(self) -> None:
        """Close the descriptors; pinned links go on, and so does what is on the sockhash."""
        for link in self.links.values():
            link.close(keep=link.mechanism != "link")
        for link in self._aside:
            link.close()
        self.links.clear()
        self._aside.clear()
        self._let_go()

    def _put(self, name: str, hook: str, target: Any) -> None:
        from ebpfmesh import hooks

        program = self._loaded.programs[name]
        link = self.links.get(name)
        if link is None:
            self.links[name] = getattr(hooks, hook).attach(program, target)
            self._new.append(name)
        elif not (self._same_object and self._tags.get(PREFIX + name) == program.tag):
            self._update(link, program)

    def fill_slots(self) -> None:
        """Put the programs of each protocol into their slots, in the place of a predecessor's; a slot is one store."""
        from ebpfmesh.lowlevel import attach

        programs = self._loaded.programs
        for slot, pair in SLOTS.items():
            for array, name in zip(("l7_sent", "l7_received"), pair, strict=True):
                if name not in programs:
                    continue
                if (before := self._loaded.maps[array].lookup(slot)) is not None:
                    with suppress(EbpfMeshError):
                        self._slots.append((array, slot, attach.open_by_id("prog", before)))
                self._loaded.maps[array][slot] = programs[name]

    def _update(self, link: Link, program: Any) -> None:
        from ebpfmesh.lowlevel import attach

        # without CAP_SYS_ADMIN no program opens by its id: then it cannot be given back
        with suppress(EbpfMeshError):
            self._replaced.append((link, attach.open_by_id("prog", link.info().program_id)))
        link.update(program)

    def _let_go(self) -> None:
        while self._replaced:
            os.close(self._replaced.pop()[1])
        while self._slots:
            os.close(self._slots.pop()[2])
