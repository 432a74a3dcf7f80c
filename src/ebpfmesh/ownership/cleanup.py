"""Removing what an agent left: its pins, its records, its directories; never while it lives, never what is
not ours.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from ebpfmesh.ownership import bpffs as bpf_file_system
from ebpfmesh.ownership.lock import Lock
from ebpfmesh.ownership.owner import OwnerRecord
from ebpfmesh.ownership.pins import PinDirectory
from ebpfmesh.ownership.run_directory import RUN_ROOT, RunDirectory


class Removed(msgspec.Struct, kw_only=True):
    """What a cleanup removed, by name, and what it left, with the reason."""

    name: str
    links: list[str] = []
    maps: list[str] = []
    left: list[str] = []
    draining: int = 0
    """Connections that are still open and need a few pins, which stay until they have closed."""
    found: bool = False


def pin_directories(
    name: str, run_root: str | Path = RUN_ROOT, bpffs: str | Path | None = None
) -> list[PinDirectory]:
    """Where pins of ``name`` are: in ``bpffs`` if given, the bpffs of its record, the usual one, our own.
    Existing ones only.
    """
    record = OwnerRecord.read(RunDirectory(name, run_root).owner_file)
    points = [Path(bpffs)] if bpffs is not None else []
    if record is not None and record.this_boot:
        points.append(Path(record.bpffs))
    points += [bpf_file_system.USUAL, bpf_file_system.own_mount_point(Path(run_root))]
    directories = [PinDirectory(point, name) for point in dict.fromkeys(points)]
    return [directory for directory in directories if directory.exists()]


def cleanup(
    name: str,
    run_root: str | Path = RUN_ROOT,
    bpffs: str | Path | None = None,
    *,
    first: Callable[[PinDirectory], int] | None = None,
) -> Removed:
    """Remove the pins (links first, then maps), the record and the directories that the dead agent ``name``
    left.

    ``first`` is called with each pin directory, under the lock, to end what cannot just be removed; it returns how many
    connections still need what it set aside. Works without a record too. What is not ours stays and is named in
    ``left``. Errors: HeldError with the pid while the agent lives; ConfigError of the name; CapabilityError, HostError.
    """
    run_directory = RunDirectory(name, run_root)
    removed = Removed(name=name)
    there = run_directory.path.exists()
    directories = pin_directories(name, run_root, bpffs)
    if not there and not directories:
        return removed
    removed.found = True
    lock = Lock.take(run_directory)
    done = False
    try:
        for pins in directories:
            if first is not None:
                removed.draining += first(pins)
            found = pins.remove()
            removed.links += [key.removeprefix("links/") for key in found.ours if key.startswith("links/")]
            removed.maps += [key.removeprefix("maps/") for key in found.ours if key.startswith("maps/")]
            removed.left += [f"{path}: {what}" for path, what in found.foreign.items()]
        run_directory.remove_records()
        if notice := bpf_file_system.tidy(run_directory.root, [pins.bpffs for pins in directories]):
            removed.left.append(notice)
        done = True
    finally:
        lock.release(remove=done or not there)
    return removed
