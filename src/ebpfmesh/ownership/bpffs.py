"""Where pins can live: the host's bpffs, or one of our own under the run root."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ebpfmesh.errors import CapabilityError, HostError, KernelError
from ebpfmesh.lowlevel.mount import mount_bpffs, mounts, unmount
from ebpfmesh.lowlevel.pin import on_bpffs

USUAL = Path("/sys/fs/bpf")


def own_mount_point(run_root: Path) -> Path:
    """Where we mount a bpffs of our own when the host has none."""
    return run_root / "bpffs"


def is_mounted(point: Path) -> bool:
    """Whether a bpffs is mounted exactly at ``point``, and not hidden by another mount over it."""
    return point.resolve() in [mount.point for mount in mounts("bpf")] and on_bpffs(point)


def find(run_root: Path, preferred: Path | None = None) -> Path | None:
    """The bpffs to use, if one is mounted: ``preferred`` (a predecessor's), the usual place, our own. Mounts
    nothing.

    A bpffs mounted anywhere else is somebody's private one and is not used unless it is asked for.
    """
    candidates = [preferred] if preferred else []
    for point in [*candidates, USUAL, own_mount_point(run_root)]:
        if is_mounted(point):
            return point
    return None


def require(run_root: Path, *, asked: Path | None = None, preferred: Path | None = None) -> Path:
    """A mounted bpffs: the one that was ``asked`` for, else as `find`, else mount our own at ``<run
    root>/bpffs``.

    The caller holds `exclusive` until its directory is made: an agent that ends meanwhile would unmount an empty one.

    Errors: HostError if ``asked`` is no bpffs, or if ours cannot be mounted. Capabilities: CAP_SYS_ADMIN to
    mount.
    """
    if asked is not None:
        if not on_bpffs(asked):
            raise HostError("no bpffs is mounted there", where=str(asked), remedy=f"mount -t bpf bpf {asked}")
        return asked
    if found := find(run_root, preferred):
        return found
    point = own_mount_point(run_root)
    try:
        point.mkdir(mode=0o700, exist_ok=True)
        mount_bpffs(point)
    except (OSError, CapabilityError, KernelError) as error:
        raise HostError(
            f"no bpffs is mounted, and ours cannot be: {error}",
            where=str(point),
            remedy=f"as root: mount -t bpf bpf {USUAL}",
        ) from error
    return point


def tidy(run_root: Path, used: Iterable[Path] = ()) -> str | None:
    """Remove what is empty: ``ebpfmesh`` in each bpffs that was ``used``, and our own bpffs; a notice if that stays.

    Unmounting drops every pin, so it happens only when nothing at all is in it, under the lock that pin directories are
    made under.
    """
    point = own_mount_point(run_root)
    with exclusive(run_root):
        for bpffs in {*used, point}:
            with suppress(OSError):  # absent, or it holds pins of others
                (bpffs / "ebpfmesh").rmdir()
        if is_mounted(point):
            # a name with a dot is the kernel's own: maps.debug, progs.debug (d71fa5c9763c)
            if any("." not in entry.name for entry in point.iterdir()):
                return None
            try:
                unmount(point)
            except (CapabilityError, KernelError) as error:
                return f"our own bpffs stays mounted: {error}"
        with suppress(OSError):
            point.rmdir()
    return None


def pinned_names(run_root: Path, asked: Path | None = None) -> list[str]:
    """The names that have a pin directory in the bpffs that is asked for, the usual one or our own; sorted.

    Errors: HostError if one may not be read.
    """
    found: set[str] = set()
    for point in filter(None, (asked, USUAL, own_mount_point(run_root))):
        try:
            found.update(entry.name for entry in (point / "ebpfmesh").iterdir())
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            raise HostError("the pins may not be listed", where=str(point), remedy="run as root") from error
    return sorted(found)


@contextmanager
def exclusive(run_root: Path) -> Iterator[None]:
    """Hold the run root's own lock: for mounting, unmounting, and for making a directory in the bpffs."""
    descriptor = os.open(run_root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
