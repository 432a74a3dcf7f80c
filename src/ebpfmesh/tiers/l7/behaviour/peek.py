"""MSG_PEEK: reading without taking."""

from __future__ import annotations

import socket

from ebpfmesh.tiers.l7.behaviour.probe import Probe, expect
from ebpfmesh.tiers.l7.behaviour.site import Site, Verdict, all_in, noise, take, unread


def _run(site: Site) -> None:
    site.says(Verdict.FORWARDS)
    data = noise(2000)
    with site.connection() as (client, server):
        server.sendall(data[:500])
        server.sendall(data[500:])
        expect(all_in(client, 2000), True, "FIONREAD says 2000")
        expect(client.recv(100, socket.MSG_PEEK), data[:100], "MSG_PEEK")
        expect(client.recv(2000, socket.MSG_PEEK), data, "MSG_PEEK over two messages")
        expect(unread(client), 2000, "FIONREAD after MSG_PEEK")
        expect(take(client, 700), data[:700], "what is read after MSG_PEEK")
        expect(client.recv(2000, socket.MSG_PEEK), data[700:], "MSG_PEEK of what is left")
        expect(take(client, 1300), data[700:], "what is read at the end")


PROBE = Probe(
    name="peek",
    proves="MSG_PEEK shows what the next recv() takes",
    run=_run,
    remedy="another kernel: programs that look before they read would read something else",
    disables=("enrolment",),
)
