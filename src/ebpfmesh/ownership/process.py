"""Which process it is: a pid alone is reused, a pid with its start time, boot and pid namespace is not."""

from __future__ import annotations

import os
import select
import signal
from functools import cache
from pathlib import Path

import msgspec

from ebpfmesh.errors import CapabilityError


class Process(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The identity of a process.

    ``start_time`` is field 22 of /proc/PID/stat, in clock ticks since boot; ``pid_namespace`` the inode of
    its pid namespace, in which ``pid`` is counted.
    """

    pid: int
    start_time: int
    boot_id: str
    pid_namespace: int
    command: str

    @classmethod
    def current(cls) -> Process:
        """This process."""
        pid = os.getpid()
        return cls(pid, start_time(pid) or 0, boot_id(), pid_namespace(), command(pid))

    @property
    def alive(self) -> bool:
        """Whether this very process runs. False also for one of another pid namespace: it cannot be seen
        from here.
        """
        return self.visible and start_time(self.pid) == self.start_time

    @property
    def visible(self) -> bool:
        """Whether its pid means anything here: it is of this boot and of this pid namespace."""
        return self.boot_id == boot_id() and self.pid_namespace == pid_namespace()

    def stop(self, timeout: float) -> bool:
        """SIGTERM to exactly this process, then wait up to ``timeout`` seconds: whether it is gone.

        The pidfd is opened before the start time is compared, so a reused pid is never signalled.
        Errors: CapabilityError if we may not signal it. Minimum kernel: 5.3 (pidfd_open, 32fcb426ec00).
        """
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            if not self.alive:
                return True
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            return bool(poll.poll(timeout * 1000))
        except ProcessLookupError:
            return True
        except PermissionError as error:
            raise CapabilityError(
                f"process {self.pid} may not be signalled", remedy="run as its user or as root"
            ) from error
        finally:
            os.close(descriptor)


@cache
def boot_id() -> str:
    """The identifier of this boot of the kernel."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def pid_namespace() -> int:
    """The inode of this process's pid namespace."""
    return Path("/proc/self/ns/pid").stat().st_ino


def start_time(pid: int) -> int | None:
    """When process ``pid`` started, in clock ticks since boot; None if there is none, or it is a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(")") + 2 :].split()  # the command may hold spaces and brackets
    return None if fields[0] in "ZX" else int(fields[19])


def command(pid: int) -> str:
    """The command line of process ``pid``, at most 200 characters."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return " ".join(raw.decode("utf-8", "replace").rstrip("\0").split("\0"))[:200]
