"""Keys and values as ``authorise/policy.h``, ``limit/limit.h``, ``measure/measure.h``, ``enrol/connection.h`` have them.

A test compares every size and offset with the headers' BTF, and every number with the compiler, so that the two sides
cannot drift apart.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from struct import Struct
from typing import NamedTuple

WORD = Struct("=Q")
INDEX = Struct("=I")
# generation, key, log interval, log burst, sample, flags
SETTINGS = Struct("=Q2QQQII")
# digest, flags, protocol, undecodable, sample, rules, policy, config, insert, refusal, bad path, undecodable reply,
# identities
SERVICE = Struct("=QIBBHIIIIIIII8x")
SERVICE_ENTRY_SIZE = 8 + 2 * SERVICE.size
# rules, workload, address class, port
SOURCE_KEY = Struct("=IIII")
# bits, rules, address
ADDRESS_KEY = Struct("=II16s")
# cgroup, identities
WORKLOAD_KEY = Struct("=QI4x")
# root, list, flags
POLICY = Struct("=III4x")
# policy, length, hash
PATH_KEY = Struct("=IIQ")
# state, length, hash
SEGMENT_KEY = Struct("=IIQ")
# other, here, deeper, leaf
PATH_STATE = Struct("=IIII")
LIST = Struct("=I32I4x")
# action, flags, methods, number, reply, argument, conditions
RULE = Struct("=BBHIII6I8x")
# field, op, flags, length, text
CONDITION = Struct("=BBBB12x112s")
# service, action, text
NAME_ENTRY = Struct("=II64s")
# interval, burst, key, field, flags, number
LIMIT = Struct("=QQBBHI")
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


class Protocol(IntEnum):
    """``enum l7_protocol``."""

    OPAQUE = 0
    HTTP1 = 1
    HTTP2 = 2


class ServiceFlag(IntFlag):
    """``enum l7_service_flag``: what the tier itself sets or asks; the rest is the compiler's."""

    PRESENT = 1
    UNJUDGED_PASSES = 2
    ERRORS_PASS = 16
    DRAINS = 256


class SettingFlag(IntFlag):
    """``flags`` of ``struct l7_settings``: what is not safe on this kernel, by its behaviour probes."""

    NO_REPLIES = 1
    """A refusal is EACCES, whatever reply the policy has."""
    NO_SWALLOWING = 2
    """What would be taken out of a connection is EACCES, for good."""


class Action(IntEnum):
    """``enum l7_action``."""

    NONE = 0
    DENY = 1
    ALLOW = 2
    AUDIT = 3
    ROUTE = 4
    LIMIT = 5
    FAULT = 6


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
