"""What a program is attached to: a cgroup, a network namespace, an interface, a map."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ebpfmesh.errors import HostError
from ebpfmesh.lowlevel import netns
from ebpfmesh.lowlevel.netlink import Netlink


@runtime_checkable
class HasDescriptor(Protocol):
    """Anything with an open descriptor: a map, a cgroup or namespace of `ebpfmesh.testing`."""

    @property
    def fd(self) -> int: ...


Cgroup = str | os.PathLike[str] | int | HasDescriptor
Namespace = str | os.PathLike[str] | int | HasDescriptor


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface by name or index, in the network namespace at a path or descriptor; None is the caller's own."""

    interface: str | int
    netns: Namespace | None = None

    def __str__(self) -> str:
        name = f"interface {self.interface}"
        return name if self.netns is None else f"{name} in namespace {self.netns}"


@contextmanager
def open_cgroup(target: Cgroup) -> Iterator[tuple[int, str]]:
    """A descriptor of the cgroup and its name in messages. Errors: HostError if it cannot be opened."""
    if not isinstance(target, str | os.PathLike):
        fd = target if isinstance(target, int) else target.fd
        # /proc knows the path of an open directory, which is what a message and a later opening need
        yield fd, f"cgroup {os.readlink(f'/proc/self/fd/{fd}')}"  # noqa: PTH115
        return
    try:
        fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise HostError(
            f"the cgroup cannot be opened: {error.strerror}",
            where=f"cgroup {os.fspath(target)}",
            remedy="give the path of a cgroup v2 directory",
        ) from error
    try:
        yield fd, f"cgroup {os.fspath(target)}"
    finally:
        os.close(fd)


@contextmanager
def open_namespace(target: Namespace | None) -> Iterator[tuple[int, str]]:
    """A descriptor of the network namespace (None: the caller's) and its name in messages. Errors: HostError."""
    if isinstance(target, int):
        yield target, f"network namespace {os.fstat(target).st_ino}"
        return
    if target is not None and not isinstance(target, str | os.PathLike):
        yield target.fd, f"network namespace {os.fstat(target.fd).st_ino}"
        return
    fd = netns.current() if target is None else netns.open_namespace(target)
    try:
        yield fd, f"network namespace {os.fstat(fd).st_ino if target is None else os.fspath(target)}"
    finally:
        os.close(fd)


@dataclass(frozen=True, slots=True)
class OpenInterface:
    """An interface found: its namespace's descriptor, its index, and its name in messages."""

    namespace: int
    index: int
    where: str


@contextmanager
def open_interface(target: str | int | Interface) -> Iterator[OpenInterface]:
    """Find the interface. Errors: HostError if there is none of that name or index."""
    wanted = target if isinstance(target, Interface) else Interface(target)
    with open_namespace(wanted.netns) as (namespace, _), Netlink(namespace) as route:
        if isinstance(wanted.interface, int):
            index, name = wanted.interface, route.interface_name(wanted.interface)
        else:
            index, name = route.interface_index(wanted.interface), wanted.interface
        yield OpenInterface(namespace, index, f"interface {name}")
