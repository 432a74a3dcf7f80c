"""MSG_WAITALL: recv() that waits for all it was asked for."""

from __future__ import annotations

import socket
import threading
import time

from ebpfmesh.tiers.l7.behaviour.probe import Probe, expect
from ebpfmesh.tiers.l7.behaviour.site import Site, Verdict, noise, patience, timeval

_PIECES, _PIECE = 4, 500


def _run(site: Site) -> None:
    site.says(Verdict.FORWARDS)
    data = noise(_PIECES * _PIECE)
    with site.connection() as (client, server):
        client.setblocking(
            True
        )  # Python's time-out makes a socket non-blocking, which MSG_WAITALL does not wait on
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval(patience()))

        def drip() -> None:
            for number in range(_PIECES):
                server.sendall(data[number * _PIECE : (number + 1) * _PIECE])
                time.sleep(0.002)

        dripping = threading.Thread(target=drip, daemon=True)
        dripping.start()
        try:
            expect(client.recv(len(data), socket.MSG_WAITALL), data, "recv(MSG_WAITALL)")
        finally:
            dripping.join()


PROBE = Probe(
    name="wait_all",
    proves="recv(MSG_WAITALL) returns all that it was asked for, though it comes in pieces",
    run=_run,
    remedy="keep programs that read with MSG_WAITALL out of the mesh's cgroups, or their services without l7",
)
