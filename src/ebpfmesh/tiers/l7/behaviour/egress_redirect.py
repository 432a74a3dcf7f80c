"""The redirect of a message to its own socket, out: how judged bytes leave, and what follows a push that failed."""

from __future__ import annotations

import socket
from contextlib import suppress

from ebpfmesh.errors import HostError
from ebpfmesh.tiers.l7.behaviour.probe import Probe, expect
from ebpfmesh.tiers.l7.behaviour.site import Site, Verdict, noise, patience, take

_SMALL = 4608  # the least that SO_SNDBUF and SO_RCVBUF give
_TAIL = b"F" * 100


def _run(site: Site) -> None:
    site.says(Verdict.FORWARDS)
    with site.connection() as (client, server):
        for size in (1, 4096, 65_537):
            data, runs = noise(size, size), site.count("runs_sent")
            client.sendall(data)
            expect(take(server, size), data, "what the server gets")
            if not site.ordinary:
                expect(site.count("runs_sent") > runs, True, "the program ran for the message")
    if not site.ordinary:
        _forgets(site)


def _forgets(site: Site) -> None:
    """A verdict must not outlive the message whose push failed: the next one would go unseen."""
    site.says(Verdict.FORWARDS)
    with site.connection(send_buffer=_SMALL, receive_buffer=_SMALL) as (client, server):
        client.setblocking(False)
        sent, data = 0, noise(8000)
        for _ in range(100):  # until a message is taken in part only: its push failed in the middle
            try:
                sent += (taken := client.send(data))
            except BlockingIOError:
                server.recv(600)
                continue
            if taken < len(data):
                break
        else:
            raise HostError(f"no push failed in {sent} bytes")
        client.settimeout(patience())
        _drain(server)
        runs = site.count("runs_sent")
        client.sendall(_TAIL)
        expect(site.count("runs_sent") > runs, True, "the program runs after a push that failed")


def _drain(server: socket.socket) -> None:
    server.settimeout(patience() / 25)
    with suppress(TimeoutError):
        while server.recv(65536):
            pass


PROBE = Probe(
    name="egress_redirect",
    proves="a message goes out by redirect to its own socket, and the program runs again after a push that failed",
    run=_run,
    remedy="another kernel: without it judged bytes cannot be told from bytes that were not judged",
    disables=("enrolment",),
    ordinary=False,
)
