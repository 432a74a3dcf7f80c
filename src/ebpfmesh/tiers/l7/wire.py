"""What the tier and its programs share beside the policy's tables (`ebpfmesh.policy.wire`).

As ``authorise/policy.h``, ``limit/limit.h``, ``measure/measure.h`` and ``enrol/connection.h`` have it. A test compares
every size and offset with the headers' BTF, and every number with the compiler, so that the two sides cannot drift apart.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from struct import Struct
from typing import NamedTuple

from ebpfmesh.policy.wire import SERVICE, ServiceFlag

WORD = Struct("=Q")
# generation, key, log interval, log burst, sample, flags
SETTINGS = Struct("=Q2QQQII")
SERVICE_ENTRY_SIZE = 8 + 2 * SERVICE.size
# cgroup, identities
WORKLOAD_KEY = Struct("=QI4x")
# service, action, text
NAME_ENTRY = Struct("=II64s")
# limit, length, key
BUCKET_KEY = Struct("=II2Q")
# admitted, refused, overflowed, contended
LIMIT_COUNTERS = Struct("=4Q")
SERVICE_STATS = Struct("=48Q")

NAME_BYTES = 64
REPLY_ELEMENTS = 4
"""A reply is so many elements of ``l7_replies`` in a row."""

SLOTS = {1: ("http1_sent", "http1_received"), 2: ("http2_sent", "http2_received")}
"""Element of ``l7_sent`` and ``l7_received``: the protocol's programs."""


class SettingFlag(IntFlag):
    """``flags`` of ``struct l7_settings``: what is not safe on this kernel, by its behaviour probes."""

    NO_REPLIES = 1
    """A refusal is EACCES, whatever reply the policy has."""
    NO_SWALLOWING = 2
    """What would be taken out of a connection is EACCES, for good."""


class MarkState(IntEnum):
    """``enum l7_mark_state``."""

    MARKED = 1
    ENROLLED = 2
    FREE = 3
    UNENROLLED = 4
    OUT_OF_STEP = 5


class Version(NamedTuple):
    """``struct l7_service``, unpacked."""

    digest: int = 0
    flags: int = 0
    protocol: int = 0
    undecodable: int = 0
    sample: int = 0
    rules: int = 0
    policy: int = 0
    config: int = 0
    insert: int = 0
    refusal: int = 0
    bad_path: int = 0
    undecodable_reply: int = 0
    identities: int = 0

    @classmethod
    def unpack(cls, raw: bytes) -> Version:
        """Read the kernel's form."""
        return cls(*SERVICE.unpack(raw))

    def pack(self) -> bytes:
        """The kernel's form."""
        return SERVICE.pack(*self)

    @property
    def judges(self) -> bool:
        """Whether requests are judged: it is there, and does not drain."""
        return self.flags & (ServiceFlag.PRESENT | ServiceFlag.DRAINS) == ServiceFlag.PRESENT


ABSENT = Version()


def drained(protocol: int) -> Version:
    """The version of a service that is gone, or has no policy any more: its open connections pass."""
    flags = ServiceFlag.PRESENT | ServiceFlag.DRAINS | ServiceFlag.UNJUDGED_PASSES | ServiceFlag.ERRORS_PASS
    return Version(flags=int(flags), protocol=protocol, undecodable=1)


STATS = (
    "requests", "allowed", "denied", "limited", "replied", "swallowed", "traced", "trace_continued", "connections",
    "open", "unenrolled", "unjudged_packets", "faulted", "audited", "bad_path", "partial_replied",
    "partial_dropped", "outstanding_replied", "outstanding_dropped", "reply_failed", "undecodable_refused",
    "undecodable_passed", "undecodable_escalated", "responses_lost", "not_traced", "resent", "out_of_step",
    "look_ups_failed", "no_scratch", "not_filled", "goaway", "streams_refused",
)  # fmt: skip
"""``enum l7_stat``, in its order."""
