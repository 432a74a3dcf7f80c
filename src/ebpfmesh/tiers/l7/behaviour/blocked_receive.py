"""A thread that is blocked in recv() while another one sends: what wakes it is data, the end, or an error."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time

from ebpfmesh.tiers.l7.behaviour.probe import Probe, UnlikeError, expect
from ebpfmesh.tiers.l7.behaviour.site import Site, Verdict, noise, patience, take, timeval

_BUFFER = 16_384


def _run(site: Site) -> None:
    site.says(Verdict.FORWARDS)
    data, answer = noise(8000), noise(100)
    found: list[bytes | int] = []
    with site.connection(send_buffer=_BUFFER, receive_buffer=_BUFFER) as (client, server):
        client.setblocking(True)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval(patience()))

        def read() -> None:
            try:
                found.append(client.recv(len(answer)))
            except OSError as error:
                found.append(error.errno or 0)

        reading = threading.Thread(target=read, daemon=True)
        reading.start()
        time.sleep(patience() / 100)  # until it is blocked
        sent = 0
        try:
            while True:  # until there is no room: the socket then tells of room when there is some
                sent += client.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass
        take(server, sent)
        reading.join(patience() / 25)  # where it is not to be woken
        if not found:
            server.sendall(answer)
        reading.join(2 * patience())
    if found == [errno.EAGAIN]:
        raise UnlikeError(f"a blocked recv() gave {os.strerror(errno.EAGAIN)!r} when there was room to send")
    expect(found, [answer], "what a blocked recv() gave")


PROBE = Probe(
    name="blocked_receive",
    proves="a blocked recv() is not ended by room to send: one thread reads, another sends",
    run=_run,
    remedy="keep programs out of the mesh's cgroups whose threads read and send at once on one blocking socket",
)
