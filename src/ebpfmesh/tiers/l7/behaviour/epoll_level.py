"""epoll, level-triggered: readable as long as something is left to read."""

from __future__ import annotations

import select
import socket

from ebpfmesh.tiers.l7.behaviour.probe import Probe, expect
from ebpfmesh.tiers.l7.behaviour.site import Site, Verdict, noise, patience, take


def _run(site: Site) -> None:
    site.says(Verdict.FORWARDS)
    with site.connection() as (client, server), select.epoll() as epoll:
        epoll.register(client, select.EPOLLIN | select.EPOLLRDHUP)
        expect(epoll.poll(0), [], "events of a quiet socket")
        for number in range(3):
            data = noise(1000, number)
            server.sendall(data)
            expect(_events(epoll), select.EPOLLIN, "the event of data")
            expect(take(client, 1), data[:1], "the first byte")
            expect(_events(epoll), select.EPOLLIN, "the event while data is left")
            expect(take(client, 999), data[1:], "the rest")
            expect(epoll.poll(0), [], "events when all is read")
        epoll.modify(client, select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP)
        expect(_events(epoll), select.EPOLLOUT, "the event of room")
        epoll.modify(client, select.EPOLLIN | select.EPOLLRDHUP)
        server.shutdown(socket.SHUT_WR)
        expect(_events(epoll), select.EPOLLIN | select.EPOLLRDHUP, "the events of the end")


def _events(epoll: select.epoll) -> int:
    found = epoll.poll(patience())
    return found[0][1] if found else 0


PROBE = Probe(
    name="epoll_level",
    proves="level-triggered epoll tells of data, of room, of the end, and of nothing else",
    run=_run,
    remedy="another kernel: event loops would wait for ever or spin",
    disables=("enrolment",),
)
