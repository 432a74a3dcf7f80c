"""What a hook takes as a program: a loaded `Program`, or the descriptor of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from ebpfmesh.lowlevel import attach

if TYPE_CHECKING:
    from ebpfmesh.objects.program import Program

    AnyProgram: TypeAlias = Program | int


@dataclass(frozen=True, slots=True)
class Loaded:
    """A program to attach: its descriptor, and what the kernel and its section say about it."""

    fd: int
    id: int
    name: str
    type: int
    attach_type: int | None

    def __str__(self) -> str:
        return f"program {self.name} (id {self.id})"


def loaded(program: AnyProgram) -> Loaded:
    """Describe ``program``. Errors: ClosedError, KernelError (EBADF: no such descriptor)."""
    fd = program if isinstance(program, int) else program.fd
    info = attach.program_info(fd, what=f"descriptor {fd} as a program")
    wanted = None if isinstance(program, int) else program.attach_type
    name = info.name if isinstance(program, int) else program.name
    return Loaded(fd, info.id, name, info.type, None if wanted is None else int(wanted))


def program_name(number: int) -> str:
    """The name of the program with this id, or "?" if it is gone or may not be opened."""
    import os

    from ebpfmesh.errors import EbpfMeshError

    try:
        fd = attach.open_by_id("prog", number)
    except EbpfMeshError:
        return "?"
    try:
        return attach.program_info(fd).name
    finally:
        os.close(fd)
