"""Driving a parser written in Python: the twin of ``drive.h``."""

from __future__ import annotations

import msgspec

from ebpfmesh.errors import ParseError, ParserFaultError
from ebpfmesh.l7.connection import Connection, Flow
from ebpfmesh.l7.contain import Watch, words
from ebpfmesh.l7.contract import (
    TO_THE_END,
    WINDOW,
    Bytes,
    Code,
    Config,
    Drop,
    Error,
    Escalate,
    More,
    Pass,
    Reply,
)
from ebpfmesh.l7.events import Dropped, Event, Replied, Tunnel, Undecodable
from ebpfmesh.l7.parser import PythonParser

HEAD_LIMIT = 32768
_IDLE = 16  # answers without a byte in succession: more is a parser that does not come to an end


class _Held:
    """What a direction has of bytes that belong to something unfinished."""

    __slots__ = ("at", "begins", "data", "gap", "idle", "needed")

    def __init__(self) -> None:
        self.data = b""
        self.at = 0
        """What is before it in `data` was passed."""
        self.begins = 0
        """Position of ``data[at]`` in the stream."""
        self.needed = 1
        """Bytes from there on that the parser wants to see."""
        self.gap = self.idle = 0

    @property
    def left(self) -> int:
        """Bytes that were not passed."""
        return len(self.data) - self.at

    def take(self, data: bytes, position: int) -> None:
        """These bytes, whose first is at ``position``, have come."""
        if self.left:
            self.data = self.data[self.at :] + data
        else:
            self.data, self.begins = data, position
        self.at = 0

    def shown(self, length: int) -> bytes:
        """What the parser is shown: up to ``length`` bytes."""
        return self.data[self.at : self.at + length]

    def passed(self, count: int) -> None:
        """``count`` bytes are not shown again."""
        self.at += count
        self.begins += count
        self.needed = 1
        self.idle = 0 if count else self.idle + 1


class PythonConnection(Connection):
    """A connection that an instance of a `PythonParser` parses."""

    def __init__(self, parser: PythonParser, config: Config, watch: Watch) -> None:
        super().__init__(parser, config, watch)
        self._watch: Watch = watch
        self._instance: PythonParser | None = None
        self._unborn = ""
        try:
            self._instance = type(parser)()
            self._instance.config = config
        except (Exception, SystemExit) as error:
            self._unborn = words(error)
        self._held = (_Held(), _Held())
        self._limit = config.head_limit or HEAD_LIMIT
        self._window = min(WINDOW, self._limit)

    def _watched(self, watch: Watch, flow: Flow, data: Bytes, end: bool, events: list[Event]) -> None:
        # each call of parse() is measured, not all that one feed() makes
        if watch.disabled is None:
            self._tell(flow, data, end, events)
        else:
            super()._watched(watch, flow, data, end, events)

    def _lost(self, flow: Flow, count: int, structure: int) -> None:
        self._held[flow.direction].gap += structure

    def _tell(self, flow: Flow, data: Bytes, end: bool, events: list[Event]) -> None:
        start, held = flow.position, self._held[flow.direction]
        flow.position += len(data)
        unseen = max(0, min(flow.until, flow.position) - start)
        if flow.until:
            flow.carry(start, data, events)
        if held.gap and (end or unseen < len(data)):
            self._gap(flow, held, start + unseen, events)
        if unseen < len(data):
            held.take(bytes(data[unseen:]), start + unseen)
        while not flow.final and not flow.until and held.left >= held.needed:
            self._step(flow, held, held.shown(max(held.needed, self._window)), False, events)
        if end and not flow.final:
            self._end(flow, held, events)

    def _gap(self, flow: Flow, held: _Held, position: int, events: list[Event]) -> None:
        """Bytes that were no payload are missing: the parser says what that means."""
        count, held.gap = held.gap, 0
        held.data, held.at, held.begins, held.needed = b"", 0, position, 1
        step = self._parser().gap(flow.direction, count)
        if isinstance(step, Escalate | Error):
            self._carry_out(flow, held, step, 0, events)
        elif step is not None:
            raise self._broken(f"gap() answered {step!r:.80}")

    def _end(self, flow: Flow, held: _Held, events: list[Event]) -> None:
        """The end of the direction, after its bytes."""
        if flow.until:
            if flow.until != TO_THE_END:
                raise self._error(flow, flow.position, Code.INCOMPLETE)
            flow.until = flow.position
            flow.carry(flow.position, b"", events)
        if not held.left:
            held.begins = flow.position
        while not flow.final:
            shown = held.shown(held.left)
            step = self._step(flow, held, shown, True, events)
            if isinstance(step, More) or flow.until > flow.position:
                if shown or flow.until:
                    raise self._error(flow, flow.position, Code.INCOMPLETE)
                return
            if not held.left and (not shown or isinstance(step, Pass)):
                return

    def _step(self, flow: Flow, held: _Held, shown: bytes, end: bool, events: list[Event]) -> object:
        """Ask the parser once, and do what it answers."""
        watch = self._watch
        since = watch.clock()
        try:
            step = self._parser().parse(flow.direction, shown, end)
        except ParseError as error:
            raise self._broken("parse() raised ParseError; it is to answer Error(code, at)") from error
        watch.ran(since, len(shown))
        if isinstance(step, More):
            if type(step.needed) is not int or step.needed < 1:
                raise self._broken(f"parse() answered {step!r:.80}")
            if not end:
                self._more(flow, held, len(shown) + step.needed)
        else:
            self._carry_out(flow, held, step, len(shown), events)
        if watch.disabled is not None and not flow.final:
            flow.final = True
            reason = f"disabled: {watch.disabled}"
            events.append(Undecodable(flow.direction, held.begins, Code.DISABLED, reason))
        return step

    def _more(self, flow: Flow, held: _Held, needed: int) -> None:
        if needed > self._limit:
            raise self._error(flow, held.begins, Code.TOO_LONG)
        held.needed = needed
        if needed < held.left:  # it saw a part: a doubled one next, or a long head would be shown very often
            held.needed = min(held.left, 2 * needed, self._limit)

    def _carry_out(self, flow: Flow, held: _Held, step: object, shown: int, events: list[Event]) -> None:
        if isinstance(step, Pass | Drop | Reply):
            self._passed(flow, held, step, shown, events)
        elif isinstance(step, Escalate) and _is_code(step.code):
            flow.final = True
            events.append(
                Undecodable(flow.direction, held.begins, int(step.code), self.parser.reason(step.code))
            )
        elif (
            isinstance(step, Error) and _is_code(step.code) and type(step.at) is int and 0 <= step.at <= shown
        ):
            raise self._error(flow, held.begins + step.at, int(step.code))
        else:
            raise self._broken(f"it answered {step!r:.80}")

    def _passed(
        self, flow: Flow, held: _Held, step: Pass | Drop | Reply, shown: int, events: list[Event]
    ) -> None:
        begins, count = held.begins, step.count
        head = count if not isinstance(step, Pass) or step.head is None else step.head
        tunnel = isinstance(step, Pass) and step.tunnel
        to_end = isinstance(step, Pass) and (step.to_end or tunnel)
        if to_end:
            count = max(count, head)
        if type(count) is not int or type(head) is not int or not 0 <= head <= count < TO_THE_END:
            raise self._broken(f"it answered {step!r:.80}")
        if shown and not count and ((step.event is None and not to_end) or held.idle >= _IDLE):
            raise self._broken("it passes nothing, and would be asked for ever")
        if step.event is not None:
            if not isinstance(step.event, Event):
                raise self._broken(f"its event is {step.event!r:.80}")
            events.append(
                msgspec.structs.replace(step.event, direction=flow.direction, position=begins + head)
            )
        if isinstance(step, Drop):
            events.append(Dropped(flow.direction, begins + count))
        elif isinstance(step, Reply):
            events.append(Replied(flow.direction, begins + count, bytes(step.data)))
        else:
            flow.stream, flow.ends = step.stream, (step.ends or to_end) and not tunnel
            if tunnel:
                events.append(Tunnel(flow.direction, begins + head, step.stream))
        flow.payload = begins + head
        flow.until = TO_THE_END if to_end else begins + count
        data, start = held.data, begins - held.at
        held.passed(min(flow.until - begins, held.left))
        flow.carry(start, data, events)

    def _stands(self, flow: Flow) -> int:
        return max(self._held[flow.direction].begins, min(flow.position, flow.until))

    def _parser(self) -> PythonParser:
        if self._instance is None:
            raise self._broken(f"it cannot be made: {self._unborn}")
        return self._instance

    def _broken(self, what: str) -> ParserFaultError:
        return ParserFaultError(what, parser=self.parser.name)


def _is_code(code: object) -> bool:
    return isinstance(code, int) and 0 < code < 1 << 32
