"""Half-close both ways: what is sent after one side has said its last."""

from __future__ import annotations

import socket

from ebpfmesh.tiers.l7.behaviour.probe import Probe, expect
from ebpfmesh.tiers.l7.behaviour.site import Site, Verdict, noise, take

_SIZE = 70_000


def _run(site: Site) -> None:
    site.says(Verdict.FORWARDS)
    data = noise(_SIZE)
    with site.connection() as (client, server):
        client.sendall(data[:100])
        client.shutdown(socket.SHUT_WR)
        expect(take(server, 101), data[:100], "what the server gets before the client's end")
        server.sendall(data)
        server.shutdown(socket.SHUT_WR)
        expect(take(client, _SIZE + 1), data, "what the client gets after its own end")
    with site.connection() as (client, server):
        server.shutdown(socket.SHUT_WR)
        expect(client.recv(1), b"", "what the client gets at the server's end")
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        expect(take(server, _SIZE + 1), data, "what the server gets after its own end")


PROBE = Probe(
    name="half_close",
    proves="after shutdown(SHUT_WR) of either side the other direction goes on to its end",
    run=_run,
    remedy="another kernel: requests and responses would be cut",
    disables=("enrolment",),
)
