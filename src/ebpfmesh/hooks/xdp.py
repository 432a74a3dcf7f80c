"""The hook of an interface's packets before the network stack sees them."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ebpfmesh import features
from ebpfmesh.errors import AttachError, KernelError, NotSupportedError, OccupiedError
from ebpfmesh.hooks import xdp_netlink
from ebpfmesh.hooks.anchor import DEFAULT, Anchor
from ebpfmesh.hooks.attachment import Attachment, find_links
from ebpfmesh.hooks.hook import About, Hook
from ebpfmesh.hooks.link import BpfLink, Link, new_link
from ebpfmesh.hooks.program import program_name
from ebpfmesh.hooks.target import Interface, OpenInterface, open_interface
from ebpfmesh.hooks.xdp_netlink import MODES
from ebpfmesh.lowlevel import attach, netns
from ebpfmesh.lowlevel.netlink import Netlink
from ebpfmesh.spec import AttachType, ProgramType

if TYPE_CHECKING:
    from ebpfmesh.hooks.program import AnyProgram, Loaded


class XdpHook(Hook):
    """XDP of an interface, which holds one program.

    Mechanism "link" is a bpf_link (5.9, commit aa8d3a716b59); "netlink" is IFLA_XDP, which stays when the
    process ends and replaces atomically (XDP_FLAGS_REPLACE, 5.7, commit 92234c8f15c8). Mode "native" runs in
    the driver, "generic" (4.12, commit b5cdae3291f7) behind it for every driver; None lets the kernel choose.
    With ``replace=True`` a program that is there is replaced by the mechanism it came with; of a link the
    same link is then returned, shared with its owner.
    """

    mechanisms = ("link", "netlink")
    target = "an interface, as a name or an index of the caller's network namespace, or an Interface"

    def attach(
        self,
        program: AnyProgram,
        target: str | int | Interface,
        *,
        anchor: Anchor = DEFAULT,
        mechanism: str | None = None,
        replace: bool = False,
        mode: str | None = None,
    ) -> Link:
        """Attach ``program`` to the interface; see `Hook.attach`. ``mode`` is "native", "generic" or None."""
        if mode not in MODES:
            raise NotSupportedError(
                f"there is no mode {mode!r}", where="hook xdp", remedy="native, generic or None"
            )
        one = self._checked(program, mechanism)
        self._refuse_order(anchor)
        with open_interface(target) as interface:
            if holders := self._attached(interface):
                if not replace:
                    raise self._occupied(one, holders[0], interface.where)
                return self._take_place(one, interface, holders[0], mechanism)
            if mechanism != "netlink":
                link = self._link(one, interface, mode, mechanism)
                if link is not None:
                    return link
            return self._netlink(one, interface, mode)

    def attached(self, target: str | int | Interface) -> list[Attachment]:
        """The interface's XDP program, if any (native and generic at once only on kernels before 5.9)."""
        with open_interface(target) as interface:
            return self._attached(interface)

    def mode(self, target: str | int | Interface) -> str | None:
        """In which mode the interface's program runs: "native", "generic", "hardware", or None without one."""
        with open_interface(target) as interface, Netlink(interface.namespace) as route:
            return next(iter(route.xdp(interface.index).programs), None)

    def _attached(self, interface: OpenInterface) -> list[Attachment]:
        with Netlink(interface.namespace) as route:
            programs = route.xdp(interface.index).programs
        # a link tells the index but not the namespace; the program's id makes a mix-up with another
        # namespace's index possible only for one program at the same index of both
        links = find_links(programs.values(), attach.LINK_XDP, self.attach_type, interface.index)
        return [
            Attachment(
                hook=self.name,
                target=interface.where,
                program_id=program,
                program_name=program_name(program),
                mechanism="link" if link else "netlink",
                link_id=link or None,
                _open=xdp_netlink.opener(interface, mode),
            )
            for (mode, program), link in zip(programs.items(), links, strict=True)
        ]

    def _link(
        self, one: Loaded, interface: OpenInterface, mode: str | None, mechanism: str | None
    ) -> BpfLink | None:
        try:
            fd = netns.inside(
                interface.namespace,
                lambda: attach.link_create(
                    one.fd, interface.index, self.attach_type, MODES[mode], what=f"{one} at {interface.where}"
                ),
            )
        except KernelError as error:
            if not features.supported("xdp_link"):
                if mechanism == "link":
                    features.require("xdp_link", remedy="mechanism 'netlink' works before")
                return None
            raise self._refused(error, one, interface, mode) from error
        return new_link(fd, f"link of {one} at {self.name} of {interface.where}")

    def _netlink(self, one: Loaded, interface: OpenInterface, mode: str | None) -> Link:
        try:
            return xdp_netlink.attach_netlink(one, interface, mode)
        except KernelError as error:
            raise self._refused(error, one, interface, mode) from error

    def _refused(
        self, error: KernelError, one: Loaded, interface: OpenInterface, mode: str | None
    ) -> AttachError:
        if error.errno in (errno.EBUSY, errno.EEXIST) and (holders := self._attached(interface)):
            return self._occupied(one, holders[0], interface.where)
        if error.errno == errno.EOPNOTSUPP and mode == "native":
            return AttachError(
                f"{one} was not attached: the driver has no native XDP",
                errno=error.errno,
                where=interface.where,
                remedy="use mode='generic'",
            )
        return self._failed(error, one, interface.where)

    def _take_place(
        self, one: Loaded, interface: OpenInterface, holder: Attachment, mechanism: str | None
    ) -> Link:
        if mechanism not in (None, holder.mechanism):
            raise NotSupportedError(
                f"{holder.owner} was attached by {holder.mechanism}, and can be replaced by that only",
                where=f"hook {self.name} of {interface.where}",
                remedy=f"use mechanism={holder.mechanism!r}",
            )
        link = holder.open()
        try:
            link.update(one.fd)
        except BaseException:
            link.close(keep=holder.link_id is None)
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


XDP = XdpHook(
    "xdp",
    AttachType.XDP,
    ProgramType.XDP,
    About(
        "On each packet that an interface receives, before an sk_buff is made: XDP_PASS, XDP_DROP, XDP_TX, XDP_REDIRECT.",
        "xdp, xdp.frags",
        "4.8",
        "a7862b45849f",
        "before 5.9, IFLA_XDP over rtnetlink, which outlives the process",
        "xdp",
    ),
)
