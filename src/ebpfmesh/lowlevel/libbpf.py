"""libbpf.so.1, loaded at the first use: ``ffi`` and ``lib``, its messages, and the check of its results."""

from __future__ import annotations

import errno as _errno
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from ebpfmesh.errors import CapabilityError, HostError, KernelError
from ebpfmesh.lowlevel.capabilities import missing

try:
    from ebpfmesh.lowlevel._libbpf import ffi
except ModuleNotFoundError as error:  # a source tree that was never built
    raise HostError("ebpfmesh was not built", remedy="run `make build`, or `pip install .`") from error

__all__ = ["call", "ffi", "lib", "libc", "messages", "opts", "version"]

_LIBBPF = "libbpf.so.1"


@cache
def lib() -> Any:
    """The library. HostError with the package's name if it is not installed."""
    try:
        library = ffi.dlopen(_LIBBPF)
    except OSError as error:
        raise HostError(
            f"{_LIBBPF} cannot be loaded: {error}", remedy="install libbpf >= 1.0: apt-get install libbpf1"
        ) from error
    library.libbpf_set_print(_on_message)
    return library


@cache
def libc() -> Any:
    """The C library of this process."""
    return ffi.dlopen(None)


@cache
def version() -> tuple[int, int]:
    """The installed libbpf's version as (major, minor)."""
    return lib().libbpf_major_version(), lib().libbpf_minor_version()


_collecting: list[list[str]] = []


@ffi.callback("int(int, const char *, void *)")
def _on_message(level: int, format: Any, arguments: Any) -> int:
    """libbpf's print function: silent, unless somebody collects."""
    if level < 2 and _collecting:  # 0 warning, 1 information, 2 debug
        text = ffi.new("char[]", 4096)
        libc().vsnprintf(text, 4096, format, arguments)
        _collecting[-1].append(ffi.string(text).decode("utf-8", "replace").rstrip())
    return 0


@contextmanager
def messages() -> Iterator[list[str]]:
    """Collect libbpf's warnings for the duration of a call (of this process: libbpf has one print function)."""
    lines: list[str] = []
    lib()
    _collecting.append(lines)
    try:
        yield lines
    finally:
        # by identity: two collectors that heard nothing yet are equal
        _collecting[:] = [one for one in _collecting if one is not lines]


def opts(type_name: str, **fields: Any) -> Any:
    """A zeroed option struct ``struct TYPE_NAME`` with ``sz`` and the given fields set."""
    struct = ffi.new(f"struct {type_name} *")
    struct.sz = ffi.sizeof(struct[0])
    for name, value in fields.items():
        setattr(struct, name, value)
    return struct


def call(name: str, *arguments: Any, what: str = "", needs: str = "CAP_BPF") -> int:
    """Call ``name`` and return its non-negative result.

    Errors: CapabilityError on EPERM where a capability of ``needs`` (space-separated) is missing; KernelError
    otherwise, with the errno that libbpf returned.
    """
    result: int = getattr(lib(), name)(*arguments)
    if result >= 0:
        return result
    # libbpf >= 1.0 returns -errno; the thin wrappers return -1 and set errno, which is the same number
    number = -result if result != -1 or ffi.errno in (0, 1) else ffi.errno
    raise failure(what or name, number, needs=needs)


def failure(what: str, number: int, *, needs: str = "CAP_BPF") -> KernelError | CapabilityError:
    """The error for errno ``number``: EPERM is explained by the missing capability."""
    if number == _errno.EPERM and (lacking := missing(needs.split())):
        return CapabilityError(
            f"{what}: operation not permitted",
            remedy=f"needs {', '.join(lacking)}: run as root, or grant it with setcap or systemd's AmbientCapabilities",
        )
    return KernelError(what, errno=number)
