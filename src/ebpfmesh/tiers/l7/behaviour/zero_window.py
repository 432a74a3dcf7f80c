"""Zero window both ways: a side that does not read makes the other wait, and loses nothing."""

from __future__ import annotations

import socket

from ebpfmesh.tiers.l7.behaviour.probe import Probe, UnlikeError, expect
from ebpfmesh.tiers.l7.behaviour.site import Site, Verdict, noise, patience, take

_BUFFER = 16_384
_BOUND = 8 << 20  # bytes: a sender that got rid of so many meets no window


def _run(site: Site) -> None:
    site.says(Verdict.FORWARDS)
    data = noise(30_000)
    with site.connection(send_buffer=_BUFFER, receive_buffer=_BUFFER) as (client, server):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        _fill_and_read(client, server, data, "a server that does not read")
        _fill_and_read(server, client, data, "a client that does not read")


def _fill_and_read(sender: socket.socket, reader: socket.socket, data: bytes, what: str) -> None:
    sent = _fill(sender, data)
    if sent >= _BOUND:
        raise UnlikeError(f"{what} took {sent} bytes")
    for _ in range(3):  # the window opens, fills, and opens again
        found = take(reader, sent)
        expect(found, _repeated(data, sent), f"what was sent to {what}")
        sent = _fill(sender, data)
    expect(take(reader, sent), _repeated(data, sent), f"what was sent to {what}")
    sender.settimeout(patience())


def _fill(sender: socket.socket, data: bytes) -> int:
    """Send ``data`` again and again until the socket takes no more; how many bytes it took."""
    sender.setblocking(False)
    sent = 0
    try:
        while sent < _BOUND:
            sent += sender.send(data[sent % len(data) :])
    except BlockingIOError:
        pass
    return sent


def _repeated(data: bytes, size: int) -> bytes:
    return (data * (size // len(data) + 1))[:size]


PROBE = Probe(
    name="zero_window",
    proves="a peer that does not read stops the other in both directions, and gets every byte when it reads",
    run=_run,
    remedy="another kernel: unread data would fill the host's TCP memory",
    disables=("enrolment",),
)
