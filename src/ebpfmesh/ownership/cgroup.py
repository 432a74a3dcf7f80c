"""The cgroup that a mesh is attached to: found, checked, identified, held open."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

from ebpfmesh.errors import ConfigError
from ebpfmesh.lowlevel.mount import cgroup2_mount, mounts


class Cgroup:
    """A cgroup v2 directory, held open: ``path``, ``id`` (never used again by the kernel), ``fd``.

    A cgroup that is removed and made again under the same path has another id. Source: the inode number of a
    cgroup directory is the id that bpf_link and bpf_get_current_cgroup_id() report (kernel commit
    67c0496e87d1, 5.5).
    """

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd
        self.id = os.fstat(fd).st_ino

    @classmethod
    def open(cls, path: str | Path, *, allow_root: bool = False, where: str = "$.cgroup") -> Cgroup:
        """Open the cgroup at ``path``: a directory, or a path below the cgroup v2 mount such as
        ``/system.slice``.

        Errors: HostError without cgroup v2; ConfigError if there is no such cgroup, if it is one of cgroup
        v1, or if it is the root cgroup, which holds every process of the host, and ``allow_root`` is false.
        """
        mount = cgroup2_mount()
        resolved = _resolve(Path(path), mount, where)
        try:
            fd = os.open(resolved, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise ConfigError(
                f"the cgroup {resolved} cannot be opened: {error.strerror}", where=where
            ) from error
        try:
            if not _is_version_2(os.fstat(fd)):
                raise ConfigError(
                    f"{resolved} is not a cgroup of version 2",
                    where=where,
                    remedy=f"those are below {mount}",
                )
            if not allow_root and _is_root(resolved, fd):
                raise ConfigError(
                    f"{resolved} is the root cgroup: the mesh would take every process of the host",
                    where=where,
                    remedy="name a cgroup below it, or set allow_root_cgroup = true",
                )
        except BaseException:
            os.close(fd)
            raise
        return cls(resolved, fd)

    @property
    def replaced(self) -> bool:
        """Whether another cgroup has the path now; False while there is none."""
        try:
            return self.path.stat().st_ino != self.id
        except OSError:
            return False

    def close(self) -> None:
        """Close the descriptor."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Cgroup:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _resolve(path: Path, mount: Path, where: str) -> Path:
    below = mount / str(path).lstrip("/")
    if path.is_absolute() and path.is_dir() and _is_version_2(path.stat()):
        return path.resolve()
    if below.is_dir():
        return below.resolve()
    if path.is_absolute() and path.is_dir():
        return path  # something, but no cgroup of version 2: the caller says so
    remedy = f"mkdir {path if path.is_relative_to(mount) else below}"
    raise ConfigError(f"there is no cgroup {path}", where=where, remedy=remedy)


def _is_version_2(found: os.stat_result) -> bool:
    return f"{os.major(found.st_dev)}:{os.minor(found.st_dev)}" in [
        mount.device for mount in mounts("cgroup2")
    ]


def _is_root(path: Path, fd: int) -> bool:
    # cgroup.type is absent on the root only (CFTYPE_NOT_ON_ROOT); a mount point is the root of a cgroup
    # namespace
    at_mount = any(
        os.path.samestat(os.fstat(fd), mount.point.stat())
        for mount in mounts("cgroup2")
        if mount.point.exists()
    )
    return at_mount or not (path / "cgroup.type").exists()
