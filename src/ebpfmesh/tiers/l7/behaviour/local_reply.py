"""Local replies: a message turned into its answer, and ordinary traffic after it."""

from __future__ import annotations

import select

from ebpfmesh.tiers.l7.behaviour.probe import Probe, UnlikeError, expect
from ebpfmesh.tiers.l7.behaviour.site import (
    REPLY,
    Connection,
    Site,
    Verdict,
    becomes_readable,
    noise,
    take,
    unread,
)

ROUNDS = 20
_SIZES = (1, len(REPLY), 5000)  # that grow, stay and shrink to the reply's


def _run(site: Site) -> None:
    site.says(Verdict.DOES_AS_TOLD)
    with site.connection() as connection:
        _native(connection, 0)
        for number in range(ROUNDS):
            for size in _SIZES:
                _reply(connection, size)
            _native(connection, number)
    with site.connection() as connection:  # nothing native before the first reply
        _reply(connection, 1)
        _native(connection, ROUNDS)


def _reply(connection: Connection, size: int) -> None:
    client, server = connection
    expect(client.send(b"R" * size), size, "send() of a message that is answered")
    expect(becomes_readable(client), True, "poll() tells of the reply")
    expect(take(client, len(REPLY)), REPLY, "the reply")
    expect(unread(client), 0, "FIONREAD behind the reply")
    if select.select([server], [], [], 0)[0]:
        raise UnlikeError("the server saw a message that was answered")


def _native(connection: Connection, number: int) -> None:
    client, server = connection
    question, answer = noise(100, number), noise(3000, number)
    client.sendall(question)
    expect(take(server, len(question)), question, "what the server gets after a reply")
    server.sendall(answer)
    expect(take(client, len(answer)), answer, "what the server answers after a reply")


PROBE = Probe(
    name="local_reply",
    proves=f"{3 * ROUNDS} local replies, each read as sent, none seen by the server, and native answers between them",
    run=_run,
    remedy="a kernel with b40cc5a (copied_seq of redirected data); until then refusals are EACCES at send()",
    disables=("local_reply",),
    ordinary=False,
)
