"""A server that answers and closes at once: the FIN is there before the client has read."""

from __future__ import annotations

import select

from ebpfmesh.tiers.l7.behaviour.probe import Probe, expect
from ebpfmesh.tiers.l7.behaviour.site import Site, Verdict, noise, patience, take

_SIZE = 50_000


def _run(site: Site) -> None:
    site.says(Verdict.FORWARDS)
    data = noise(_SIZE)
    with site.connection() as (client, server):
        server.sendall(data)
        server.close()
        poll = select.poll()
        poll.register(client, select.POLLRDHUP)
        expect(bool(poll.poll(int(patience() * 1000))), True, "poll() tells of the server's end")
        expect(take(client, _SIZE + 1), data, "what is read behind a FIN that came first")
        expect(client.recv(1), b"", "the end of the stream, asked for again")


PROBE = Probe(
    name="queued_fin",
    proves="data that was queued when the FIN came is read to its end",
    run=_run,
    remedy="another kernel: responses of servers that close would be cut",
    disables=("enrolment",),
)
