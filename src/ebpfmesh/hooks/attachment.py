"""A program that is attached at a hook, ours or somebody else's."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ebpfmesh.hooks import owner
from ebpfmesh.hooks.program import program_name
from ebpfmesh.lowlevel import attach

if TYPE_CHECKING:
    from ebpfmesh.hooks.link import Link


@dataclass(frozen=True, slots=True)
class Attachment:
    """One entry of a hook's list: which program, through what, and under which name.

    `mechanism` is "link", "tcx", "legacy", "prog_attach", "clsact" or "netlink"; `link_id` is None for all
    but the first two, and where the kernel does not tell it. `priority` and `handle` are those of a clsact
    filter, else 0. `program_id` is 0 for a clsact filter that is no BPF program.
    """

    hook: str
    target: str
    program_id: int
    program_name: str
    mechanism: str
    link_id: int | None = None
    priority: int = 0
    handle: int = 0
    _open: Callable[[Attachment], Link] | None = field(default=None, repr=False, compare=False)

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that have its program or link open, as far as they can be seen; asked at each call."""
        return owner.holders(program=self.program_id, link=self.link_id or 0)

    @property
    def owner(self) -> str:
        """The program in words, with its id, its link and the processes that hold it."""
        return owner.describe(self.program_name, self.program_id, self.link_id)

    def open(self) -> Link:
        """A `Link` for what is attached here, as ``attach()`` would have returned it: to take over after a restart.

        Errors: NotSupportedError for what is no BPF program; CapabilityError without CAP_SYS_ADMIN.
        """
        from ebpfmesh.errors import NotSupportedError
        from ebpfmesh.hooks.link import BpfLink

        if self.link_id:
            return BpfLink.open_id(self.link_id)
        if self._open is None or not self.program_id:
            raise NotSupportedError("this entry is no BPF program that can be taken over", where=f"{self}")
        return self._open(self)

    def __str__(self) -> str:
        through = f"link {self.link_id}" if self.link_id else self.mechanism
        return f"{self.program_name} (id {self.program_id}, {through}) at {self.hook} of {self.target}"


def attachments(
    *,
    hook: str,
    target: str,
    programs: Sequence[int],
    links: Sequence[int],
    mechanisms: tuple[str, str],
    opener: Callable[[Attachment], Link] | None = None,
) -> list[Attachment]:
    """Name the programs of a query; ``mechanisms`` are the names for those with a link and those without."""
    return [
        Attachment(
            hook=hook,
            target=target,
            program_id=program,
            program_name=program_name(program),
            mechanism=mechanisms[0] if link else mechanisms[1],
            link_id=link or None,
            _open=opener,
        )
        for program, link in zip(programs, links, strict=True)
    ]


def find_links(programs: Iterable[int], kind: int, attach_type: int, target: int | None) -> tuple[int, ...]:
    """The link ids of a hook's ``programs`` in their order, 0 where there is none: by walking every link of the host.

    PROG_QUERY tells link ids for tcx only. Two links with the same program at one hook are told apart by
    nothing; they are given in the order of their ids, which is the order in which they were made.
    """
    found: dict[int, list[int]] = {}
    for link in attach.every_link():
        if link.type == kind and link.attach_type == attach_type and target in (None, link.target):
            found.setdefault(link.program_id, []).append(link.id)
    return tuple(found[program].pop(0) if found.get(program) else 0 for program in programs)


def inode(fd: int) -> int:
    """What cgroup and namespace links tell as their target: a cgroup's id and a namespace's number are inodes."""
    return os.fstat(fd).st_ino
