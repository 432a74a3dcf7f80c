"""What a balancer makes (a `Table`) and what it is made from (`Target`); the kernel only picks a slot of it."""

from __future__ import annotations

from array import array
from enum import IntEnum
from typing import NamedTuple

import msgspec

MAX_ID = 0xFFFF
"""The largest backend id: slots are 16 bits wide, and 0 is never an id."""

ALIAS_COLUMN = 4
"""16-bit words of one alias column: id, alias, threshold, 0."""


class Pick(IntEnum):
    """How the kernel picks a slot; the numbers are those of the kernel side."""

    NONE = 0
    """No slot: nobody takes new connections."""
    HASH = 1
    """The slot that the key's 32-bit hash falls in, hash * count >> 32; what the key is, `HashKey` says."""
    RANDOM = 2
    """Any slot, all equally likely."""
    TURN = 3
    """One slot after the other; the turn is shared by all clients of the service."""
    ALIAS = 4
    """A random column, then its id with probability threshold/65536, else its alias."""


class HashKey(IntEnum):
    """What is hashed when a slot is picked by hash; the numbers are those of the kernel side."""

    WORKLOAD = 0
    """The namespace cookie and the cgroup id of the client: the same process group, the same backend."""
    SOURCE_ADDRESS = 1
    """The source address; at connect() it is unset unless the client bound its socket first."""
    DESTINATION = 2
    """The service address and port that the client asked for."""
    MARK = 3
    """The socket's mark (SO_MARK)."""


class Target(NamedTuple):
    """One backend as a balancer sees it."""

    id: int
    """1 to 65535; what the slots hold. It is stable: a backend keeps its id while it is in use."""
    weight: int
    """0 to 65535; 0 takes no new connections, so no slot may hold its id."""
    identity: bytes
    """The packed address (16 bytes) and port (2 bytes, network order): equal on every node, so it is what is hashed."""


class Table(msgspec.Struct, frozen=True, gc=False):
    """The slots of one service and how one is picked; treat it as immutable.

    ``count`` is the number of slots, or for `Pick.ALIAS` the number of columns; an alias column is
    four 16-bit words: id, alias, threshold (in 1/65536), 0. The number of words is ``len(slots)``.
    """

    slots: array[int]
    """``array('H')`` of backend ids, or of alias columns."""
    pick: Pick
    count: int


def empty() -> Table:
    """The table of a service of which nobody takes new connections: no slots."""
    return Table(array("H"), Pick.NONE, 0)
