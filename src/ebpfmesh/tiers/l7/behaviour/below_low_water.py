"""Reading what is there although SO_RCVLOWAT asks for more."""

from __future__ import annotations

import socket

from ebpfmesh.tiers.l7.behaviour.probe import Probe, UnlikeError, expect
from ebpfmesh.tiers.l7.behaviour.site import Site, Verdict, all_in, noise, patience


def _run(site: Site) -> None:
    site.says(Verdict.FORWARDS)
    data = noise(100)
    with site.connection() as (client, server):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1000)
        server.sendall(data)
        told = all_in(client, 100, seconds=patience() / 25)
        client.setblocking(False)
        try:
            expect(client.recv(1000), data, "recv() below the mark")
        except BlockingIOError:
            raise UnlikeError("recv() below the mark says EAGAIN, with 100 bytes there") from None
        expect(told, True, "FIONREAD below the mark says what is there")


PROBE = Probe(
    name="below_low_water",
    proves="what came can be read, and FIONREAD tells of it, although SO_RCVLOWAT asks for more",
    run=_run,
    remedy="programs that set SO_RCVLOWAT get EAGAIN until the mark is reached: they must read when poll() tells them to",
)
