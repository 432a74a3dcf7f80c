"""HoldingLink: what the attachments without a kernel link have in common."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ebpfmesh.errors import AttachError, ClosedError
from ebpfmesh.hooks.link import Link
from ebpfmesh.hooks.program import Loaded, loaded
from ebpfmesh.lowlevel.descriptor import Descriptor, Owned

if TYPE_CHECKING:
    from ebpfmesh.hooks.program import AnyProgram


class HoldingLink(Link):
    """An attachment that stays when the process ends. It holds the target and its program open, to detach exactly that."""

    # what detach() fails with when somebody else removed or replaced the program
    taken = frozenset({errno.ENOENT})

    def __init__(self, *, program: int, target: int, where: str) -> None:
        super().__init__(Descriptor.duplicate(target, where))
        self._where = where
        self._program: Descriptor | None = None
        self._hold(program)

    def close(self, *, keep: bool = False) -> None:
        """Detach, unless ``keep``; what somebody else put in its place is left, without an error. Twice is harmless."""
        if self.closed:
            return
        try:
            if not keep:
                self.detach()
        except AttachError as error:
            if error.errno not in self.taken:
                raise
        finally:
            self._release()

    @property
    def present(self) -> Loaded:
        """The program that we put there. ClosedError after close()."""
        if self._program is None:
            raise ClosedError("it was closed before this call", where=self._label())
        return loaded(self._program.fd)

    def _expect(self, expected: AnyProgram | None) -> None:
        if expected is not None and loaded(expected).id != self.present.id:
            raise AttachError(
                f"it holds {self.present}, not the expected program", errno=errno.EPERM, where=self._where
            )

    def _hold(self, program: int) -> None:
        held = Descriptor.duplicate(program, f"the program at {self._where}")
        self._let_go()
        self._program = held

    def _let_go(self) -> None:
        if self._program is not None:
            self._program.released = True
            self._program = None

    def _release(self) -> None:
        self._let_go()
        Owned.close(self)
