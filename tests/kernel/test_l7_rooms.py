"""No room for a message: as many programs as a CPU has rooms for stand above one another. What then happens is for policy.

Programs cannot be made to nest so deep at will, so that the rooms are taken from outside, by the word that a program sets.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from l7_bypass import EVIL, GOOD, OK, BypassSite

from ebpfmesh.mesh import Mesh

pytestmark = pytest.mark.kernel(feature="sockhash")
SITE = BypassSite

DEPTH = 4  # L7_ROOM_DEPTH


@contextmanager
def taken(mesh: Mesh, name: str, rooms: int) -> Iterator[None]:
    """So many rooms of every CPU are somebody's."""
    assert mesh.l7 is not None
    table = mesh.l7.tables.maps[name]
    assert table.max_entries == DEPTH

    def mark(value: int) -> None:
        stride = -(-table.value_size // 8) * 8
        for index in range(rooms):
            key = struct.pack("=I", index)
            data = bytearray(table.lookup_raw(key) or b"")
            for at in range(0, len(data), stride):
                data[at] = value
            table.update_raw(key, bytes(data))

    mark(1)
    try:
        yield
    finally:
        mark(0)


def test_one_room_is_enough(site: BypassSite) -> None:
    mesh = site.start()
    one = site.connect()
    with taken(mesh, "l7_sent_in", DEPTH - 1), taken(mesh, "l7_received_in", DEPTH - 1):
        for data, answer in ((GOOD, OK), (EVIL, b"HTTP/1.1 403 "), (GOOD, OK)):
            one.sendall(data)
            assert one.recv(1000).startswith(answer)
    assert not {"no_scratch", "responses_lost"} & set(site.counters())


def test_without_a_room_nothing_passes_unless_the_policy_says_so(site: BypassSite) -> None:
    mesh = site.start()
    one, other = site.connect(), site.connect()
    with taken(mesh, "l7_sent_in", DEPTH), pytest.raises(PermissionError):
        one.sendall(GOOD)
    other.sendall(EVIL)
    assert other.recv(1000).startswith(b"HTTP/1.1 403 ")  # nobody else is the worse
    other.sendall(GOOD)
    assert other.recv(1000) == OK
    assert site.counters()["no_scratch"] == 1
    assert site.witness.everything().strip(b"|") == GOOD


def test_without_a_room_the_connection_is_let_go_where_the_policy_says_so(site: BypassSite) -> None:
    mesh = site.start(http={"on_error": "fail_open"})
    one = site.connect()
    with taken(mesh, "l7_sent_in", DEPTH):
        one.sendall(GOOD)
        assert one.recv(1000) == OK
    one.sendall(EVIL)  # nothing of it is judged any more: what its parser would have to know went by
    assert one.recv(1000) == OK
    assert site.counters()["no_scratch"] == 1


def test_a_response_that_finds_no_room_passes_and_requests_are_judged_on(site: BypassSite) -> None:
    mesh = site.start()
    one = site.connect()
    with taken(mesh, "l7_received_in", DEPTH):
        one.sendall(GOOD)
        assert one.recv(1000) == OK
    assert (site.counters()["no_scratch"], site.counters()["responses_lost"]) == (1, 1)
    one.sendall(GOOD)
    assert one.recv(1000) == OK
    with pytest.raises(PermissionError):
        one.sendall(EVIL)  # whose answers are still to come is not known: no reply can be given
    assert site.witness.evil() == []
