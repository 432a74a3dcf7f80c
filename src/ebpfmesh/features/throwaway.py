"""A cgroup and a network namespace that live as long as one probe: nothing real is attached to."""

from __future__ import annotations

import errno
import itertools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ebpfmesh.errors import HostError
from ebpfmesh.lowlevel import netns
from ebpfmesh.lowlevel.mount import cgroup2_mount

_numbers = itertools.count(1)


@contextmanager
def throwaway_cgroup() -> Iterator[int]:
    """A descriptor of a new, empty cgroup. Errors: HostError if none can be made."""
    path = cgroup2_mount() / f"ebpfmesh-probe-{os.getpid()}-{next(_numbers)}"
    try:
        path.mkdir()
    except OSError as error:
        raise HostError(
            f"no cgroup can be made: {error.strerror}",
            where=str(path),
            remedy="run as root, cgroup2 writable",
        ) from error
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)
        for _ in range(100):
            try:
                path.rmdir()
                break
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
                time.sleep(0.01)


@contextmanager
def throwaway_netns() -> Iterator[int]:
    """A descriptor of a new network namespace, in which only ``lo`` is, with interface index 1, down."""
    namespace = netns.create()
    try:
        yield namespace
    finally:
        os.close(namespace)
