"""The twin of ``include/ebpfmesh/parser.h``: numbers, the configuration of a parser, and what an engine tells.

An *engine* is what drives a core over bytes: the native library (`ebpfmesh.l7.native`) or a loaded BPF object. What it
tells is a stream of ``struct l7_event``; `raw_events` reads it. A parser written in Python answers with a `Step`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING, Protocol

import msgspec

from ebpfmesh.errors import ConfigError

if TYPE_CHECKING:
    from ebpfmesh.l7.events import Event

Bytes = bytes | bytearray | memoryview

WINDOW = 4096
FIELDS = 32
NAMES = 8
NAME_LENGTH = 40
REPLY_FIELD = FIELDS - 1
TO_THE_END = (1 << 64) - 1


class Direction(IntEnum):
    """Whose bytes: the client's or the server's."""

    REQUEST = 0
    RESPONSE = 1


REQUEST, RESPONSE = Direction.REQUEST, Direction.RESPONSE


class Op(IntEnum):
    """What a core answers for the bytes it was shown."""

    MORE = 0
    PASS = 1
    DROP = 2
    REPLY = 3
    ESCALATE = 4
    ERROR = 5


class Code(IntEnum):
    """Why a connection cannot be followed: the codes that all protocols share. A protocol's own begin at 16."""

    OK = 0
    GAP = 1
    NOT_FROM_START = 2
    INCOMPLETE = 3
    TOO_LONG = 4
    TOO_MANY = 5
    BAD_CALL = 6
    FAULT = 14
    """The parser itself failed: it raised, or broke this contract. Python only."""
    DISABLED = 15
    """The parser was disabled after too many faults or overruns. Python only."""


OWN_CODES = 16


class RecordFlag(IntFlag):
    """Of a record."""

    MESSAGE_ENDS = 1
    TO_END = 2
    LAST = 4
    TUNNEL = 8


class ConfigFlag(IntFlag):
    """Of a configuration, as a core sees it."""

    ALL_HEADERS = 1
    ONE_DIRECTION = 2
    MIDSTREAM = 4


_CONFIG = struct.Struct("<8I16sQ")
_NAME = struct.Struct(f"<II{NAME_LENGTH}s")
CONFIG_SIZE = _CONFIG.size + NAMES * _NAME.size
_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")
_LIMITS = ("head_limit", "text_limit", "table_limit", "block_limit", "stream_limit")


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a connection is parsed. Every limit of 0 is the protocol's default. Raises ConfigError when made wrongly."""

    leniencies: frozenset[str] = frozenset()
    """Names of what a strict parser refuses and this one is to take; the parser's ``leniencies`` lists them."""
    all_headers: bool = False
    """Heads list every header, in order, besides the fields that have an attribute."""
    one_direction: bool = False
    """Only one direction is seen: a response is read as the answer to a GET."""
    midstream: bool = False
    """The connection was not seen from its start."""
    head_limit: int = 0
    """Bytes of a head; 32768. In a parser written in Python: of what it may ask to be shown at once."""
    text_limit: int = 0
    """Bytes of text that the fields of one event may hold; 4096, at most 65536 natively and 4096 in the kernel."""
    table_limit: int = 0
    """Bytes of a compression table; 4096, at most what the core has room for."""
    block_limit: int = 0
    """Bytes of a compressed header block; 4096."""
    stream_limit: int = 0
    """Streams followed at a time; the core's capacity."""
    key: bytes = bytes(16)
    """16 bytes: the key of the digest of secrets. Make one (``secrets.token_bytes(16)``) where digests are kept."""
    names: tuple[str, ...] = ()
    """Up to 8 header names, lower case, whose values are told too."""
    leniency_bits: int = 0
    """Of `leniencies`, as the core numbers them. A parser sets it; who drives an engine without one does."""

    def __post_init__(self) -> None:
        for limit in _LIMITS:
            if not 0 <= getattr(self, limit) < 1 << 32:
                raise ConfigError(f"is {getattr(self, limit)}, not 0 to 2**32 - 1", where=limit)
        if len(self.key) != 16:
            raise ConfigError(f"has {len(self.key)} bytes, not 16", where="key")
        for field, wanted in (("leniencies", "a set"), ("names", "a tuple")):
            if isinstance(getattr(self, field), str | bytes):  # whose characters would be the names
                raise ConfigError(f"is {getattr(self, field)!r}, not {wanted} of names", where=field)
        if len(self.names) > NAMES or len(set(self.names)) != len(self.names):
            raise ConfigError(f"at most {NAMES} different names", where="names")
        for name in self.names:
            if not 0 < len(name) <= NAME_LENGTH or not set(name.encode("utf-8")) <= _TOKEN:
                raise ConfigError(
                    f"{name!r} is no header name in lower case of 1 to {NAME_LENGTH} characters",
                    where="names",
                )

    @property
    def flags(self) -> ConfigFlag:
        """The switches, as a core sees them."""
        return ConfigFlag(self.all_headers | self.one_direction << 1 | self.midstream << 2)

    def resolved(self, leniencies: Mapping[str, int]) -> Config:
        """With `leniency_bits` set from the names; ConfigError names one that is not in ``leniencies``."""
        bits = 0
        for name in sorted(self.leniencies):
            if name not in leniencies:
                known = ", ".join(sorted(leniencies)) or "none"
                raise ConfigError(f"there is no leniency {name!r}", remedy=f"there are: {known}")
            bits |= leniencies[name]
        return self if bits == self.leniency_bits else msgspec.structs.replace(self, leniency_bits=bits)

    def pack(self) -> bytes:
        """As ``struct l7_config``."""
        lengths = 0
        for name in self.names:
            lengths |= 1 << len(name)
        head = _CONFIG.pack(
            CONFIG_SIZE, self.flags, self.leniency_bits, self.head_limit, self.text_limit, self.table_limit,
            self.block_limit, self.stream_limit, self.key, lengths,
        )  # fmt: skip
        names = [_NAME.pack(len(name), 0, name.encode()) for name in self.names]
        return head + b"".join(names) + bytes(_NAME.size * (NAMES - len(names)))


# --- what an engine tells ---------------------------------------------------------------------------------------------

EVENT = struct.Struct("<IHHBBHIQQQQIIII")
"""``struct l7_event``: size, kind, flags, op, direction, fields, code, position, count, head, stream, present,
repeated, truncated, used. Behind it come ``fields`` values of 8 bytes and ``used`` bytes of text."""


class RawEvent(msgspec.Struct, frozen=True, gc=False):
    """One ``struct l7_event`` as it is: equal for every engine that is given the same bytes in the same pieces."""

    kind: int
    flags: int
    op: int
    direction: int
    code: int
    position: int
    count: int
    head: int
    stream: int
    present: int
    repeated: int
    truncated: int
    values: tuple[int, ...]
    """Of the present fields, in the order of their numbers: a number, or offset | length << 32 of a text."""
    text: bytes

    def number(self, field: int) -> int | None:
        """The value of a field that is a number; None if it is not present."""
        if not self.present >> field & 1:
            return None
        return self.values[(self.present & (1 << field) - 1).bit_count()]

    def bytes_of(self, field: int) -> bytes | None:
        """The value of a field that is a text; None if it is not present."""
        value = self.number(field)
        if value is None:
            return None
        offset = value & 0xFFFFFFFF
        return self.text[offset : offset + (value >> 32)]


def raw_events(stream: Bytes) -> list[RawEvent]:
    """The events of a stream of ``struct l7_event``, one after the other."""
    found, at, end = [], 0, len(stream)
    while at < end:
        (size, kind, flags, op, direction, fields, code, position, count, head, of, present, repeated, truncated,
         used) = EVENT.unpack_from(stream, at)  # fmt: skip
        values = struct.unpack_from(f"<{fields}Q", stream, at + EVENT.size)
        text = at + EVENT.size + 8 * fields
        found.append(RawEvent(
            kind, flags, op, direction, code, position, count, head, of, present, repeated, truncated, values,
            bytes(stream[text : text + used]),
        ))  # fmt: skip
        at += size
    return found


class EngineConnection(Protocol):
    """One connection, driven over a core. Bytes of a direction that were given are never given again."""

    def told(self, direction: int, data: Bytes, *, end: bool = False) -> bytes:
        """Give it the next bytes of a direction, and its end; what the core tells: a stream of ``struct l7_event``."""

    def lost(self, direction: int, count: int) -> None:
        """``count`` bytes of a direction are missing here."""


class Engine(Protocol):
    """A core, and what runs it."""

    def connection(self, config: Config = ..., /) -> EngineConnection:
        """A new connection."""


# --- what a parser written in Python answers ----------------------------------------------------------------------------


class More(msgspec.Struct, frozen=True):
    """Show me these bytes again when there are ``needed`` more, or at the end of the stream."""

    needed: int = 1


class Pass(msgspec.Struct, frozen=True):
    """``count`` bytes go on; the parser is called again behind them. It may exceed what was shown."""

    count: int
    event: Event | None = None
    head: int | None = None
    """Of the bytes of ``count``, how many at the front are not payload: None is all of them."""
    ends: bool = False
    """The message ends with the last byte of ``count``."""
    to_end: bool = False
    """The payload behind ``head`` lasts to the end of the stream; ``count`` is that of the head."""
    tunnel: bool = False
    """Behind ``head`` the bytes are another protocol's, to the end of the stream; ``count`` is that of the head."""
    stream: int = 0
    """What payload and end belong to."""


class Drop(msgspec.Struct, frozen=True):
    """``count`` bytes must not go on."""

    count: int
    event: Event | None = None


class Reply(msgspec.Struct, frozen=True):
    """``count`` bytes must not go on, and ``data`` is sent to the peer of this direction."""

    count: int
    data: bytes
    event: Event | None = None


class Escalate(msgspec.Struct, frozen=True):
    """This direction cannot be followed from here on, and is not wrong; ``code`` says why."""

    code: int


class Error(msgspec.Struct, frozen=True):
    """The bytes break the protocol: ``code`` says how; ``at`` says where, in the bytes that were shown."""

    code: int
    at: int = 0


Step = More | Pass | Drop | Reply | Escalate | Error
