"""epoll, edge-triggered: told once for each arrival, also of a local reply."""

from __future__ import annotations

import select
import socket

from ebpfmesh.tiers.l7.behaviour.probe import Probe, expect
from ebpfmesh.tiers.l7.behaviour.site import REPLY, Site, Verdict, noise, patience, take


def _run(site: Site) -> None:
    site.says(Verdict.DOES_AS_TOLD)
    with site.connection() as (client, server), select.epoll() as epoll:
        epoll.register(client, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET)
        for number in range(5):
            data = noise(1000, number)
            server.sendall(data)
            expect(_events(epoll), select.EPOLLIN, "the event of data")
            expect(take(client, 600), data[:600], "the first part")
            server.sendall(data)
            expect(_events(epoll), select.EPOLLIN, "the event of more data while some is left")
            expect(take(client, 1400), data[600:] + data, "the rest")
            if not site.ordinary:
                client.send(b"R")
                expect(_events(epoll), select.EPOLLIN, "the event of a local reply")
                expect(take(client, len(REPLY)), REPLY, "the reply")
        server.shutdown(socket.SHUT_WR)
        expect(_events(epoll) & select.EPOLLRDHUP, select.EPOLLRDHUP, "the event of the end")


def _events(epoll: select.epoll) -> int:
    found = epoll.poll(patience())
    return found[0][1] if found else 0


PROBE = Probe(
    name="epoll_edge",
    proves="edge-triggered epoll tells of every arrival, of local replies too",
    run=_run,
    remedy="another kernel: nginx, Go and node would wait for ever",
    disables=("enrolment",),
)
