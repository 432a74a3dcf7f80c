"""Hook: a place in the kernel at which a program runs."""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ebpfmesh.errors import AttachError, NotSupportedError
from ebpfmesh.hooks.anchor import DEFAULT, Anchor, Place
from ebpfmesh.hooks.program import Loaded, loaded

if TYPE_CHECKING:
    from ebpfmesh.errors import KernelError
    from ebpfmesh.hooks.attachment import Attachment
    from ebpfmesh.hooks.link import Link
    from ebpfmesh.hooks.program import AnyProgram


@dataclass(frozen=True, slots=True)
class About:
    """What a hook's documentation says: one sentence, sections, minimum kernel with its commit, fallback."""

    does: str
    sections: str
    minimum: str
    commit: str
    fallback: str
    feature: str


class Hook(ABC):
    """A hook: `name`, `attach_type` and `program_type` (the kernel's numbers), `mechanisms`, `capabilities`, `minimum`.

    ``hook.attach(program, target)`` attaches, ``hook.attached(target)`` lists. `minimum` is the first kernel
    with the hook, `feature` the probe that decides, `fallback` what happens on a kernel without the first
    mechanism.
    """

    mechanisms: tuple[str, ...]
    capabilities = "CAP_BPF and CAP_NET_ADMIN (CAP_SYS_ADMIN before 5.8)"
    target: str

    def __init__(self, name: str, attach_type: int, program_type: int, about: About) -> None:
        self.name, self.attach_type, self.program_type, self.about = name, attach_type, program_type, about
        self.minimum, self.fallback, self.feature = about.minimum, about.fallback, about.feature
        self.__doc__ = (
            f"{about.does}\n\n"
            f"Target: {self.target}. Sections: {about.sections}.\n"
            f"Minimum kernel: {about.minimum} (commit {about.commit}). Capabilities: {self.capabilities}.\n"
            f"Mechanisms: {', '.join(self.mechanisms)}. Fallback: {about.fallback}.\n"
        )

    def __repr__(self) -> str:
        return f"<hook {self.name}>"

    @abstractmethod
    def attach(
        self,
        program: AnyProgram,
        target: Any,
        *,
        anchor: Anchor = DEFAULT,
        mechanism: str | None = None,
        replace: bool = False,
    ) -> Link:
        """Attach ``program`` to ``target``.

        ``anchor`` is its place in the order. ``mechanism`` forces one of `mechanisms`; None takes the first
        that the kernel has. ``replace`` takes the place of the program that a one-program hook holds;
        `OccupiedError` otherwise.

        Errors: NotSupportedError (hook, mechanism or anchor, after a probe), AttachError, OccupiedError,
        HostError (the target), CapabilityError.
        """

    @abstractmethod
    def attached(self, target: Any) -> list[Attachment]:
        """What is attached to ``target`` at this hook, ours and others', in the order it runs. Needs CAP_NET_ADMIN.

        Link ids and program names need CAP_SYS_ADMIN; without it they are None and "?".
        """

    def _checked(self, program: AnyProgram, mechanism: str | None) -> Loaded:
        """The program, if it fits the hook and the mechanism exists; a wrong program would only be EINVAL in the kernel."""
        if mechanism is not None and mechanism not in self.mechanisms:
            raise NotSupportedError(
                f"there is no mechanism {mechanism!r}",
                where=f"hook {self.name}",
                remedy=f"{', '.join(self.mechanisms)}",
            )
        one = loaded(program)
        if one.type != self.program_type:
            raise AttachError(
                f"{one} is of type {_type_name(one.type)}, the hook takes {_type_name(self.program_type)}",
                errno=errno.EINVAL,
                where=f"hook {self.name}",
                remedy=f"sections: {self.about.sections}",
            )
        return one

    def _refuse_order(self, anchor: Anchor) -> None:
        if anchor.place is not Place.DEFAULT:
            raise NotSupportedError(
                f"the hook keeps no order that could be chosen, so not {anchor.place.value} either",
                where=f"hook {self.name}",
                remedy="use Anchor.default()",
            )

    def _refuse_replace(self, replace: bool) -> None:
        if replace:
            raise NotSupportedError(
                "the hook holds many programs, so which one is to be replaced must be said",
                where=f"hook {self.name}",
                remedy="use Anchor.replace(program), or Link.update() of your own link",
            )

    def _failed(self, error: KernelError, one: Loaded, where: str) -> AttachError:
        """The error for an attach that the kernel refused although it has the hook."""
        remedies = {
            errno.EINVAL: f"was it loaded for this hook? sections: {self.about.sections}",
            errno.EPERM: "a program above was attached so that it allows none here, or the kernel is locked down",
            errno.E2BIG: "the hook holds as many programs as it takes (64)",
            errno.ENOENT: "the anchor is not attached any more",
            errno.ENODEV: "the interface is gone",
        }
        return AttachError(
            f"{one} was not attached", errno=error.errno, where=where, remedy=remedies.get(error.errno, "")
        )


def _type_name(number: int) -> str:
    from ebpfmesh.spec import ProgramType

    try:
        return ProgramType(number).name
    except ValueError:
        return f"number {number}"


def find_neighbour(anchor: Anchor, attached: list[Attachment], where: str) -> Attachment:
    """The entry of ``attached`` that the anchor names. Errors: AttachError ENOENT if it is not attached there."""
    from ebpfmesh.hooks.attachment import Attachment
    from ebpfmesh.hooks.link import Link

    wanted = anchor.neighbour
    if isinstance(wanted, Attachment):
        found = [one for one in attached if one == wanted]
    elif isinstance(wanted, Link):
        info = wanted.info()
        found = [one for one in attached if (one.link_id, one.program_id) == (info.id, info.program_id)]
    else:
        number = wanted if isinstance(wanted, int) else wanted.id if wanted is not None else 0
        found = [one for one in attached if one.program_id == number]
    if not found:
        raise AttachError(f"the anchor {wanted} is not attached there", errno=errno.ENOENT, where=where)
    return found[0]
