"""The notices of MSG_ZEROCOPY: one number a call, by which programs know whose pages are free."""

from __future__ import annotations

import mmap
import select
import socket
import struct

from ebpfmesh.tiers.l7.behaviour.probe import Probe, UnlikeError, expect
from ebpfmesh.tiers.l7.behaviour.site import Site, Verdict, noise, patience, take
from ebpfmesh.tiers.l7.behaviour.zerocopy import MSG_ZEROCOPY, SO_ZEROCOPY

_SIZE = 80_000  # more than the 32 KiB of one page fragment


def _run(site: Site) -> None:
    site.says(Verdict.FORWARDS, pulls=4096)
    data = noise(_SIZE)
    with mmap.mmap(-1, _SIZE) as pages, site.connection() as (client, server):
        pages[:] = data
        client.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
        at = calls = 0
        with memoryview(pages) as view:
            while at < _SIZE:
                with view[at:] as part:
                    at += client.send(part, MSG_ZEROCOPY)
                calls += 1
        expect(take(server, _SIZE), data, "what the server gets by MSG_ZEROCOPY")
        expect(_last(client, calls), calls - 1, f"the number of the last notice of {calls} calls")


def _last(client: socket.socket, calls: int) -> int:
    """The highest number that a notice tells, once ``calls`` are told."""
    last, poll = -1, select.poll()
    poll.register(client, 0)
    while last < calls - 1:
        if not poll.poll(int(patience() * 1000)):
            raise UnlikeError("no notice that the pages are free")
        _, ancillary, _, _ = client.recvmsg(0, 512, socket.MSG_ERRQUEUE)
        last = max(last, *struct.unpack_from("=2I", ancillary[0][2], 8))
    return int(last)


PROBE = Probe(
    name="zerocopy_notices",
    proves="the notices of MSG_ZEROCOPY count calls of send()",
    run=_run,
    remedy="keep programs that number their MSG_ZEROCOPY calls out of the mesh's cgroups, or their services without l7",
)
