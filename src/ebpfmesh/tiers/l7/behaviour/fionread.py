"""FIONREAD, which nginx, Java and .NET ask before they read: without and with queued data."""

from __future__ import annotations

from ebpfmesh.tiers.l7.behaviour.probe import Probe, expect
from ebpfmesh.tiers.l7.behaviour.site import Site, Verdict, all_in, noise, take, unread


def _run(site: Site) -> None:
    site.says(Verdict.FORWARDS)
    with site.connection() as (client, server):
        expect(unread(client), 0, "FIONREAD of a new socket")
        data = noise(1000)
        server.sendall(data)
        expect(all_in(client, 1000), True, f"FIONREAD says 1000 (it says {unread(client)})")
        expect(take(client, 300), data[:300], "what is read")
        expect(unread(client), 700, "FIONREAD after 300 of 1000 bytes")
        expect(take(client, 700), data[300:], "what is read")
        expect(unread(client), 0, "FIONREAD when all is read")


PROBE = Probe(
    name="fionread",
    proves="FIONREAD of an enrolled socket tells what can be read, with and without queued data",
    run=_run,
    remedy="a kernel with 04af4efde58a: 929e30f93125 without it tells 0, and nginx, Java and .NET then wait for ever",
    disables=("enrolment",),
)
