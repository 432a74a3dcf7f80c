"""splice(2) from the socket, as proxies and file receivers do it."""

from __future__ import annotations

import os

from ebpfmesh.tiers.l7.behaviour.probe import Probe, UnlikeError, expect
from ebpfmesh.tiers.l7.behaviour.site import Site, Verdict, all_in, noise, unread

_SIZE = 20_000


def _run(site: Site) -> None:
    site.says(Verdict.FORWARDS)
    data = noise(_SIZE)
    with site.connection() as (client, server):
        reader, writer = os.pipe()
        try:
            server.sendall(data)
            expect(all_in(client, _SIZE), True, f"FIONREAD says {_SIZE}")
            found = b""
            while len(found) < _SIZE:
                try:
                    moved = os.splice(client.fileno(), writer, _SIZE, flags=os.SPLICE_F_NONBLOCK)
                except BlockingIOError:
                    raise UnlikeError(f"EAGAIN, with {unread(client)} bytes to read") from None
                if not moved:
                    break
                found += os.read(reader, moved)
            expect(found, data, "what splice() moves")
        finally:
            os.close(reader)
            os.close(writer)


PROBE = Probe(
    name="splice_receive",
    proves="splice(2) from the socket moves what was received",
    run=_run,
    remedy="keep programs that splice from their sockets (proxies) out of the mesh's cgroups, or their services without l7",
)
