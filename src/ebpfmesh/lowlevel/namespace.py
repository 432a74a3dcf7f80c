"""Network namespaces: their cookies, and running a function inside one."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from ebpfmesh.errors import CapabilityError, HostError, KernelError
from ebpfmesh.lowlevel.libbpf import failure, ffi, libc

T = TypeVar("T")

_SO_NETNS_COOKIE = 71  # include/uapi/asm-generic/socket.h; kernel 5.14 (commit e8b9eab99232)
_CLONE_NEWNET = 0x40000000
_NR_SETNS = {"x86_64": 308, "aarch64": 268}


def cookie() -> int:
    """The cookie of the calling thread's network namespace. Minimum kernel: 5.14."""
    with socket.socket(socket.AF_UNIX) as any_socket:
        value: int = struct.unpack("=Q", any_socket.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8))[0]
    return value


def cookie_of(path: str | Path) -> int:
    """The cookie of the namespace at ``path`` (``/run/netns/NAME``, ``/proc/PID/ns/net``).

    Errors: HostError if there is no namespace; CapabilityError. Capabilities: CAP_SYS_ADMIN.
    """
    return inside(path, cookie)


def inside(path: str | Path, function: Callable[[], T]) -> T:
    """Run ``function`` in a thread that has entered the namespace at ``path``; the caller's own is not touched."""
    with ThreadPoolExecutor(1, thread_name_prefix="netns") as pool:  # the thread ends here, so nothing enters it later
        return pool.submit(_enter_and_run, str(path), function).result()


def find(wanted: int) -> Path | None:
    """A path of the namespace whose cookie is ``wanted``, among those that a process or /run/netns holds; else None."""
    seen: set[int] = set()
    for path in _candidates():
        try:
            inode = path.stat().st_ino
            if inode not in seen and cookie_of(path) == wanted:
                return path
            seen.add(inode)
        except (OSError, HostError, KernelError, CapabilityError):
            continue  # the process ended, or is not ours to look into
    return None


def _candidates() -> Iterator[Path]:
    yield Path("/proc/self/ns/net")
    named = Path("/run/netns")
    yield from named.iterdir() if named.is_dir() else ()
    for process in os.scandir("/proc"):
        if process.name.isdigit():
            yield Path(process.path, "ns/net")


def _enter_and_run(path: str, function: Callable[[], T]) -> T:
    import platform

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise HostError(f"no network namespace there: {error.strerror}", where=path, remedy="ip netns list") from error
    try:
        number = ffi.cast("long", _NR_SETNS[platform.machine()])
        if libc().syscall(number, ffi.cast("int", descriptor), ffi.cast("int", _CLONE_NEWNET)) < 0:
            raise failure(f"setns({path})", ffi.errno, needs="CAP_SYS_ADMIN")
    finally:
        os.close(descriptor)
    return function()
