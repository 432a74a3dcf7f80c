"""The behaviour probes with the tier on: inside the bodies of an HTTP/1 request and its response, both endless."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from l7_bypass import BypassSite

from ebpfmesh.testing import NetNs, PrivateCgroup
from ebpfmesh.tiers.l7.behaviour import catalogue, trial
from ebpfmesh.tiers.l7.behaviour.site import PATIENCE, Connection, Verdict, noise, take

pytestmark = pytest.mark.kernel(feature="sockhash")

# what this kernel does not do on enrolled sockets, whoever enrols them: see test_l7_behaviour_probes.py
KNOWN = {"wait_all", "below_low_water", "splice_receive", "urgent", "zerocopy_notices", "blocked_receive"}
# what the object does, and a mesh does by policy
OBJECTS = {"egress_redirect", "local_reply", "swallow"}
ENDLESS = 1_000_000_000


def request(length: int) -> bytes:
    return b"POST /public/tunnel HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % length


def response(length: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length


class MeshSite:
    """What a probe asks of a site, with connections of the mesh: their bytes are those of bodies."""

    def __init__(self, site: BypassSite) -> None:
        self.site, self.length = site, ENDLESS

    @property
    def ordinary(self) -> bool:
        """Nothing is to be answered or taken out here."""
        return True

    @ordinary.setter
    def ordinary(self, _: bool) -> None:
        """A trial asks for it; there is no other way here."""

    def says(self, verdict: Verdict, *, applies: int = 0, pulls: int = 0) -> None:
        """The mesh decides."""

    def count(self, name: str) -> int:
        return 0

    @contextmanager
    def connection(self, *, send_buffer: int = 0, receive_buffer: int = 0) -> Iterator[Connection]:
        listener = self.site.witness.listener
        if receive_buffer:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        with self.site.connect(send_buffer=send_buffer) as client:
            server, _ = listener.accept()
            with server:
                for one in (client, server):
                    one.settimeout(PATIENCE)
                for sender, reader, head in ((client, server, request), (server, client, response)):
                    sender.sendall(head(self.length))
                    assert take(reader, len(head(self.length))) == head(self.length)
                yield Connection(client, server)


@pytest.fixture
def meshed(cgroup: PrivateCgroup, netns: NetNs, bpffs: Path, tmp_path: Path) -> Iterator[MeshSite]:
    with BypassSite(cgroup, netns, bpffs, tmp_path) as site:
        site.witness.leave_to_the_test()
        site.start()
        yield MeshSite(site)


@pytest.mark.parametrize("name", [one.name for one in catalogue.every() if one.name not in OBJECTS])
def test_bodies_behave_as_the_kernel_lets_them(meshed: MeshSite, name: str) -> None:
    probe = next(one for one in catalogue.every() if one.name == name)
    outcome = trial.make(probe, meshed)  # type: ignore[arg-type]
    if name in KNOWN:
        assert outcome.state in ("fails", "unknown")
    else:
        assert outcome.state == "ok", outcome.text
    assert faults(meshed) == set()


def faults(meshed: MeshSite) -> set[str]:
    """What the tier has counted that must not be."""
    return {"out_of_step", "look_ups_failed", "undecodable_refused", "unjudged_packets"} & set(
        meshed.site.counters()
    )


@pytest.mark.parametrize(
    "length", [(1 << 31) - 1, 1 << 31, 1 << 32, (1 << 32) + 100, 5_000_000_000, 10**18], ids=str
)
def test_bodies_of_any_length(meshed: MeshSite, length: int) -> None:
    """Sequence numbers have 32 bits; a length may have more."""
    meshed.length = length
    data = noise(100_000)
    with meshed.connection() as (client, server):
        for sender, reader in ((client, server), (server, client)):
            for at in range(0, len(data), 10_000):
                sender.sendall(data[at : at + 10_000])
                assert take(reader, 10_000) == data[at : at + 10_000]
    assert faults(meshed) == set()
