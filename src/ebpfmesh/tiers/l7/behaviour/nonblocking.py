"""Non-blocking calls: EAGAIN where there is nothing, what is there where there is something."""

from __future__ import annotations

import socket

from ebpfmesh.tiers.l7.behaviour.probe import Probe, UnlikeError, expect
from ebpfmesh.tiers.l7.behaviour.site import Site, Verdict, becomes_readable, noise, take


def _run(site: Site) -> None:
    site.says(Verdict.FORWARDS)
    with site.connection() as (client, server):
        client.setblocking(False)
        for number in range(5):
            _would_block(client)
            data = noise(1000, number)
            expect(client.send(data), 1000, "a non-blocking send()")
            expect(take(server, 1000), data, "what the server gets")
            server.sendall(data)
            expect(becomes_readable(client), True, "poll() tells of data")
            expect(take(client, 1000), data, "a non-blocking recv()")
        server.shutdown(socket.SHUT_WR)
        expect(becomes_readable(client), True, "poll() tells of the end")
        expect(client.recv(10), b"", "a non-blocking recv() at the end")


def _would_block(client: socket.socket) -> None:
    try:
        found = client.recv(10)
    except BlockingIOError:
        return
    raise UnlikeError(f"a non-blocking recv() of nothing gives {found!r} instead of EAGAIN")


PROBE = Probe(
    name="nonblocking",
    proves="non-blocking send() and recv() do what they can and say EAGAIN where they can do nothing",
    run=_run,
    remedy="another kernel: every event loop depends on it",
    disables=("enrolment",),
)
