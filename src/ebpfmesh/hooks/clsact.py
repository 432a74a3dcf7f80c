"""TC without tcx: a cls_bpf filter in the clsact qdisc of an interface, through libbpf, checked through rtnetlink."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ebpfmesh.errors import AttachError, HostError, KernelError, NotSupportedError
from ebpfmesh.hooks.holding import HoldingLink
from ebpfmesh.hooks.link import LinkInfo
from ebpfmesh.hooks.program import loaded
from ebpfmesh.lowlevel import attach, libbpf
from ebpfmesh.lowlevel.netlink import Filter, Netlink
from ebpfmesh.lowlevel.netns import inside

if TYPE_CHECKING:
    from ebpfmesh.hooks.program import AnyProgram, Loaded
    from ebpfmesh.hooks.target import OpenInterface

_POINTS = {"ingress": 1, "egress": 2}  # enum bpf_tc_attach_point
_BOTH = 3
_REPLACE = 1  # BPF_TC_F_REPLACE
_NEEDS = "CAP_NET_ADMIN"

# Priorities run from 1 to 65535, the lowest first. The first filter goes to the middle, the next ones away
# from it in steps, so that there is room before, behind and between.
_MIDDLE, _STEP, _LAST = 0x8000, 0x40, 0xFFFF


@dataclass(frozen=True, slots=True)
class Place:
    """Where a filter is: the interface's index and direction, its priority and handle."""

    index: int
    direction: str
    priority: int
    handle: int


class ClsactLink(HoldingLink):
    """A cls_bpf filter that we made. It stays when the process ends; `detach` removes exactly this filter.

    The clsact qdisc is removed with it only if `attach_clsact` created it, and no filter is left in either
    direction. It remembers the network namespace, so it may be used from any thread.
    """

    mechanism = "clsact"

    def __init__(
        self, *, program: int, interface: OpenInterface, hook: str, place: Place, created: bool
    ) -> None:
        self._hook, self._created, self.place = hook, created, place
        super().__init__(program=program, target=interface.namespace, where=interface.where)

    def info(self) -> LinkInfo:
        """What the kernel says: `attached` is whether the filter is there and holds our program."""
        number = self.present.id
        return LinkInfo(
            id=None,
            mechanism=self.mechanism,
            hook=self._hook,
            program_id=number,
            target=self._where,
            target_id=self.place.index,
            attached=self._holds() == number,
        )

    def update(self, program: AnyProgram, *, expected: AnyProgram | None = None) -> None:
        """Replace the filter's program in place. The kernel swaps it under RCU, but compares nothing: see `expected`.

        That the present program is ours (and ``expected``) is checked just before, not in the same call.
        """
        held, new, present = self.descriptor, loaded(program), self.present
        self._expect(expected)
        self._require_ours(present)
        inside(held.fd, lambda: _attach(self.place, new, replace=True))
        self._hold(new.fd)

    def detach(self) -> None:
        """Remove the filter, after checking that it holds our program; a vanished interface is no error."""
        held, present = self.descriptor, self.present
        if self._holds() is None:
            gone = self._is_gone()
            self._release()
            if gone:
                return
            raise AttachError("somebody else removed the filter", errno=errno.ENOENT, where=self._where)
        self._require_ours(present)
        hook = _hook(self.place.index, _POINTS[self.place.direction])
        options = libbpf.opts("bpf_tc_opts", handle=self.place.handle, priority=self.place.priority)
        inside(
            held.fd, lambda: _call("bpf_tc_detach", hook, options, what=f"removing the filter of {present}")
        )
        if self._created:
            self._remove_qdisc(held.fd)
        self._release()

    def _holds(self) -> int | None:
        """The id of the filter's program; None if there is no such filter or interface."""
        with Netlink(self.descriptor.fd) as route:
            for one in _filters(route, self.place.index, self.place.direction):
                if (one.priority, one.handle) == (self.place.priority, self.place.handle):
                    return one.program_id
        return None

    def _is_gone(self) -> bool:
        with Netlink(self.descriptor.fd) as route:
            try:
                route.interface_name(self.place.index)
            except HostError:
                return True
        return False

    def _require_ours(self, present: Loaded) -> None:
        number = self._holds()
        if number != present.id:
            raise AttachError(
                f"the filter holds {'nothing' if number is None else f'program {number}'}, not our {present}",
                errno=errno.ENOENT if number is None else errno.EBUSY,
                where=f"{self._where}, priority {self.place.priority}",
                remedy="it was left as it is",
            )

    def _remove_qdisc(self, namespace: int) -> None:
        """Somebody may add a filter between the look and the removal: the kernel offers no removal of an empty qdisc."""
        with Netlink(namespace) as route:
            if any(_filters(route, self.place.index, direction) for direction in _POINTS):
                return
        inside(namespace, lambda: libbpf.lib().bpf_tc_hook_destroy(_hook(self.place.index, _BOTH)))

    def _label(self) -> str:
        return f"clsact filter at {self._hook} of {self._where}"


def attach_clsact(
    one: Loaded, interface: OpenInterface, hook: str, direction: str, neighbours: tuple[int, int]
) -> ClsactLink:
    """Add a filter with a priority between the two of ``neighbours``, exclusive (0 and 65536 are the ends).

    Errors: AttachError (no priority is free between them), CapabilityError. Minimum kernel: 4.5 (commit
    1f211a1b929c).
    """
    created = _create_qdisc(interface)
    low, high = neighbours
    for _ in range(16):  # somebody else may take the priority first
        place = Place(interface.index, direction, choose_priority(low, high, interface.where), 1)
        try:
            inside(interface.namespace, lambda place=place: _attach(place, one, replace=False))  # type: ignore[misc]
        except KernelError as error:
            if error.errno == errno.EEXIST:
                low = place.priority
                continue
            raise AttachError(
                f"{one} was not attached", errno=error.errno, where=interface.where, remedy=error.remedy
            ) from error
        return ClsactLink(program=one.fd, interface=interface, hook=hook, place=place, created=created)
    raise AttachError(f"{one} found no free priority", errno=errno.EEXIST, where=interface.where)


def choose_priority(low: int, high: int, where: str = "") -> int:
    """A priority between two, exclusive; 0 and 65536 stand for "nothing there". AttachError if none is left."""
    if high - low < 2:
        raise AttachError(
            f"no priority is free between {low} and {high}",
            errno=errno.ENOSPC,
            where=where,
            remedy="detach what is there and attach it again, with room between",
        )
    if low == 0 and high > _LAST:
        return _MIDDLE
    if high > _LAST:
        return min(low + _STEP, (low + high) // 2)
    if low == 0:
        return max(high - _STEP, high // 2)
    return (low + high) // 2


def filters(interface: OpenInterface, direction: str) -> list[Filter]:
    """The clsact filters of an interface in one direction, in the order they run."""
    with Netlink(interface.namespace) as route:
        return _filters(route, interface.index, direction)


def _filters(route: Netlink, index: int, direction: str) -> list[Filter]:
    if not route.has_clsact(index):
        return []
    try:
        return route.filters(index, direction)
    except KernelError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT, errno.EOPNOTSUPP):
            return []  # the qdisc went away between the two questions
        raise


def _create_qdisc(interface: OpenInterface) -> bool:
    """Whether we made the clsact qdisc; False if it was there."""

    def create() -> int:
        result: int = libbpf.lib().bpf_tc_hook_create(_hook(interface.index, _POINTS["ingress"]))
        return -result

    with libbpf.messages():  # the kernel's "Exclusivity flag on" is the answer we ask for, no warning
        number = inside(interface.namespace, create)
    if number == errno.EEXIST:
        with Netlink(interface.namespace) as route:
            if route.has_clsact(interface.index):
                return False
        raise NotSupportedError(
            "the interface has an ingress qdisc, which shuts out clsact",
            where=interface.where,
            remedy="remove it (tc qdisc del dev INTERFACE ingress), or use tcx",
        )
    if number:
        raise libbpf.failure(f"{interface.where}: creating its clsact qdisc", number, needs=_NEEDS)
    return True


def _attach(place: Place, one: Loaded, *, replace: bool) -> None:
    options = libbpf.opts(
        "bpf_tc_opts",
        prog_fd=one.fd,
        handle=place.handle,
        priority=place.priority,
        flags=_REPLACE if replace else 0,
    )
    _call("bpf_tc_attach", _hook(place.index, _POINTS[place.direction]), options, what=f"attaching {one}")


def _call(name: str, hook: object, options: object, *, what: str) -> None:
    with libbpf.messages() as lines:
        result = -getattr(libbpf.lib(), name)(hook, options)
    if result:
        raise libbpf.failure(" ".join([what, *lines[-1:]]), result, needs=_NEEDS)


def _hook(index: int, point: int) -> object:
    return libbpf.opts("bpf_tc_hook", ifindex=index, attach_point=point)


def reopen(interface: OpenInterface, hook: str, place: Place, program_id: int) -> ClsactLink:
    """A handle for a filter that is there already; the qdisc is then never removed by us."""
    program = attach.open_by_id("prog", program_id)
    try:
        return ClsactLink(program=program, interface=interface, hook=hook, place=place, created=False)
    finally:
        os.close(program)
