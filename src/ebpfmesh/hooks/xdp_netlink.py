"""XDP without a kernel link: IFLA_XDP over rtnetlink, through libbpf, with the old program named in every change."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from ebpfmesh.errors import AttachError, HostError, KernelError
from ebpfmesh.hooks.holding import HoldingLink
from ebpfmesh.hooks.link import Link, LinkInfo
from ebpfmesh.hooks.program import loaded
from ebpfmesh.hooks.target import OpenInterface
from ebpfmesh.lowlevel import attach, libbpf
from ebpfmesh.lowlevel.descriptor import Descriptor
from ebpfmesh.lowlevel.netlink import Netlink
from ebpfmesh.lowlevel.netns import inside

if TYPE_CHECKING:
    from ebpfmesh.hooks.attachment import Attachment
    from ebpfmesh.hooks.program import AnyProgram, Loaded

# XDP_FLAGS_*, include/uapi/linux/if_link.h
_IF_NONE_IS_THERE = 1
MODES: dict[str | None, int] = {None: 0, "generic": 2, "native": 4}
_NEEDS = "CAP_NET_ADMIN"


class XdpNetlinkLink(HoldingLink):
    """An XDP program set over rtnetlink. It stays when the process ends; `detach` removes it only if it is still ours."""

    mechanism = "netlink"
    taken = frozenset({errno.EEXIST})

    def __init__(self, *, program: int, namespace: int, index: int, where: str, mode: str | None) -> None:
        self._index, self._flags = index, MODES[mode]
        super().__init__(program=program, target=namespace, where=where)

    def info(self) -> LinkInfo:
        """What the kernel says: `attached` is whether the interface is there and runs our program."""
        number = self.present.id
        try:
            with Netlink(self.descriptor.fd) as route:
                present = number in route.xdp(self._index).programs.values()
        except HostError:
            present = False
        return LinkInfo(
            id=None,
            mechanism=self.mechanism,
            hook="xdp",
            program_id=number,
            target=self._where,
            target_id=self._index,
            attached=present,
        )

    def update(self, program: AnyProgram, *, expected: AnyProgram | None = None) -> None:
        """Replace the program atomically: only if the present one is ours (XDP_FLAGS_REPLACE, 5.7)."""
        held, new, present = self.descriptor, loaded(program), self.present
        self._expect(expected)
        options = libbpf.opts("bpf_xdp_attach_opts", old_prog_fd=present.fd)
        inside(held.fd, lambda: _set(self._index, new, self._flags, options, self._where))
        self._hold(new.fd)

    def detach(self) -> None:
        """Remove our program; another one that took its place is left, with AttachError. A gone interface is no error."""
        held, present = self.descriptor, self.present
        options = libbpf.opts("bpf_xdp_attach_opts", old_prog_fd=present.fd)
        result = -inside(held.fd, lambda: libbpf.lib().bpf_xdp_detach(self._index, self._flags, options))
        if result not in (0, errno.ENODEV):
            raise AttachError(
                f"{present} cannot be taken off",
                errno=result,
                where=self._where,
                remedy="it is not attached any more; what is there was left"
                if result == errno.EEXIST
                else "",
            )
        self._release()

    def _label(self) -> str:
        return f"XDP program of {self._where}"


def attach_netlink(one: Loaded, interface: OpenInterface, mode: str | None) -> XdpNetlinkLink:
    """Set the program if the interface has none. Errors: KernelError (EBUSY: it has one), CapabilityError."""
    flags = MODES[mode] | _IF_NONE_IS_THERE
    inside(interface.namespace, lambda: _set(interface.index, one, flags, libbpf.ffi.NULL, interface.where))
    return XdpNetlinkLink(
        program=one.fd, namespace=interface.namespace, index=interface.index, where=interface.where, mode=mode
    )


def opener(interface: OpenInterface, mode: str) -> Callable[[Attachment], Link]:
    """How `Attachment.open` takes over what runs at the interface in ``mode``."""
    held = Descriptor.duplicate(interface.namespace, interface.where)
    held.released = True  # closed with the attachment that holds this function

    def take_over(one: Attachment) -> Link:
        program = attach.open_by_id("prog", one.program_id)
        try:
            return XdpNetlinkLink(
                program=program,
                namespace=held.fd,
                index=interface.index,
                where=interface.where,
                mode=mode if mode in MODES else None,
            )
        finally:
            os.close(program)

    return take_over


def _set(index: int, one: Loaded, flags: int, options: object, where: str) -> None:
    with libbpf.messages() as lines:
        result = -libbpf.lib().bpf_xdp_attach(index, one.fd, flags, options)
    if result:
        failed = libbpf.failure(" ".join([f"setting {one} at {where}", *lines[-1:]]), result, needs=_NEEDS)
        if isinstance(failed, KernelError):
            raise AttachError(failed.what.rpartition(": ")[0], errno=result, where=where) from failed
        raise failed
