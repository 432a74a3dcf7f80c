"""What every probe does: try, and turn the kernel's answer into a `State`."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from ebpfmesh.errors import CapabilityError, EbpfMeshError, KernelError
from ebpfmesh.features.feature import HERE, State

# What a kernel answers that does not know a command, a flag, a program, map or attach type, or an option
# (524 is ENOTSUPP, which the kernel's BPF code lets out although user space has no name for it).
UNKNOWN_TO_KERNEL = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.E2BIG, errno.ENOENT, 524})


def trial(attempt: Callable[[], object], absent: frozenset[int] = UNKNOWN_TO_KERNEL) -> State:
    """Run ``attempt``: its success is True, an errno of ``absent`` False, anything else unknown.

    EPERM with every capability held is a conclusive no: the kernel was built to refuse (kernel lockdown, no
    tracing).
    """
    try:
        attempt()
    except CapabilityError as error:
        return State(None, str(error))
    except KernelError as error:
        if error.errno in absent or error.errno == errno.EPERM:
            return State(False, str(error))
        return State(None, str(error))
    except (EbpfMeshError, OSError) as error:
        return State(None, f"the probe could not be made: {error}")
    return HERE


@contextmanager
def closing(fd: int) -> Iterator[int]:
    """The descriptor, closed at the end."""
    import os

    try:
        yield fd
    finally:
        os.close(fd)


__all__ = ["UNKNOWN_TO_KERNEL", "closing", "partial", "trial"]
