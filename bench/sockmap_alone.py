"""The floor under every L7 figure: clients' sockets in a sockmap, under programs that pass everything.

No sk_msg program that judges requests can be faster than this, whoever writes it: what lies between direct and this is
the kernel's own way of a message through such a socket; what lies between this and the mesh is the mesh's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ebpfmesh import hooks, objects
from ebpfmesh.spec import ObjectSpec
from ebpfmesh.testing import compile_bpf

if TYPE_CHECKING:
    from bench.ground import Ground
    from ebpfmesh.maps import Map

CGROUP = "sockmap"
_SOURCE = Path(__file__).resolve().parent / "native/sockmap_alone.bpf.c"


@contextmanager
def attached(here: Ground) -> Iterator[Map]:
    """The programs on the `sockmap` cgroup; the map holds 1 for each direction that was seen: sent, received."""
    spec = ObjectSpec.from_bytes(compile_bpf(_SOURCE.read_text()), name="sockmap_alone")
    with ExitStack() as stack:
        loaded = stack.enter_context(objects.load(spec))
        sockets = loaded.maps["sockets"]
        stack.enter_context(hooks.SK_MSG.attach(loaded.programs["sent"], sockets))
        stack.enter_context(hooks.SK_SKB_STREAM_VERDICT.attach(loaded.programs["received"], sockets))
        stack.enter_context(hooks.SOCKOPS.attach(loaded.programs["enrol"], here.cgroups[CGROUP].path))
        yield loaded.maps["messages"]
