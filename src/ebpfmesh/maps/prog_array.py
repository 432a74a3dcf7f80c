"""Program arrays: what a tail call jumps to."""

from __future__ import annotations

from ebpfmesh.maps.of_descriptors import MapOfDescriptors


class ProgramArrayMap(MapOfDescriptors[int]):
    """BPF_MAP_TYPE_PROG_ARRAY: written with programs, read as their ids; an empty element is a missing key.

    All its programs are of one type and attach type (commit 4540aed51b12 and before). The kernel empties it when the last
    descriptor or pin of the *map* goes, even while programs use it: pin it, or keep it open.

    Minimum kernel: 4.2 (commit 04fd61ab36ec), ids 4.13. Capabilities: CAP_BPF.
    """

    array_keys = True
