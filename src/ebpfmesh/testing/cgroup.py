"""A cgroup of one test: programs attached to it see only the processes and sockets that are put there."""

from __future__ import annotations

import itertools
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ebpfmesh.errors import HostError
from ebpfmesh.lowlevel.mount import cgroup2_mount

_PREFIX = "ebpfmesh-test-"  # then the process's id, which tells whose it is
_numbers = itertools.count(1)

# A shell moves itself before it becomes the command: every socket of the command is then of this cgroup,
# which a move after the start could not promise.
_MOVE_THEN_RUN = 'echo 0 > "$1/cgroup.procs" || exit 125; shift; exec "$@"'


class PrivateCgroup:
    """A cgroup v2 made for one test: its directory `path`, an open descriptor `fd` of it, its inode `id`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.id = path.stat().st_ino
        self._children: list[subprocess.Popen[Any]] = []

    def __repr__(self) -> str:
        return f"PrivateCgroup({str(self.path)!r})"

    @contextmanager
    def enter(self) -> Iterator[None]:
        """This process is in the cgroup for the duration; sockets made meanwhile stay of it for life."""
        before = cgroup2_mount() / _own_cgroup().lstrip("/")
        (self.path / "cgroup.procs").write_text("0")
        try:
            yield
        finally:
            (before / "cgroup.procs").write_text("0")

    def child(self, name: str) -> PrivateCgroup:
        """A cgroup below this one, removed together with it."""
        path = self.path / name
        path.mkdir()
        return PrivateCgroup(path)

    def popen(self, args: Sequence[str | os.PathLike[str]], **options: Any) -> subprocess.Popen[Any]:
        """Start ``args`` inside the cgroup; ended with SIGKILL at the removal of the cgroup if it still runs.

        ``options`` are those of `subprocess.Popen`.
        """
        command = ["/bin/sh", "-c", _MOVE_THEN_RUN, "sh", str(self.path), *(os.fspath(word) for word in args)]
        child = subprocess.Popen(command, **options)
        self._children.append(child)
        return child

    def run(self, args: Sequence[str | os.PathLike[str]], **options: Any) -> subprocess.CompletedProcess[Any]:
        """Run ``args`` inside the cgroup to its end; ``options`` are those of `subprocess.run`."""
        command = ["/bin/sh", "-c", _MOVE_THEN_RUN, "sh", str(self.path), *(os.fspath(word) for word in args)]
        return subprocess.run(command, check=options.pop("check", False), **options)

    def pids(self) -> list[int]:
        """The processes in the cgroup."""
        return [int(line) for line in (self.path / "cgroup.procs").read_text().split()]

    def remove(self, timeout: float = 5.0) -> None:
        """End the children that `popen` started, then remove the cgroup and those below it.

        ``timeout`` is how many seconds a busy cgroup is waited for.

        Errors: HostError if a process that is not ours is in it, or it stays busy.
        """
        for child in self._children:
            if child.poll() is None:
                child.kill()
            child.wait()
            for stream in (child.stdin, child.stdout, child.stderr):
                if stream is not None:
                    stream.close()
        with suppress(OSError):
            os.close(self.fd)
        if self.path.exists():
            _remove_tree(self.path, time.monotonic() + timeout)


@contextmanager
def private_cgroup(name: str | None = None) -> Iterator[PrivateCgroup]:
    """A new cgroup directly below the root, removed at the end; ``name`` replaces the generated name.

    Errors: HostError without cgroup v2; PermissionError without root.
    """
    mount = cgroup2_mount()
    path = mount / (name or f"{_PREFIX}{os.getpid()}-{next(_numbers)}")
    path.mkdir()
    cgroup = PrivateCgroup(path)
    try:
        yield cgroup
    finally:
        cgroup.remove()


def remove_stale() -> list[Path]:
    """Remove the empty cgroups of test processes that were killed; those that were removed."""
    removed = []
    for path in cgroup2_mount().glob(f"{_PREFIX}*"):
        pid = path.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            with suppress(OSError, HostError):  # somebody else removes it too, or a process is still in it
                _remove_tree(path, time.monotonic())
                removed.append(path)
    return removed


def _own_cgroup() -> str:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return line[3:]
    raise HostError("this process is in no cgroup v2", remedy="mount cgroup2")


def _remove_tree(path: Path, deadline: float) -> None:
    for below in sorted((child for child in path.rglob("*") if child.is_dir()), reverse=True):
        _remove(below, deadline)
    _remove(path, deadline)


def _remove(path: Path, deadline: float) -> None:
    """rmdir, again while EBUSY: a process that was waited for leaves its cgroup a moment later."""
    while True:
        try:
            path.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            if time.monotonic() > deadline:
                pids = (path / "cgroup.procs").read_text().split()
                raise HostError(
                    f"the cgroup stays busy: {error.strerror}",
                    where=str(path),
                    remedy=f"processes in it: {pids}",
                ) from error
            time.sleep(0.01)
        else:
            return
