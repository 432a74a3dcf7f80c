"""The mount table, and mounting a bpffs: mount(2) and umount2(2), which Python's library lacks."""

from __future__ import annotations

import platform
import re
from pathlib import Path
from typing import Any, NamedTuple

from ebpfmesh.errors import HostError
from ebpfmesh.lowlevel.libbpf import failure, ffi, libc

_NR = {"x86_64": (165, 166), "aarch64": (40, 39)}  # mount, umount2: the kernel's syscall tables
_MS_NOSUID_NODEV_NOEXEC = 2 | 4 | 8


class Mount(NamedTuple):
    """A line of /proc/self/mountinfo: the device as ``major:minor``, the root inside the file system, and
    where.
    """

    device: str
    root: str
    point: Path
    type: str


def mounts(file_system: str, table: str | Path = "/proc/self/mountinfo") -> list[Mount]:
    """The mounts of type ``file_system`` that this process sees, in the order of the mount table."""
    found = []
    for line in Path(table).read_text().splitlines():
        before, _, after = line.partition(" - ")  # a variable number of optional fields ends with the hyphen
        fields = before.split()
        if after.split(maxsplit=1)[0] == file_system:
            found.append(Mount(fields[2], _plain(fields[3]), Path(_plain(fields[4])), file_system))
    return found


def cgroup2_mount() -> Path:
    """Where this process sees cgroup v2: /sys/fs/cgroup, or /sys/fs/cgroup/unified on a hybrid host.

    Errors: HostError if it is not mounted.
    """
    found = mounts("cgroup2")
    if not found:
        raise HostError(
            "no cgroup v2 is mounted",
            remedy="mount -t cgroup2 none /sys/fs/cgroup, or boot with systemd.unified_cgroup_hierarchy=1",
        )
    return found[0].point


def _plain(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def mount_bpffs(point: Path) -> None:
    """Mount a bpffs at ``point``, mode 0700.

    Errors: CapabilityError, KernelError. Minimum kernel: 4.4. Capabilities: CAP_SYS_ADMIN.
    """
    source, target, options = _string("bpf"), _string(str(point)), _string("mode=0700")
    flags = ffi.cast("unsigned long", _MS_NOSUID_NODEV_NOEXEC)
    if libc().syscall(_number(0), source, target, source, flags, options) < 0:
        raise failure(f"mount bpffs at {point}", ffi.errno, needs="CAP_SYS_ADMIN")


def unmount(point: Path) -> None:
    """Unmount ``point``; KernelError EBUSY if it is in use. Capabilities: CAP_SYS_ADMIN."""
    target = _string(str(point))
    if libc().syscall(_number(1), target, ffi.cast("int", 0)) < 0:
        raise failure(f"unmount {point}", ffi.errno, needs="CAP_SYS_ADMIN")


def _string(text: str) -> Any:
    return ffi.new("char[]", text.encode())


def _number(index: int) -> Any:
    return ffi.cast("long", _NR[platform.machine()][index])
