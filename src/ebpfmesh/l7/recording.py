"""Recordings of what a direction of a connection carried, replayed: in one piece after the other, and two of them by turns.

A recording of two directions has no times. A request is replayed before its response, and what follows a response that
may change how the connection is read (CONNECT, an upgrade) after it: the directions take turns, message by message, or as
the protocol's own `Order` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from ebpfmesh.l7.connection import Connection
from ebpfmesh.l7.contract import Direction
from ebpfmesh.l7.events import End, Event, Tunnel

BLOCK = 65536
"""Bytes read, and fed, at a time."""
_LINE = 512  # where two recordings take turns: fewer bytes at a time, and no more than a line


class Order(Protocol):
    """Says of two recordings of one connection, by what is in them, which goes on. One for each connection."""

    look: int
    """Bytes at the front of each recording that it must see."""

    def turn(self, requests: bytes, responses: bytes) -> tuple[Direction, int]:
        """Which one goes on, and up to how many bytes, by their fronts: `look` bytes, or more, or fewer at the end."""

    def replayed(self, direction: Direction, count: int) -> None:
        """So many bytes are fed, of the one that ``turn`` named last."""


class Recording:
    """The bytes of one direction, from a function that reads up to so many (b"" is the end).

    ``splits`` are offsets at which a piece ends; ``every`` splits at each byte.
    """

    def __init__(
        self,
        direction: Direction,
        read: Callable[[int], bytes],
        *,
        splits: Sequence[int] = (),
        every: bool = False,
    ) -> None:
        self.direction = direction
        self._read = read
        self._splits = sorted({at for at in splits if at > 0}, reverse=True)
        self._every = every
        self._block = b""
        self._at = 0  # in the block
        self._position = 0  # of the block's byte at _at, in the stream
        self.done = False

    def look(self, least: int) -> bytes:
        """The first bytes, at least so many if there are; they stay to be replayed."""
        while len(self._block) - self._at < least and (more := self._read(BLOCK)):
            self._block, self._at = self._block[self._at :] + more, 0
        return self._block[self._at :] if self._at else self._block

    def piece(self, expected: int, *, by_lines: bool, most: int = BLOCK) -> bytes:
        """The next piece, of at most so many bytes; b"" at the end. ``expected`` bytes of it are payload."""
        if self._at >= len(self._block):
            self._block, self._at = self._read(BLOCK), 0
            if not self._block:
                self.done = True
                return b""
        end = min(len(self._block), self._at + most)
        if by_lines:
            end = min(end, self._at + max(_LINE, expected))
            line = self._block.find(b"\n", self._at + expected, end) + 1
            end = line or (min(end, self._at + expected) if expected else end)
        while self._splits and self._splits[-1] <= self._position:
            self._splits.pop()
        if self._splits:
            end = min(end, self._at + self._splits[-1] - self._position)
        if self._every:
            end = self._at + 1
        piece = self._block[self._at : end]
        self._position += len(piece)
        self._at = end
        return piece


def replay(connection: Connection, recordings: Sequence[Recording]) -> Iterator[Event]:
    """Feed one recording, or two by turns, and their ends; yields the events. Errors: ParseError, behind its ``events``."""
    if len(recordings) == 1:
        while not recordings[0].done:
            yield from _fed(connection, recordings[0], by_lines=False)
        return
    requests, responses = sorted(recordings, key=lambda recording: recording.direction)
    order = connection.parser.order(connection.config)
    if order is not None:
        yield from _ordered(connection, order, requests, responses)
        return
    unanswered = 0
    while not (requests.done and responses.done):
        ask = not requests.done and (unanswered < connection.parser.ahead or responses.done)
        for event in _fed(connection, requests if ask else responses, by_lines=True):
            if event.direction == Direction.REQUEST:
                unanswered += isinstance(event, End)
            elif isinstance(event, End | Tunnel):
                unanswered -= 1
            yield event


def _ordered(
    connection: Connection, order: Order, requests: Recording, responses: Recording
) -> Iterator[Event]:
    while not (requests.done or responses.done):
        direction, most = order.turn(requests.look(order.look), responses.look(order.look))
        recording = responses if direction == Direction.RESPONSE else requests
        piece = recording.piece(0, by_lines=False, most=most)
        order.replayed(direction, len(piece))
        yield from connection.feed(direction, piece) if piece else connection.end(direction)
    last = responses if requests.done else requests
    while not last.done:
        yield from _fed(connection, last, by_lines=False)


def _fed(connection: Connection, recording: Recording, *, by_lines: bool) -> list[Event]:
    piece = recording.piece(connection.expected(recording.direction), by_lines=by_lines)
    return connection.feed(recording.direction, piece) if piece else connection.end(recording.direction)
