"""Attachments of BPF_PROG_ATTACH, without a kernel link: cgroups before 5.7 ("legacy"), sockmaps before 6.10."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from ebpfmesh.errors import AttachError, KernelError, NotSupportedError
from ebpfmesh.hooks.holding import HoldingLink
from ebpfmesh.hooks.link import LinkInfo
from ebpfmesh.hooks.program import loaded
from ebpfmesh.lowlevel import attach

if TYPE_CHECKING:
    from ebpfmesh.hooks.attachment import Attachment
    from ebpfmesh.hooks.program import AnyProgram


class DirectLink(HoldingLink):
    """A program put on a cgroup or sockmap by BPF_PROG_ATTACH.

    On a cgroup it stays until it is detached or the cgroup is removed, whatever becomes of this process; on a
    sockmap until the map's last descriptor and pin are gone. The object holds the program and the target
    open, to detach exactly that.
    """

    def __init__(
        self, *, program: int, target: int, attach_type: int, mechanism: str, hook: str, where: str
    ) -> None:
        self.mechanism, self._attach_type, self._hook = mechanism, attach_type, hook
        super().__init__(program=program, target=target, where=where)

    @classmethod
    def taken_over(cls, one: Attachment, *, target: int, attach_type: int) -> DirectLink:
        """A handle for what is attached already. Errors: KernelError ENOENT if the program is gone; CapabilityError."""
        program = attach.open_by_id("prog", one.program_id)
        try:
            return cls(
                program=program,
                target=target,
                attach_type=attach_type,
                mechanism=one.mechanism,
                hook=one.hook,
                where=one.target,
            )
        finally:
            os.close(program)

    def info(self) -> LinkInfo:
        """What the kernel says: `attached` is whether the program is still in the target's list."""
        number = self.present.id
        return LinkInfo(
            id=None,
            mechanism=self.mechanism,
            hook=self._hook,
            program_id=number,
            target=self._where,
            target_id=self._target_id(),
            attached=number in self._present(),
        )

    def update(self, program: AnyProgram, *, expected: AnyProgram | None = None) -> None:
        """Replace the program: atomically on a cgroup (BPF_F_REPLACE, 5.6, commit 7dd68b3279f1).

        A sockmap has no compare-and-swap: somebody else's change between the check and the call would be
        lost. Sockets that are in the map already keep the program they were put in with.
        """
        held, new, present = self.descriptor, loaded(program), self.present
        self._expect(expected)
        if present.id not in self._present():
            raise AttachError(f"{present} is not attached any more", errno=errno.ENOENT, where=self._where)
        flags, replaced = (
            (attach.ALLOW_MULTI | attach.REPLACE, present.fd) if self.mechanism == "legacy" else (0, 0)
        )
        try:
            attach.prog_attach(
                new.fd,
                held.fd,
                self._attach_type,
                flags,
                replaced=replaced,
                what=f"replacing {present} by {new}",
            )
        except KernelError as error:
            remedy = f"{present} is not attached any more" if error.errno == errno.ENOENT else ""
            raise AttachError(error.what, where=self._where, remedy=remedy) from error
        self._hold(new.fd)

    def detach(self) -> None:
        """BPF_PROG_DETACH of exactly this program; a removed cgroup is no error."""
        held, present = self.descriptor, self.present
        try:
            attach.prog_detach(present.fd, held.fd, self._attach_type, what=f"detaching {present}")
        except KernelError as error:
            if not self._is_gone():
                remedy = "somebody else detached it" if error.errno == errno.ENOENT else ""
                raise AttachError(
                    f"{present} cannot be detached", errno=error.errno, where=self._where, remedy=remedy
                ) from error
        self._release()

    def pin(self, path: object) -> None:
        """NotSupportedError: there is nothing to pin; a sockmap itself can be pinned, which keeps its programs."""
        remedy = (
            "pin the map" if self.mechanism == "prog_attach" else "it stays on the cgroup; close(keep=True)"
        )
        raise NotSupportedError("only a kernel link can be pinned", where=self._label(), remedy=remedy)

    def _present(self) -> tuple[int, ...]:
        if self._is_gone():
            return ()  # the kernel still lists the programs of a removed cgroup, for a minute or so
        try:
            return attach.prog_query(
                self.descriptor.fd, self._attach_type, links=False, what=self._where
            ).programs
        except KernelError:
            return (self.present.id,)  # a sockmap cannot be asked before 5.18: then it is what we put there

    def _is_gone(self) -> bool:
        """Whether the cgroup was removed; the open descriptor keeps only its name."""
        held = self.descriptor.fd
        return self.mechanism == "legacy" and os.readlink(f"/proc/self/fd/{held}").endswith(" (deleted)")  # noqa: PTH115

    def _target_id(self) -> int:
        if self.mechanism == "legacy":
            return os.fstat(self.descriptor.fd).st_ino
        from ebpfmesh.maps.info import map_info

        return map_info(self.descriptor.fd).id

    def _label(self) -> str:
        return f"{self.mechanism} attachment at {self._hook} of {self._where}"
