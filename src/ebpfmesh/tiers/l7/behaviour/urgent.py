"""Urgent data (MSG_OOB), which telnet, FTP and old RPC still use."""

from __future__ import annotations

import socket
import time

from ebpfmesh.tiers.l7.behaviour.probe import Probe, UnlikeError, expect
from ebpfmesh.tiers.l7.behaviour.site import Site, Verdict, patience, take


def _run(site: Site) -> None:
    site.says(Verdict.FORWARDS)
    with site.connection() as (client, server):
        _one_way(client, server, "what the client sends")
        _one_way(server, client, "what the server sends")


def _one_way(sender: socket.socket, reader: socket.socket, what: str) -> None:
    sender.sendall(b"ab")
    sender.send(b"!", socket.MSG_OOB)
    expect(_urgent(reader), b"!", f"the urgent byte of {what}")
    expect(take(reader, 2), b"ab", f"the rest of {what}")
    sender.sendall(b"cd")
    expect(take(reader, 2), b"cd", f"the bytes behind the urgent one of {what}")


def _urgent(reader: socket.socket) -> bytes:
    deadline = time.monotonic() + patience() / 4
    while time.monotonic() < deadline:
        try:
            return reader.recv(1, socket.MSG_OOB)
        except (BlockingIOError, OSError):  # EINVAL: it is not there yet
            time.sleep(0.001)
    raise UnlikeError("no urgent byte came")


PROBE = Probe(
    name="urgent",
    proves="an urgent byte (MSG_OOB) is told apart from the stream, in both directions",
    run=_run,
    remedy="keep programs that use urgent data out of the mesh's cgroups, or their services without l7",
)
