"""Whether this kernel can carry the connect tier: one line for each thing it lacks, and 1 if it lacks any. Needs root."""

from __future__ import annotations

import sys

from ebpfmesh import features
from ebpfmesh.errors import EbpfMeshError

# what src/ebpfmesh/bpf/connect.bpf.c and its tier cannot do without; everything else has a fallback
NEEDED = (
    "cgroup_link",
    "mmapable_arrays",
    "sk_storage_sock_addr",
    "netns_cookie_sock_addr",
    "set_retval",
    "membarrier",
)


def main() -> int:
    """Probe all of NEEDED; what is missing goes to stderr."""
    lacking = 0
    for name in NEEDED:
        try:
            features.require(name, remedy="boot a newer kernel")
        except EbpfMeshError as error:
            print(f"host: {error}", file=sys.stderr)
            lacking = 1
    return lacking


if __name__ == "__main__":
    sys.exit(main())
