"""MSG_ZEROCOPY: the pages of the sender, and the notice that it may have them back."""

from __future__ import annotations

import mmap
import select
import socket
import struct

from ebpfmesh.tiers.l7.behaviour.probe import Probe, UnlikeError, expect
from ebpfmesh.tiers.l7.behaviour.site import Site, Verdict, noise, patience, take

SO_ZEROCOPY, MSG_ZEROCOPY = 60, 0x4000000  # include/uapi/asm-generic/socket.h, include/linux/socket.h
_SIZE = 16_384
_ORIGIN = 5  # SO_EE_ORIGIN_ZEROCOPY


def _run(site: Site) -> None:
    site.says(Verdict.FORWARDS, pulls=4096)
    data = noise(_SIZE)
    with mmap.mmap(-1, _SIZE) as pages, site.connection() as (client, server):
        pages[:] = data
        client.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
        with memoryview(pages) as view:
            expect(client.send(view, MSG_ZEROCOPY), _SIZE, "send(MSG_ZEROCOPY)")
        expect(take(server, _SIZE), data, "what the server gets by MSG_ZEROCOPY")
        poll = select.poll()
        poll.register(client, 0)
        if not poll.poll(int(patience() * 1000)):
            raise UnlikeError("no notice that the pages are free")
        _, ancillary, _, _ = client.recvmsg(0, 512, socket.MSG_ERRQUEUE)
        number, origin = struct.unpack_from("=IB", ancillary[0][2])
        expect((number, origin), (0, _ORIGIN), "the notice")


PROBE = Probe(
    name="zerocopy",
    proves="MSG_ZEROCOPY is judged, arrives, and its pages are given back",
    run=_run,
    remedy="keep programs that send with MSG_ZEROCOPY out of the mesh's cgroups, or their services without l7",
)
