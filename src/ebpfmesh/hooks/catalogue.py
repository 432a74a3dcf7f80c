"""Every hook by name, by attach type, and the one that a program's section asks for."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from ebpfmesh.errors import SpecError

if TYPE_CHECKING:
    from ebpfmesh.hooks.hook import Hook
    from ebpfmesh.objects.program import Program
    from ebpfmesh.spec import ProgramSpec


@cache
def every() -> tuple[Hook, ...]:
    """Each hook, by file."""
    from ebpfmesh.hooks import (
        cgroup_skb,
        cgroup_sock,
        sk_lookup,
        sk_msg,
        sk_skb,
        sock_addr,
        sockops,
        sockopt,
        tc,
        xdp,
    )
    from ebpfmesh.hooks.hook import Hook

    modules = (sock_addr, cgroup_sock, cgroup_skb, sockopt, sockops, sk_msg, sk_skb, sk_lookup, tc, xdp)
    return tuple(value for module in modules for value in vars(module).values() if isinstance(value, Hook))


def by_name(name: str) -> Hook:
    """The hook called ``name``, such as "connect4". Errors: SpecError with the names that exist."""
    for hook in every():
        if hook.name == name:
            return hook
    raise SpecError(f"there is no hook {name!r}", remedy=f"hooks: {', '.join(hook.name for hook in every())}")


def hook_name(attach_type: int) -> str:
    """The name of the hook with this attach type; "attach type N" for one that we do not name."""
    return next(
        (hook.name for hook in every() if hook.attach_type == attach_type), f"attach type {attach_type}"
    )


def for_program(program: ProgramSpec | Program) -> Hook:
    """The hook that a program's section asks for.

    Errors: SpecError where the section leaves it open ("tc" says no direction, "cgroup/skb" neither, "sk_skb"
    no kind), or asks for something that is no hook here.
    """
    if program.attach_type is not None:
        for hook in every():
            if (hook.attach_type, hook.program_type) == (program.attach_type, program.type):
                return hook
    fitting = [hook.name.upper() for hook in every() if hook.program_type == program.type]
    raise SpecError(
        f"its section does not say which of these hooks it is for: {', '.join(fitting)}"
        if fitting
        else "there is no hook for programs of its type",
        where=f"program {program.name}",
        remedy="choose one: hooks.NAME.attach(program, target)" if fitting else "",
    )
