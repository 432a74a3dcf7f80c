"""The lock of an agent: a flock held for life, which the kernel frees even on SIGKILL."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from ebpfmesh.errors import HeldError, HostError
from ebpfmesh.ownership.process import Process
from ebpfmesh.ownership.run_directory import RunDirectory

_PATIENCE = 0.2  # seconds; `holder` takes the lock for microseconds, which must not look like an agent


class Holder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who holds a lock, and since when (UTC, ISO 8601)."""

    process: Process
    since: str


class Lock:
    """A held lock. Made by `Lock.take`, freed by `release`, or by the end of the process.

    The descriptor is closed on exec, so programs that the agent starts do not hold the lock; a child that is
    forked and never execs does.
    """

    def __init__(self, directory: RunDirectory, descriptor: int) -> None:
        self.directory = directory
        self._descriptor = descriptor

    @classmethod
    def take(cls, directory: RunDirectory) -> Lock:
        """Take the lock of ``directory``, making the directory if it is absent.

        Errors: HeldError (pid, since when, command) if a process holds it; HostError, OwnershipError of the
        directory.
        """
        deadline = time.monotonic() + _PATIENCE
        while True:
            directory.create()
            descriptor = _open_locked(directory.lock_file)
            if descriptor is not None:
                lock = cls(directory, descriptor)
                lock._sign()
                return lock
            if time.monotonic() > deadline:
                raise _held(directory)
            time.sleep(0.02)

    def _sign(self) -> None:
        content = msgspec.json.encode(
            Holder(Process.current(), datetime.now(UTC).isoformat(timespec="seconds"))
        )
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, content, 0)

    def release(self, *, remove: bool) -> None:
        """Free the lock; ``remove`` also removes its file, while it is still held, and the run directory if
        empty.
        """
        if self._descriptor < 0:
            return
        if remove:
            with suppress(FileNotFoundError):
                self.directory.lock_file.unlink()
            self.directory.remove()
        os.close(self._descriptor)
        self._descriptor = -1


def _open_locked(path: Path) -> int | None:
    """A descriptor of ``path``, locked; None if somebody holds it or removed the file meanwhile."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:  # a cleanup removed the directory just now
        return None
    except OSError as error:
        raise HostError(
            f"the lock cannot be opened: {error.strerror}",
            where=str(path),
            remedy="run as the agent's user or as root",
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # a predecessor may have removed the file between our open and our lock: then we hold a lock nobody
        # sees
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None


def _held(directory: RunDirectory) -> HeldError:
    found = _read(directory.lock_file)
    if found is None:
        return HeldError("another agent runs under this name", pid=0, where=f"agent {directory.name}")
    process = found.process
    return HeldError(
        f"process {process.pid} holds it since {found.since}: {process.command}",
        pid=process.pid,
        where=f"agent {directory.name}",
        remedy=f"`ebpfmesh stop {directory.name}`, or run under another name",
    )


def holder(directory: RunDirectory) -> Holder | None:
    """Who holds the lock now; None if nobody does. Takes nothing that a starting agent would notice.

    Errors: HostError if the lock may not be opened; HeldError if it is held by a process that left no
    signature.
    """
    try:
        descriptor = os.open(directory.lock_file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise HostError(
            f"the lock cannot be read: {error.strerror}", where=str(directory.lock_file), remedy="run as root"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        found = _read(directory.lock_file)
        if found is None:
            time.sleep(0.02)  # it signs right after it locked
            found = _read(directory.lock_file)
        if found is None:
            raise _held(directory) from None
        return found
    else:
        return None
    finally:
        os.close(descriptor)


def _read(path: Path) -> Holder | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Holder)
    except (OSError, msgspec.DecodeError):
        return None
