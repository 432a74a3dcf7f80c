"""Network namespaces: entering one for the length of a call, and making one.

A namespace belongs to a thread, so everything here happens in a thread of its own and no other thread
notices.
"""

from __future__ import annotations

import errno
import os
import platform
import threading
from collections.abc import Callable
from typing import TypeVar

from ebpfmesh.errors import HostError
from ebpfmesh.lowlevel.libbpf import failure, ffi, libc

T = TypeVar("T")

# os.setns and os.unshare exist from Python 3.12 on only
_NR = {"x86_64": {"setns": 308, "unshare": 272}, "aarch64": {"setns": 268, "unshare": 97}}
_CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h


def current() -> int:
    """A new descriptor of the calling thread's network namespace, for the caller to close."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def create() -> int:
    """A descriptor of a new network namespace, which lives until it is closed and its last socket is gone.

    Errors: CapabilityError without CAP_SYS_ADMIN.
    """

    def make() -> int:
        _call("unshare", _CLONE_NEWNET)
        return current()

    return _in_thread(make)


def open_namespace(target: str | os.PathLike[str]) -> int:
    """A descriptor of the network namespace at a path such as /run/netns/NAME or /proc/PID/ns/net.

    Errors: HostError if it cannot be opened.
    """
    try:
        return os.open(target, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise HostError(
            f"the network namespace cannot be opened: {error.strerror}", where=str(target)
        ) from error


def inside(namespace: int | None, function: Callable[[], T]) -> T:
    """``function()`` in the namespace behind the descriptor; None, or the thread's own, is a plain call.

    Errors: those of ``function``; CapabilityError without CAP_SYS_ADMIN.
    """
    if namespace is None or _is_current(namespace):
        return function()

    def run() -> T:
        _call("setns", namespace, _CLONE_NEWNET)
        return function()

    return _in_thread(run)


def _is_current(namespace: int) -> bool:
    there, here = os.fstat(namespace), os.stat("/proc/thread-self/ns/net")  # noqa: PTH116 - a pair of stat results
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _call(name: str, *arguments: int) -> None:
    number = _NR[platform.machine()][name]
    if libc().syscall(ffi.cast("long", number), *(ffi.cast("int", value) for value in arguments)) < 0:
        if ffi.errno == errno.EINVAL:
            raise HostError("this is not a network namespace", where=name)
        raise failure(f"{name} of a network namespace", ffi.errno, needs="CAP_SYS_ADMIN")


def _in_thread(function: Callable[[], T]) -> T:
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(function())
        except BaseException as error:  # carried to the caller
            errors.append(error)

    thread = threading.Thread(target=run, name="netns", daemon=True)
    thread.start()
    thread.join()
    if errors:
        try:
            raise errors[0]
        finally:
            errors.clear()  # the traceback refers to this frame: no reference cycle may keep descriptors open
    return results[0]
