"""The owner record, ``<run root>/<name>/owner.json``: who made what is pinned, of which version, on which
cgroup.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from ebpfmesh.ownership import atomic
from ebpfmesh.ownership.process import Process, boot_id


class OwnerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent left about itself.

    ``objects`` maps the name of each loaded object to the SHA-256 of its file; ``started`` is UTC, ISO 8601;
    ``state`` is ``kept`` after a stop that left the data path in place. Fields of later versions are
    ignored: a record must stay readable for the agent that refuses it.
    """

    layout_version: int
    version: str
    process: Process
    cgroup: str
    cgroup_id: int
    bpffs: str
    pins: str
    started: str
    objects: dict[str, str] = {}
    state: Literal["running", "kept"] = "running"

    @property
    def pid(self) -> int:
        """The process that wrote the record; `alive` says whether it still runs."""
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether the process that wrote the record still runs, and is not another one with its pid."""
        return self.process.alive

    @property
    def this_boot(self) -> bool:
        """Whether it was written since the kernel started: pins and links of another boot are gone."""
        return self.process.boot_id == boot_id()

    @classmethod
    def read(cls, path: Path) -> OwnerRecord | None:
        """The record at ``path``; None if there is none, or none that can be read."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
            return None

    def write(self, path: Path) -> None:
        """Write it to ``path``, atomically."""
        atomic.write(path, msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")
