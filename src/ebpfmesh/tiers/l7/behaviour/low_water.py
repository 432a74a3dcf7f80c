"""SO_RCVLOWAT: readable only from so many bytes on; gRPC's C core uses it."""

from __future__ import annotations

import socket
import time

from ebpfmesh.tiers.l7.behaviour.probe import Probe, expect
from ebpfmesh.tiers.l7.behaviour.site import Site, Verdict, becomes_readable, noise, take

_MARK = 1000


def _run(site: Site) -> None:
    site.says(Verdict.FORWARDS)
    data = noise(_MARK)
    with site.connection() as (client, server):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, _MARK)
        for _ in range(2):
            server.sendall(data[:100])
            time.sleep(0.002)
            expect(becomes_readable(client, 0), False, "readable below the mark")
            server.sendall(data[100:])
            expect(becomes_readable(client), True, "readable at the mark")
            expect(take(client, _MARK), data, "what is read")
        server.sendall(data[:100])
        server.shutdown(socket.SHUT_WR)
        expect(becomes_readable(client), True, "readable below the mark, at the end of the stream")
        expect(take(client, _MARK), data[:100], "what is read at the end of the stream")


PROBE = Probe(
    name="low_water",
    proves="with SO_RCVLOWAT a socket is readable from the mark on, and not before, but for the end of the stream",
    run=_run,
    remedy="programs that set SO_RCVLOWAT (gRPC's C core) wake too often, or never: keep them out of the mesh's cgroups",
)
