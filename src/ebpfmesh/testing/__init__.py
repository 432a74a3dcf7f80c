"""For tests of code that uses ebpfmesh: private cgroups, network namespaces and BPF file systems.

All of it works on the real kernel, needs root, and cleans up after itself. Nothing here touches the root
cgroup or the host's interfaces.
"""

from ebpfmesh.testing.bpffs import private_bpffs
from ebpfmesh.testing.cgroup import PrivateCgroup, private_cgroup
from ebpfmesh.testing.compile import compile_bpf
from ebpfmesh.testing.netns import NetNs, private_netns, veth_pair
from ebpfmesh.testing.wait import eventually

__all__ = [
    "NetNs",
    "PrivateCgroup",
    "compile_bpf",
    "eventually",
    "private_bpffs",
    "private_cgroup",
    "private_netns",
    "veth_pair",
]
