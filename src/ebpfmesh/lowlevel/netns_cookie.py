"""Network namespaces by cookie: BPF programs know a namespace by its cookie, system calls by a descriptor."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from ebpfmesh.errors import CapabilityError, HostError, KernelError
from ebpfmesh.lowlevel import netns

_SO_NETNS_COOKIE = 71  # include/uapi/asm-generic/socket.h; kernel 5.14 (commit e8b9eab99232)


def current() -> int:
    """The cookie of the calling thread's network namespace. Minimum kernel: 5.14."""
    with socket.socket(socket.AF_UNIX) as any_socket:
        value: int = struct.unpack("=Q", any_socket.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8))[0]
    return value


def cookie_of(path: str | Path) -> int:
    """The cookie of the namespace at ``path`` (``/run/netns/NAME``, ``/proc/PID/ns/net``).

    Errors: HostError if there is no namespace; CapabilityError. Capabilities: CAP_SYS_ADMIN.
    """
    descriptor = netns.open_namespace(path)
    try:
        return netns.inside(descriptor, current)
    finally:
        os.close(descriptor)


def find(cookie: int) -> int | None:
    """A new descriptor of the namespace with that cookie; None if no process, thread, descriptor or name leads to it."""
    seen: set[int] = set()
    for path in _candidates():
        try:
            inode = path.stat().st_ino
            if inode in seen:
                continue
            seen.add(inode)
            if cookie_of(path) == cookie:
                return netns.open_namespace(path)
        except (OSError, HostError, KernelError, CapabilityError):
            continue  # the process ended, it is no network namespace, or not ours to look into
    return None


def _candidates() -> Iterator[Path]:
    """From the cheap and likely to the rest: named ones, processes, their threads, namespaces held open by a descriptor."""
    named = Path("/run/netns")
    yield from named.iterdir() if named.is_dir() else ()
    processes = [Path(entry.path) for entry in os.scandir("/proc") if entry.name.isdigit()]
    for process in processes:
        yield process / "ns/net"
    for process in processes:
        for thread in _entries(process / "task"):
            yield thread / "ns/net"
    for process in processes:
        for descriptor in _entries(process / "fd"):
            try:
                if str(descriptor.readlink()).startswith("net:["):
                    yield descriptor
            except OSError:
                continue


def _entries(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:
        return []
