"""A file descriptor with one owner, closed when its last user is done."""

from __future__ import annotations

import fcntl
import os
import warnings

from ebpfmesh.errors import ClosedError, HostError


class Descriptor:
    """An open file descriptor that is closed once, at the end of the last call that uses it.

    A call takes it with ``with owner.descriptor as fd:``, which holds a reference while the kernel works, and leaves none
    in the frames of a traceback. ``close()`` of the owner only drops the owner's reference, so a call of another thread
    never meets a number that was closed and given to somebody else in the meantime. A descriptor whose owner never said
    close() is a ResourceWarning.
    """

    __slots__ = ("fd", "released", "what")

    def __init__(self, fd: int, what: str) -> None:
        self.fd, self.what = fd, what
        self.released = True  # until an owner takes it: nobody else could close it

    @classmethod
    def duplicate(cls, fd: int, what: str) -> Descriptor:
        """A descriptor of our own for what ``fd`` refers to. Errors: HostError if ``fd`` is not open, or none is left."""
        try:
            return cls(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3), what)
        except OSError as error:
            raise HostError(f"descriptor {fd} cannot be duplicated: {error}", where=what) from error

    def fileno(self) -> int:
        """The number."""
        return self.fd

    def __enter__(self) -> int:
        return self.fd

    def __exit__(self, *exception: object) -> None:
        pass

    def __del__(self) -> None:
        os.close(self.fd)
        if not self.released:
            warnings.warn(
                f"{self.what} was never closed (descriptor {self.fd})", ResourceWarning, stacklevel=2
            )


class Owned:
    """Base of what owns one `Descriptor`: ``fd``, ``close()``, a context manager."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._descriptor: Descriptor | None = descriptor
        descriptor.released = False

    @property
    def descriptor(self) -> Descriptor:
        """The descriptor, for ``with owner.descriptor as fd:``. ClosedError after close()."""
        if (held := self._descriptor) is None:
            raise ClosedError("it was closed before this call", where=self._label())
        return held

    @property
    def fd(self) -> int:
        """The file descriptor's number, valid until close(). ClosedError after it."""
        return self.descriptor.fd

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._descriptor is None

    def fileno(self) -> int:
        """The same as ``fd``, for what takes anything with a descriptor."""
        return self.fd

    def close(self) -> None:
        """Give the descriptor back; calls of other threads that are under way end undisturbed. Twice is harmless."""
        if (held := self._descriptor) is not None:
            held.released = True
            self._descriptor = None

    def __enter__(self) -> object:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _label(self) -> str:
        return type(self).__name__
