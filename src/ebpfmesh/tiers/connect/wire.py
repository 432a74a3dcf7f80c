"""Keys and values as ``bpf/include/ebpfmesh/service.h``, ``connection.h`` and ``datagram.h`` declare them.

Written out as `struct` formats because an apply packs hundreds of thousands; a test compares every size and offset with the
built object's BTF, so that the two cannot drift apart.
"""

from __future__ import annotations

from enum import IntFlag
from struct import Struct
from typing import NamedTuple

PROTOCOLS = {"tcp": 6, "udp": 17}

# address, scope (namespace cookie, 0 any), port, protocol
ADDRESS_KEY = Struct("=16sQHB5x")
INDEX = Struct("=I")
# service, pick, hash key, flags, refusal errno, 2 x (start, count)
DISPATCH = Struct("=IBBBBIIII")
FRONTEND_SIZE = 8 + 2 * DISPATCH.size
BACKEND_KEY = Struct("=II")  # service, id
# address, port, counter
BACKEND = Struct("=16sH2xI")
SERVICE_NAME = Struct("=64s")
# digest, service, protocol, key, refusal, flags, table size, balancer, scope
SERVICE_RECORD = Struct("=QIBBBBI36sQ")
# active is signed: it is compared with 0
COUNTERS = Struct("=Qq5Q")
SERVICE_COUNTERS = Struct("=Qq8Q")
LISTED_SOCKET = Struct("=QQQIIIHHII16sHxx16sHxx")

SLOTS_PER_ELEMENT = 4
BALANCER_BYTES = 36
LEAVING = 1 << 16
"""In a backend's element of ``weights``: it was removed from the model."""


class DispatchFlag(IntFlag):
    """``flags`` of a dispatch."""

    PRESENT = 1
    FAIL_OPEN = 2


class RecordFlag(IntFlag):
    """``flags`` of a service record."""

    FAIL_OPEN = 1
    DESTROY_REMOVED = 2
    RETIRED = 4
    """No address leads to it any more; it is kept while connections of it are open."""


class Extent(NamedTuple):
    """A slot table's place in ``slots``, in elements of 8 bytes, and how many slots (or alias columns) it holds."""

    start: int
    elements: int
    slots: int


NO_TABLE = Extent(0, 0, 0)


class Counters(NamedTuple):
    """What became of the connections of a service or a backend; bytes are counted when a TCP connection ends."""

    opened: int = 0
    active: int = 0
    failed: int = 0
    closed: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    datagrams: int = 0
