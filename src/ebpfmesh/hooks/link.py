"""Link: a program's attachment to a hook, which can be updated, pinned, detached and described."""

from __future__ import annotations

import errno
import os
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ebpfmesh.errors import AttachError, HostError, KernelError, NotSupportedError
from ebpfmesh.hooks.program import Loaded, loaded
from ebpfmesh.lowlevel import attach
from ebpfmesh.lowlevel.descriptor import Descriptor, Owned
from ebpfmesh.lowlevel.pin import open_pinned, pin

if TYPE_CHECKING:
    from ebpfmesh.hooks.program import AnyProgram

_CGROUP_SKB = 8  # BPF_PROG_TYPE_CGROUP_SKB
_TARGETS = {
    attach.LINK_CGROUP: "cgroup",
    attach.LINK_NETNS: "network namespace",
    attach.LINK_XDP: "interface",
    attach.LINK_TCX: "interface",
    attach.LINK_SOCKMAP: "map",
}


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """A link at one moment.

    `id` is None without a kernel link. `target_id` is the cgroup's inode, the namespace's inode, the
    interface's index or the map's id; `attached` is False when it went away (a removed cgroup, interface or
    namespace) or the link was detached.
    """

    id: int | None
    mechanism: str
    hook: str
    program_id: int
    target: str
    target_id: int
    attached: bool


class Link(Owned):
    """A program at a hook. ``with`` closes it, which detaches what is not pinned.

    `mechanism` says how it is attached: "link" or "tcx" are kernel links; "legacy" (a cgroup), "prog_attach"
    (a sockmap), "clsact" and "netlink" (XDP) are not. A kernel link lives as long as a descriptor or a pin of
    it, so it dies with the process unless pinned. The others stay when the process dies (at a sockmap: as
    long as the map), cannot be pinned, and are taken over with ``hook.attached(target)`` and
    `Attachment.open`.
    """

    mechanism: str

    @staticmethod
    def open_pinned(path: Path | str) -> BpfLink:
        """The link pinned at ``path``. Errors: HostError (nothing there, no bpffs, or no link)."""
        return BpfLink(Descriptor(open_pinned(path, "link"), f"link at {path}"), pinned=Path(path))

    @abstractmethod
    def info(self) -> LinkInfo:
        """What the kernel says of it now. Errors: ClosedError."""

    @abstractmethod
    def update(self, program: AnyProgram, *, expected: AnyProgram | None = None) -> None:
        """Put ``program`` in the place of the present one; no event passes between them unseen.

        With ``expected``, only if that program is the present one. Errors: AttachError (another program is
        there, the target is gone, the program does not fit), ClosedError.
        """

    def pin(self, path: Path | str) -> None:
        """Pin it at ``path`` on a bpffs: it then outlives this process.

        Errors: HostError (no bpffs), KernelError (EEXIST), NotSupportedError (it is no kernel link).
        """
        raise NotSupportedError(
            "only a kernel link can be pinned",
            where=self._label(),
            remedy="it stays attached without a pin; close(keep=True) lets go of it",
        )

    def unpin(self) -> None:
        """Remove the pin; the link then lives as long as this object. Errors: HostError if it is not pinned."""
        raise HostError("it is not pinned", where=self._label())

    @abstractmethod
    def detach(self) -> None:
        """Take the program off its target at once, remove the pin that this object knows, and close.

        A target that is gone is no error; an attachment that somebody else replaced or removed is left as it
        is, with AttachError.
        """

    @abstractmethod
    def close(self, *, keep: bool = False) -> None:
        """Let go of it: what is not pinned is detached. ``keep`` leaves an attachment without a kernel link in place."""

    def __enter__(self) -> Self:
        return self

    def __repr__(self) -> str:
        return f"<{self._label()}{', closed' if self.closed else ''}>"


class BpfLink(Link):
    """A kernel link (bpf_link): cgroup 5.7, network namespace 5.8, XDP 5.9, tcx 6.6, sockmap 6.10."""

    def __init__(self, descriptor: Descriptor, *, pinned: Path | None = None) -> None:
        super().__init__(descriptor)
        raw = attach.link_info(descriptor.fd, what=descriptor.what)
        self.id = raw.id
        self.mechanism = "tcx" if raw.type == attach.LINK_TCX else "link"
        self.pinned = pinned

    @classmethod
    def open_id(cls, number: int) -> BpfLink:
        """A further handle of the link with this id. Errors: KernelError ENOENT; CapabilityError without CAP_SYS_ADMIN."""
        return cls(Descriptor(attach.open_by_id("link", number), f"link {number}"))

    def info(self) -> LinkInfo:
        """What the kernel says of it now; a detached link has the target id 0."""
        from ebpfmesh.hooks.catalogue import hook_name

        raw = attach.link_info(self.descriptor.fd, what=self._label())
        kind = _TARGETS.get(raw.type, f"target of a link of type {raw.type}")
        return LinkInfo(
            id=raw.id,
            mechanism=self.mechanism,
            hook=hook_name(raw.attach_type),
            program_id=raw.program_id,
            target=f"{kind} {raw.target}" if raw.target else f"a {kind} that is gone",
            target_id=raw.target,
            attached=raw.target != 0,
        )

    def update(self, program: AnyProgram, *, expected: AnyProgram | None = None) -> None:
        """Put ``program`` in the place of the present one, atomically (BPF_LINK_UPDATE)."""
        held, new = self.descriptor, loaded(program)
        self._refuse_other_hook(held.fd, new)
        old = None if expected is None else loaded(expected)
        try:
            attach.link_update(
                held.fd, new.fd, old.fd if old else None, what=f"replacing its program by {new}"
            )
        except KernelError as error:
            raise self._explain_update(error, str(new), str(old)) from error

    def _refuse_other_hook(self, link: int, new: Loaded) -> None:
        """The kernel compares only the types at an update [6.18]: a connect4 program would run at getsockname4."""
        from ebpfmesh.hooks.catalogue import hook_name

        raw = attach.link_info(link, what=self._label())
        if raw.type != attach.LINK_CGROUP or new.attach_type in (None, raw.attach_type):
            return
        if new.type != _CGROUP_SKB:  # which the kernel lets run in both directions
            raise AttachError(
                f"{new} is for {hook_name(new.attach_type or 0)}, the link for {hook_name(raw.attach_type)}",
                errno=errno.EINVAL,
                where=self._label(),
            )

    def _explain_update(self, error: KernelError, new: str, old: str) -> AttachError:
        remedies = {
            errno.EPERM: f"it does not hold {old} at this moment; info() says what it holds",
            errno.ENOLINK: "its target is gone or it was detached; attach again",
            errno.EINVAL: "the new program must be of the same type and, where there is one, attach type",
        }
        return AttachError(
            f"its program cannot be replaced by {new}",
            errno=error.errno,
            where=self._label(),
            remedy=remedies.get(error.errno, ""),
        )

    def pin(self, path: Path | str) -> None:
        """Pin it at ``path`` on a bpffs: it then outlives this process. Minimum kernel: 5.7; CAP_BPF."""
        pin(self.descriptor.fd, path, self._label())
        self.pinned = Path(path)

    def unpin(self) -> None:
        """Remove the pin that this object made or was opened from. Errors: HostError if there is none."""
        if self.pinned is None:
            raise HostError("it is not pinned by this object", where=self._label())
        self.pinned.unlink(missing_ok=True)
        self.pinned = None

    def detach(self) -> None:
        """BPF_LINK_DETACH: off its target, whoever else holds the link. Minimum kernel: 5.9 (commit 73b11c2ab072)."""
        held = self.descriptor
        if attach.link_info(held.fd, what=self._label()).target:
            try:
                attach.link_detach(held.fd, what=self._label())
            except KernelError as error:
                if error.errno != errno.ENOLINK:  # gone between the two calls
                    raise AttachError(
                        "it cannot be detached", errno=error.errno, where=self._label()
                    ) from error
        if self.pinned is not None:
            self.unpin()
        self.close()

    def close(self, *, keep: bool = False) -> None:
        """Close the descriptor: the kernel detaches an unpinned link with its last one. ``keep`` needs a pin.

        Whoever lists the links of the host holds each of them for a moment; `detach` does not wait for them.
        """
        if keep and self.pinned is None and not self.closed:
            raise NotSupportedError(
                "a kernel link without a pin ends with its last descriptor",
                where=self._label(),
                remedy="pin() it",
            )
        Owned.close(self)

    def _label(self) -> str:
        return f"link {self.id}"


def new_link(fd: int, what: str) -> BpfLink:
    """The `BpfLink` of a descriptor that BPF_LINK_CREATE returned."""
    try:
        return BpfLink(Descriptor(fd, what))
    except KernelError:
        os.close(fd)
        raise
