"""Where cgroup v2 is mounted: at /sys/fs/cgroup, or at /sys/fs/cgroup/unified on a hybrid host."""

from __future__ import annotations

import re
from pathlib import Path

from ebpfmesh.errors import HostError


def cgroup2_mount() -> Path:
    """The directory at which this process sees the root of cgroup v2, from /proc/self/mountinfo.

    Errors: HostError if no cgroup2 file system is mounted.
    """
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            # mountinfo writes blanks in a path as octal escapes (Documentation/filesystems/proc.rst)
            return Path(re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), before.split()[4]))
    raise HostError("cgroup v2 is not mounted", remedy="mount -t cgroup2 none /sys/fs/cgroup/unified")
