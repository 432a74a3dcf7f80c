"""A socket out of step: nothing leaves it any more, it is counted, and the agent destroys it and no other."""

from __future__ import annotations

import errno
import socket
import threading
import time
from contextlib import suppress

import pytest
from l7_bypass import GOOD, OK, SMALL, BypassSite, CrampedSite

from ebpfmesh.testing import eventually

pytestmark = pytest.mark.kernel(feature="sockhash")
SITE = CrampedSite

ESTABLISHED, CLOSE = 1, 7  # of TCP
BODY = 40000
POST = b"POST /public/p HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % BODY + b"a" * BODY


def test_it_is_counted_and_destroyed_and_its_neighbours_live(site: BypassSite) -> None:
    mesh = site.start()
    assert mesh.l7 is not None
    neighbours = [site.connect() for _ in range(3)]
    for one in neighbours:
        one.sendall(GOOD)
        assert one.recv(1000) == OK
    lost = site.connect(send_buffer=SMALL)
    lost.setblocking(True)
    assert eventually(lambda: len(site.witness.connections) == 4)
    server = site.witness.connections[3]
    site.witness.reading.clear()
    errors: list[int | None] = []

    def send(data: bytes) -> None:
        try:
            lost.sendall(data)
        except OSError as error:
            errors.append(error.errno)

    threads = [threading.Thread(target=send, args=(data,), daemon=True) for data in (POST, GOOD)]
    for thread in threads:  # the second finds the first in the middle of its push
        thread.start()
        time.sleep(0.1)
    assert "out_of_step" not in site.counters()
    site.witness.reading.set()
    assert eventually(lambda: site.counters().get("out_of_step") == 1)
    threads[1].join(5)
    assert not threads[1].is_alive()
    assert errors == [errno.EACCES]
    site.witness.reading.clear()
    time.sleep(0.1)
    assert _state(server) == ESTABLISHED
    mesh.l7.collect()
    threads[0].join(5)  # a send that waited is over too
    assert not threads[0].is_alive()
    with pytest.raises(OSError) as caught:
        lost.send(GOOD)
    assert caught.value.errno in (errno.EACCES, errno.EPIPE, errno.ECONNABORTED)
    assert eventually(lambda: _state(server) == CLOSE)  # by a reset: after a FIN it would be CLOSE_WAIT
    site.witness.reading.set()
    assert site.witness.everything().split(b"|")[3].count(b"GET") == 0, "nothing of the second came through"
    for one in neighbours:
        one.sendall(GOOD)
        assert one.recv(1000) == OK
    with suppress(OSError):
        lost.close()
    assert site.counters()["out_of_step"] == 1


def _state(one: socket.socket) -> int:
    return one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
