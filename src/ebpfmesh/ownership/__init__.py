"""Owning a mesh on a host: run directory, lock, owner record, pins, layout version, take-over, cleanup.

An agent calls `Ownership.acquire` once. It pins through ``ownership.pins`` (`PinDirectory.pin_map`,
`PinDirectory.pin_link`), which notes each pin as ours before it is made: a pin without a note is foreign and
never touched. `cleanup` removes what a dead agent left.
"""

from ebpfmesh.ownership.cgroup import Cgroup
from ebpfmesh.ownership.cleanup import Removed, cleanup
from ebpfmesh.ownership.layout import LAYOUT_VERSION
from ebpfmesh.ownership.lock import Holder, Lock, holder
from ebpfmesh.ownership.owner import OwnerRecord
from ebpfmesh.ownership.ownership import Ownership
from ebpfmesh.ownership.pins import PinDirectory, Survey
from ebpfmesh.ownership.run_directory import RUN_ROOT, RunDirectory, names

__all__ = [
    "LAYOUT_VERSION", "RUN_ROOT", "Cgroup", "Holder", "Lock", "OwnerRecord", "Ownership", "PinDirectory",
    "Removed", "RunDirectory", "Survey", "cleanup", "holder", "names",
]  # fmt: skip
