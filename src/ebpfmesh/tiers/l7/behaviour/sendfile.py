"""sendfile(2), of which sk_msg sees nothing before it pulls."""

from __future__ import annotations

import os
import tempfile

from ebpfmesh.tiers.l7.behaviour.probe import Probe, expect
from ebpfmesh.tiers.l7.behaviour.site import Site, Verdict, noise, take

_SIZE = 20_000


def _run(site: Site) -> None:
    data = noise(_SIZE)
    with tempfile.TemporaryFile() as file, site.connection() as (client, server):
        file.write(data)
        file.flush()
        for pulls in (0, 4096):
            site.says(Verdict.FORWARDS, pulls=pulls)
            at, failures = 0, site.count("failures")
            while at < _SIZE and (moved := os.sendfile(client.fileno(), file.fileno(), at, _SIZE - at)):
                at += moved
            expect(take(server, _SIZE), data, "what the server gets by sendfile()")
            expect(site.count("failures"), failures, "failures of the helpers")


PROBE = Probe(
    name="sendfile",
    proves="what sendfile(2) sends can be pulled by the program, and arrives",
    run=_run,
    remedy="another kernel: uploads would be cut",
    disables=("enrolment",),
)
