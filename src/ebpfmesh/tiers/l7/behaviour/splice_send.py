"""splice(2) into the socket."""

from __future__ import annotations

import os

from ebpfmesh.tiers.l7.behaviour.probe import Probe, expect
from ebpfmesh.tiers.l7.behaviour.site import Site, Verdict, noise, take

_SIZE = 20_000


def _run(site: Site) -> None:
    site.says(Verdict.FORWARDS)
    data = noise(_SIZE)
    with site.connection() as (client, server):
        reader, writer = os.pipe()
        try:
            os.write(writer, data)
            left = _SIZE
            while left and (moved := os.splice(reader, client.fileno(), left)):
                left -= moved
            expect(left, 0, "bytes that splice() did not take")
            expect(take(server, _SIZE), data, "what the server gets by splice()")
        finally:
            os.close(reader)
            os.close(writer)


PROBE = Probe(
    name="splice_send",
    proves="what is spliced into the socket is judged and arrives",
    run=_run,
    remedy="another kernel: proxies' requests would be cut",
    disables=("enrolment",),
)
