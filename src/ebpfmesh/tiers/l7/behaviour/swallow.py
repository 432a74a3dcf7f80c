"""Taking a message out: send() succeeds, the server gets nothing, and the connection stays usable."""

from __future__ import annotations

import select

from ebpfmesh.tiers.l7.behaviour.probe import Probe, UnlikeError, expect
from ebpfmesh.tiers.l7.behaviour.site import Site, Verdict, noise, take

_SIZES = (1, 4096, 65_536, 200_000)


def _run(site: Site) -> None:
    site.says(Verdict.DOES_AS_TOLD)
    with site.connection() as (client, server):
        for size in _SIZES:
            at = 0
            while at < size:
                at += client.send(b"S" * (size - at))
            if select.select([server], [], [], 0)[0]:
                raise UnlikeError(f"the server saw a message of {size} bytes that was taken out")
            data = noise(500, size)
            client.sendall(data)
            expect(take(server, 500), data, "what the server gets behind a message that was taken out")
            server.sendall(data)
            expect(take(client, 500), data, "what the client gets behind a message that was taken out")


PROBE = Probe(
    name="swallow",
    proves="bpf_msg_pop_data() takes a message out: send() tells its length, and the next one arrives",
    run=_run,
    remedy="another kernel; until then what would be taken out is refused with EACCES, and the connection with it",
    disables=("swallow",),
    ordinary=False,
)
