"""Pinning a descriptor at a path of a BPF file system, and opening what is pinned there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from ebpfmesh.errors import CapabilityError, HostError, KernelError
from ebpfmesh.lowlevel import libbpf


def pin(fd: int, path: Path | str, where: str) -> None:
    """Pin ``fd`` at ``path``, whose directory is on a bpffs; ``where`` names what is pinned.

    Errors: HostError (the directory is missing, or not on a bpffs), KernelError (EEXIST).
    Minimum kernel: 4.4 (commit b2197755b263); CAP_BPF where unprivileged bpf(2) is off.
    """
    try:
        libbpf.call("bpf_obj_pin", fd, os.fsencode(path), what=f"pinning at {path}")
    except KernelError as error:
        if error.errno == errno.EEXIST:
            raise KernelError(
                f"{path} is taken",
                errno=error.errno,
                where=where,
                remedy="unpin what is there, or choose another path",
            ) from error
        raise _explain(error, Path(path), where) from error
    except CapabilityError as error:
        if Path(path).parent.is_dir() and not on_bpffs(Path(path).parent):
            raise _explain(KernelError("pin", errno=errno.EPERM), Path(path), where) from error
        raise


def open_pinned(path: Path | str, kind: str) -> int:
    """A new descriptor of the ``kind`` ("map", "prog" or "link") pinned at ``path``.

    Errors: HostError (nothing there, not a bpffs, or another kind of object), KernelError.
    Minimum kernel: 4.4.
    """
    where = f"pin {path}"
    try:
        fd = libbpf.call("bpf_obj_get", os.fsencode(path), what="opening")
    except KernelError as error:
        raise _explain(error, Path(path), where) from error
    found = kind_of(fd)
    if found != kind:
        os.close(fd)
        raise HostError(f"a {found} is pinned there, not a {kind}", where=where)
    return fd


def kind_of(fd: int) -> str:
    """What a descriptor is: "map", "prog", "link", "btf", or the name that /proc gives it.

    bpf(BPF_OBJ_GET_INFO_BY_FD) does not say, and would fill a map's struct with a program's numbers.
    """
    try:
        target = str(Path(f"/proc/self/fd/{fd}").readlink())
    except OSError as error:
        raise HostError(f"descriptor {fd} is not open") from error
    return target.removeprefix("anon_inode:").removeprefix("bpf-").removeprefix("bpf_")


def on_bpffs(directory: Path) -> bool:
    """Whether ``directory`` is on a BPF file system, by the mount table of this process."""
    try:
        device = os.stat(directory).st_dev  # noqa: PTH116 - the number that mountinfo shows
    except OSError:
        return False
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        if fields.split()[2] == wanted:
            return rest.split()[0] == "bpf"
    return False


def _explain(error: KernelError, path: Path, where: str) -> HostError | KernelError:
    if not path.parent.is_dir():
        return HostError(
            f"the directory {path.parent} does not exist", where=where, remedy="create it on a bpffs"
        )
    if not on_bpffs(path.parent):
        return HostError(
            f"{path.parent} is not on a BPF file system",
            where=where,
            remedy="mount one: mount -t bpf bpf DIRECTORY",
        )
    if error.errno == errno.ENOENT:
        return HostError(f"nothing is pinned at {path}", where=where)
    return KernelError(error.what, where=where, remedy=error.remedy) if not error.errno else error
