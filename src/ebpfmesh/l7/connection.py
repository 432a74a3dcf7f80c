"""One connection of a parser: bytes of each direction in, events out.

    connection = l7.parser("http1").connection()
    for event in connection.feed(l7.REQUEST, b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n"):
        print(event)
    connection.end(l7.REQUEST)

`feed`, `end` and `lost` raise ParseError and nothing else, whatever the bytes and the parser are. A connection is not for
several threads at a time.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from ebpfmesh.errors import ParseError, ParserFaultError
from ebpfmesh.l7.contain import Watch, words
from ebpfmesh.l7.contract import (
    EVENT,
    REPLY_FIELD,
    TO_THE_END,
    Bytes,
    Code,
    Config,
    Direction,
    EngineConnection,
    Op,
    RecordFlag,
    raw_events,
)
from ebpfmesh.l7.events import Data, Dropped, End, Event, Replied, Tunnel, Undecodable

if TYPE_CHECKING:
    from ebpfmesh.l7.parser import CoreParser, Parser

_DIRECTIONS = tuple(Direction)
_PASS, _DROP, _REPLY, _ESCALATE, _ERROR = map(int, (Op.PASS, Op.DROP, Op.REPLY, Op.ESCALATE, Op.ERROR))
_ENDS, _TO_END, _TUNNEL = map(int, (RecordFlag.MESSAGE_ENDS, RecordFlag.TO_END, RecordFlag.TUNNEL))
_unpack = EVENT.unpack_from
_key = struct.Struct("<I12s32x12sI").unpack_from  # size; kind to code; present to truncated; used
_bytes_of = struct.Struct("<6xHB7xQQQQ").unpack_from  # flags, op, position, count, head, stream


class Flow:
    """One direction: how far it has come, and which of the bytes to come are payload."""

    __slots__ = ("direction", "ended", "ends", "error", "final", "payload", "position", "stream", "until")

    def __init__(self, direction: Direction) -> None:
        self.direction = direction
        self.position = 0
        """In the stream, of the next byte to arrive."""
        self.payload = self.until = 0
        """The bytes from one position to the other are payload of `stream`."""
        self.stream = 0
        self.ends = False
        """The message of `stream` ends at `until`; if that is the end of the stream, with it."""
        self.ended = self.final = False
        self.error: ParseError | None = None

    def carry(self, start: int, data: Bytes, events: list[Event]) -> None:
        """Tell the payload in ``data``, whose first byte is at ``start``, and the end of its message if that is reached."""
        first, last = max(self.payload, start), min(self.until, self.position)
        if first < last:
            piece = data[first - start : last - start]
            events.append(
                Data(self.direction, first, self.stream, piece if type(piece) is bytes else bytes(piece))
            )
        if self.until <= self.position:
            if self.ends:
                events.append(End(self.direction, self.until, self.stream))
            self.payload = self.until = 0
            self.ends = False


class Connection(ABC):
    """Both directions of a connection. Made by a parser's `connection`."""

    def __init__(self, parser: Parser, config: Config, watch: Watch | None = None) -> None:
        self.parser, self.config = parser, config
        self._watch = watch
        self._flows = (Flow(Direction.REQUEST), Flow(Direction.RESPONSE))

    def feed(self, direction: int, data: Bytes) -> list[Event]:
        """What the next bytes of a direction tell; nothing once the direction is undecodable.

        Raises ParseError if they break the protocol: its ``events`` are what came before it in these bytes.
        Every later call for this direction raises it again, without events. TypeError if ``data`` is nothing like bytes;
        ValueError if ``direction`` is none, here as in each method.
        """
        if type(data) is not bytes:
            data = memoryview(data).cast("B")
        return self._given(self._flow(direction), data, False)

    def end(self, direction: int) -> list[Event]:
        """What the end of a direction tells: nothing comes after it. ParseError as for `feed`."""
        return self._given(self._flow(direction), b"", True)

    def lost(self, direction: int, count: int) -> list[Event]:
        """What it tells that ``count`` bytes of a direction are missing here: the capture did not see them.

        Missing payload is no loss: it does not come as `Data`. Missing structure makes the direction undecodable, or
        whatever the protocol says, when the next bytes come.
        """
        flow = self._flow(direction)
        if flow.error is not None:
            raise _again(flow.error)
        if count <= 0 or flow.final or flow.ended:
            return []
        events: list[Event] = []
        flow.position += count
        structure = count if not flow.until else max(0, flow.position - flow.until)
        if flow.until:
            flow.payload = max(flow.payload, min(flow.position, flow.until))
            flow.carry(flow.position, b"", events)
        try:
            self._lost(flow, count, structure)
        except Exception as error:
            events.append(self._fault(flow, error))
        return events

    def position(self, direction: int) -> int:
        """How many bytes of a direction were fed, or lost."""
        return self._flow(direction).position

    def expected(self, direction: int) -> int:
        """How many of the next bytes of a direction are known to be payload: nobody has to look at them."""
        flow = self._flow(direction)
        return max(0, flow.until - flow.position)

    def decodable(self, direction: int) -> bool:
        """Whether the direction is still followed: it was not undecodable, and no error."""
        flow = self._flow(direction)
        return flow.error is None and not flow.final

    def _flow(self, direction: int) -> Flow:
        return self._flows[Direction(direction)]

    def _given(self, flow: Flow, data: Bytes, end: bool) -> list[Event]:
        if flow.error is not None:
            raise _again(flow.error)
        if flow.final or flow.ended:
            return self._late(flow, data)
        events: list[Event] = []
        watch = self._watch
        try:
            if watch is None:
                self._tell(flow, data, end, events)
            else:
                self._watched(watch, flow, data, end, events)
        except ParseError as error:
            self._broke(flow, error, events)
            raise
        except (Exception, SystemExit) as error:  # of a parser, which may be anybody's
            events.append(self._fault(flow, error))
        if end:
            flow.ended = True
        return events

    def _late(self, flow: Flow, data: Bytes) -> list[Event]:
        """Bytes that nothing is told of: behind what made the direction undecodable, or, wrongly, behind its end."""
        if flow.ended and not flow.final and len(data):
            flow.error = self._error(flow, flow.position, Code.BAD_CALL)
            raise _again(flow.error)
        flow.position += len(data)
        return []

    def _watched(self, watch: Watch, flow: Flow, data: Bytes, end: bool, events: list[Event]) -> None:
        """As `_tell`, of a parser that is not ours."""
        if watch.disabled is not None:
            flow.position += len(data)
            flow.final = True
            events.append(
                Undecodable(flow.direction, flow.position, Code.DISABLED, f"disabled: {watch.disabled}")
            )
            return
        since = watch.clock()
        self._tell(flow, data, end, events)
        watch.ran(since, len(data))

    def _error(self, flow: Flow, position: int, code: int) -> ParseError:
        return ParseError(
            self.parser.name, flow.direction.name.lower(), position, code, self.parser.reason(code)
        )

    def _broke(self, flow: Flow, error: ParseError, events: list[Event]) -> None:
        # not the one that is raised: its traceback holds the bytes, and this connection in a circle
        flow.error, flow.final = _again(error), True
        error.events = tuple(events)

    def _fault(self, flow: Flow, error: BaseException) -> Event:
        """The parser failed, not the bytes: nothing more is asked of it for this direction."""
        flow.final = True
        what = error.what if isinstance(error, ParserFaultError) else words(error)
        if self._watch is not None:
            self._watch.failed(what)
        return Undecodable(flow.direction, self._stands(flow), Code.FAULT, f"fault of the parser: {what}")

    def _stands(self, flow: Flow) -> int:
        """How far a direction was understood, at least."""
        return flow.position

    @abstractmethod
    def _tell(self, flow: Flow, data: Bytes, end: bool, events: list[Event]) -> None:
        """Add to ``events`` what ``data``, or with ``end`` the end, tells; moves ``flow.position``."""

    @abstractmethod
    def _lost(self, flow: Flow, count: int, structure: int) -> None:
        """``count`` bytes are missing, ``structure`` of them no payload."""


class CoreConnection(Connection):
    """A connection that a core parses, on whatever engine."""

    def __init__(
        self, parser: CoreParser, config: Config, engine: EngineConnection, watch: Watch | None = None
    ) -> None:
        super().__init__(parser, config, watch)
        self.parser: CoreParser = parser
        self._told, self._engine = engine.told, engine
        self._plans = parser.plans(config)
        self._compiled = self._plans.compiled

    def _lost(self, flow: Flow, count: int, structure: int) -> None:
        self._engine.lost(flow.direction, count)

    def feed(self, direction: int, data: Bytes) -> list[Event]:
        """As `Connection.feed`."""
        if direction not in _DIRECTIONS:  # the tuple of flows would take -1 for one
            raise ValueError(f"{direction!r} is not a valid Direction")
        flow = self._flows[direction]
        if flow.until or flow.final or flow.ended or self._watch is not None or type(data) is not bytes:
            return super().feed(direction, data)
        # what follows is _given() and _tell() once more, for the usual case: a message costs half of a microsecond less
        events: list[Event] = []
        try:
            told = self._told(direction, data)
            start = flow.position
            flow.position = fed = start + len(data)
            at, length, compiled, side, append = 0, len(told), self._compiled, flow.direction, events.append
            while at < length:
                size, made_by, present, used = _key(told, at)
                make = compiled.get((made_by, present))
                if make is None:
                    self._one(flow, start, data, told[at : at + size], events)
                elif make(side, fed, told, at + 4, used, append):
                    self._span(flow, start, data, _bytes_of(told, at), events)
                at += size
        except ParseError as error:
            self._broke(flow, error, events)
            raise
        except (Exception, SystemExit) as error:
            events.append(self._fault(flow, error))
        return events

    def _tell(self, flow: Flow, data: Bytes, end: bool, events: list[Event]) -> None:
        start = flow.position
        told = self._told(flow.direction, data, end=end)
        flow.position += len(data)
        if flow.until:
            flow.carry(start, data, events)
        at, length = 0, len(told)
        while at < length:
            size, made_by, present, used = _key(told, at)
            make = self._compiled.get((made_by, present))
            if make is None:
                self._one(flow, start, data, told[at : at + size], events)
            elif make(flow.direction, flow.position, told, at + 4, used, events.append):
                self._span(flow, start, data, _bytes_of(told, at), events)
            at += size
        if end and flow.until:
            flow.until = min(flow.until, flow.position)
            flow.carry(flow.position, b"", events)

    def _one(self, flow: Flow, start: int, data: Bytes, told: bytes, events: list[Event]) -> None:
        """A record that no compiled function tells: its event is rare or new, or it has none."""
        _, kind, _, op, _, _, code, position, *_ = _unpack(told)
        if op >= _ESCALATE:
            if op == _ERROR:
                raise self._error(flow, position, code)
            flow.final = True
            events.append(Undecodable(flow.direction, position, code, self.parser.reason(code)))
            return
        if kind or op == _REPLY:
            self._rarely(told, events)
        self._span(flow, start, data, _bytes_of(told), events)

    def _rarely(self, told: bytes, events: list[Event]) -> None:
        [raw] = raw_events(told)
        event = None
        if raw.kind in self.parser.kinds:
            _, made_by, present, _ = _key(told)
            event = self._plans.make(raw, (made_by, present))
        elif raw.kind:
            event = self.parser.event(raw, self.config)
        if event is not None:
            events.append(event)
        if raw.op == _REPLY:
            behind, reply = raw.position + raw.count, raw.bytes_of(REPLY_FIELD) or b""
            events.append(Replied(Direction(raw.direction), behind, reply))

    def _span(self, flow: Flow, start: int, data: Bytes, span: tuple[int, ...], events: list[Event]) -> None:
        """What a record says of bytes: which are payload, which must not go on, where the message ends."""
        flags, op, position, count, head, stream = span
        if op == _DROP:
            events.append(Dropped(flow.direction, position + count))
        if op != _PASS or (count == head and not flags):
            return
        if flags & _TUNNEL:
            events.append(Tunnel(flow.direction, position + head, stream))
        flow.payload, flow.stream = position + head, stream
        flow.until = TO_THE_END if flags & _TO_END else position + count
        flow.ends = bool(flags & _ENDS or (flags & _TO_END and not flags & _TUNNEL))
        if flow.until or flow.ends:
            flow.carry(start, data, events)


def _again(error: ParseError) -> ParseError:
    return ParseError(error.protocol, error.direction, error.position, error.code, error.reason)
