"""The run directory of an agent, ``<run root>/<name>/``: the lock, the owner record, the configuration applied
last, and what the behaviour probes found.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from ebpfmesh.errors import HostError, OwnershipError
from ebpfmesh.ownership.name import RESERVED, check_name

RUN_ROOT = Path("/run/ebpfmesh")

_PATIENCE = 100  # attempts; each fails only if a cleanup ran in between


class RunDirectory:
    """Where the lock and the owner record of agent ``name`` are; nothing is made before `create`."""

    def __init__(self, name: str, root: str | Path = RUN_ROOT) -> None:
        self.name = check_name(name)
        self.root = Path(root)
        self.path = self.root / name
        self.lock_file = self.path / "lock"
        self.owner_file = self.path / "owner.json"
        self.applied_file = self.path / "applied.json"
        self.behaviour_file = self.path / "behaviour.json"

    def create(self) -> None:
        """Make the root and the directory, mode 0700, if they are absent.

        Errors: HostError if they cannot be made; OwnershipError if what is there is no directory, or belongs
        to another user, who could then replace the lock under us.
        """
        for _ in range(_PATIENCE):
            try:
                for directory in (self.root, self.path):
                    with suppress(FileExistsError):
                        directory.mkdir(mode=0o700, parents=directory == self.root)
                    _check_ours(directory, directory.lstat())
            except FileNotFoundError:  # a cleanup removed it between two of these steps
                continue
            except OSError as error:
                raise HostError(
                    f"the run directory cannot be made: {error.strerror}",
                    where=str(self.path),
                    remedy="run as root, or choose another run directory",
                ) from error
            return
        raise HostError(
            "the run directory cannot be made: nothing can be made there, or something removes it at once",
            where=str(self.path),
            remedy="choose another run directory",
        )

    def remove_records(self) -> None:
        """Remove the owner record, the applied configuration and what was measured; the lock stays."""
        for file in (self.owner_file, self.applied_file, self.behaviour_file):
            file.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the directory and, when it is then empty, the root; what holds other files stays."""
        for directory in (self.path, self.root):
            with suppress(OSError):  # not empty: other agents, or files that are not ours
                directory.rmdir()


def _check_ours(directory: Path, found: os.stat_result) -> None:
    if not stat.S_ISDIR(found.st_mode):
        raise OwnershipError(
            "not a directory", where=str(directory), remedy="remove it, or choose another name"
        )
    if found.st_uid not in (0, os.geteuid()):
        raise OwnershipError(
            f"belongs to user {found.st_uid}",
            where=str(directory),
            remedy="remove it, or choose another run directory",
        )
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        raise OwnershipError(
            "writable by everybody",
            where=str(directory),
            remedy="chmod 0700 it, or choose another run directory",
        )


def names(root: str | Path = RUN_ROOT) -> list[str]:
    """The names of the agents that have a run directory, alive or not, sorted."""
    try:
        # our own bpffs is no agent, and refuses even to look for a name with a dot
        entries = [entry for entry in Path(root).iterdir() if entry.name not in RESERVED]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError as error:
        raise HostError("the run directory cannot be read", where=str(root), remedy="run as root") from error
    return sorted(
        entry.name for entry in entries if (entry / "lock").exists() or (entry / "owner.json").exists()
    )
