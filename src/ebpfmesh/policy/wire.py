"""Elements of the tables as ``authorise/policy.h`` and ``limit/limit.h`` declare them; a test compares them.

`policy.compile` packs them, and whoever reads the kernel's tables unpacks them.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from struct import Struct

RULES_IN_LIST = 32
CONDITIONS = 6
CONDITION_TEXT = 112
REGISTERED = 20
"""The field of the first registered header name."""

# digest, flags, protocol, undecodable, sample, rules, policy, config, insert,
# the replies refusal, bad path and undecodable; identities
SERVICE = Struct("=QIBBHIIIIIIII8x")
# rules, workload, address, port
SOURCE_KEY = Struct("=IIII")
# bits, rules, address
ADDRESS_KEY = Struct("=II16s")
# root, list, flags
POLICY = Struct("=III4x")
# policy, length, hash
PATH_KEY = Struct("=IIQ")
# state, length, hash
SEGMENT_KEY = Struct("=IIQ")
# other, here, deeper, leaf
PATH_STATE = Struct("=IIII")
# count, rules
LIST = Struct(f"=I{RULES_IN_LIST}I4x")
# action, flags, methods, number, reply, argument, conditions
RULE = Struct(f"=BBHIII{CONDITIONS}I8x")
# field, op, flags, length, text
CONDITION = Struct(f"=BBBB12x{CONDITION_TEXT}s")
# interval, burst, key, field, flags, number
LIMIT = Struct("=QQBBHI")
INDEX = Struct("=I")
"""What hashes hold: the number of an element."""


class Protocol(IntEnum):
    """``enum l7_protocol``."""

    OPAQUE = 0
    HTTP1 = 1
    HTTP2 = 2


class ServiceFlag(IntFlag):
    """``enum l7_service_flag``."""

    PRESENT = 1
    UNJUDGED_PASSES = 2
    PARTIAL_DROPS = 4
    OUTSTANDING_DROPS = 8
    ERRORS_PASS = 16
    TRACES = 32
    HAS_PATHS = 64
    KEEPS_PARAMETERS = 128
    DRAINS = 256
    HAS_ALLOW = 512
    ASKS_ADDRESS = 1024
    ASKS_PORT = 2048
    ASKS_WORKLOAD = 4096
    IS_GRPC = 8192


class Action(IntEnum):
    """``enum l7_action``."""

    DENY = 1
    ALLOW = 2
    AUDIT = 3
    ROUTE = 4
    LIMIT = 5
    FAULT = 6


class Method(IntEnum):
    """``enum l7_method``: bits of a rule's methods; `OTHER` is all that have none."""

    GET = 0
    HEAD = 1
    POST = 2
    PUT = 3
    DELETE = 4
    CONNECT = 5
    OPTIONS = 6
    TRACE = 7
    PATCH = 8
    OTHER = 15


ANY_METHOD = 0xFFFF
RULE_OPEN = 1
POLICY_EXACT = 1
ALWAYS = 0xFFFFFFFF
"""The argument of a fault that strikes every request."""


class Op(IntEnum):
    """``enum l7_condition_op``."""

    IS_PRESENT = 1
    IS_ABSENT = 2
    EQUALS = 3
    BEGINS = 4
    ENDS = 5


class ConditionFlag(IntFlag):
    """``enum l7_condition_flag``."""

    FOLDS = 1
    WITHOUT_PORT = 2


class LimitKey(IntEnum):
    """``enum l7_limit_key``."""

    SERVICE = 0
    ADDRESS = 1
    IDENTITY = 2
    FIELD = 3


class Field(IntEnum):
    """The fields of ``enum http_field`` that rules ask for."""

    METHOD = 0
    HOST = 3
    CONTENT_LENGTH = 7
    UPGRADE = 10
    CONTENT_TYPE = 11
    USER_AGENT = 12
    TRACEPARENT = 13
    AUTHORIZATION = 14
    GRPC_TIMEOUT = 16
    GRPC_ENCODING = 19
