"""Objects: the programs and maps of one .bpf.o, loaded together and closed together.

    with objects.load("mine.bpf.o", constants={"limit": 10}) as loaded:
        loaded.maps["counters"][0]

``load`` does it; ``program`` and ``variable`` are what it gives beside maps; ``reuse`` compares a map that is there
with the declared one; ``open_object`` holds libbpf's half; ``verifier`` reads the verifier's log.
"""

from ebpfmesh.objects.load import Objects, load
from ebpfmesh.objects.program import Program, ProgramInfo

__all__ = ["Objects", "Program", "ProgramInfo", "load"]
