"""Who a client is, by its cgroup: paths of the configuration to the ids that the kernel tells."""

from __future__ import annotations

from pathlib import Path

from ebpfmesh.lowlevel.mount import cgroup2_mount


def find(path: str) -> int | None:
    """The id of the cgroup at ``path``, below the cgroup v2 mount or with it; None while there is none.

    A cgroup that is removed and made again has another id. Errors: HostError without cgroup v2.
    """
    mount = cgroup2_mount()
    given = Path(path)
    whole = given if given.is_relative_to(mount) else mount / path.lstrip("/")
    try:
        return whole.stat().st_ino
    except OSError:
        return None
