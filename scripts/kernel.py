"""Whether this kernel can carry the connect tier: one line for each thing it lacks, and 1 if it lacks any. Needs root."""

from __future__ import annotations

import sys

from ebpfmesh import features
from ebpfmesh.errors import EbpfMeshError
from ebpfmesh.tiers.connect.needs import FEATURES as NEEDED


def main() -> int:
    """Probe all that the connect tier needs; what is missing goes to stderr."""
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
