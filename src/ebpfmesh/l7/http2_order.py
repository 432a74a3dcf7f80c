"""Where two recordings of a connection of HTTP/2 take turns: they have no times, but their frames tell much of the order.

What the server sends is replayed as early as it can have been sent: a frame on a stream once the head is complete that
opens it, an acknowledgement once there is something to acknowledge. So at each frame of the client at least as much of
the server's is replayed as was sent by then, and whatever the client's frame answers to is among it. A message of the
client is not interrupted by what may be its answer. RFC 9113 sections 3.4, 5.1, 6.5.3, 6.7.
"""

from __future__ import annotations

from typing import NamedTuple

from ebpfmesh.l7.contract import REQUEST, RESPONSE, Direction

_PREFACE, _HEADER = 24, 9
_DATA, _HEADERS, _RESET, _SETTINGS, _PROMISE, _PING, _WINDOW, _CONTINUATION = 0, 1, 3, 4, 5, 6, 8, 9
_MESSAGE = _DATA, _HEADERS, _CONTINUATION
_OF_A_STREAM = *_MESSAGE, _RESET, _PROMISE, _WINDOW  # PRIORITY may name a stream that nobody has opened
_ACK = _END_STREAM = 1
_END_HEADERS = 4


class _Frame(NamedTuple):
    length: int
    type: int
    flags: int
    stream: int


class FrameOrder:
    """Follows the frames of both recordings: an `ebpfmesh.l7.recording.Order`.

    ``upgraded``: stream 1 is open, its request was made in HTTP/1.
    """

    look = _HEADER

    def __init__(self, *, upgraded: bool = False) -> None:
        self._left = [_PREFACE, 0]  # bytes of the frame that is being replayed
        self._frame: list[_Frame | None] = [None, None]
        self._message = (
            0  # the client's stream whose message has begun and not ended, if its frames came last
        )
        self._opened = 1 if upgraded else 0
        self._settings = self._pings = 0  # of the client, that the server has not acknowledged
        self._begun = (
            False  # the client's first SETTINGS is replayed: the server waits for it, though it need not
        )

    def turn(self, requests: bytes, responses: bytes) -> tuple[Direction, int]:
        """Which recording goes on, and up to how many bytes; ``b""``: it is at its end."""
        direction = RESPONSE if self._answers(requests, responses) else REQUEST
        front = responses if direction == RESPONSE else requests
        if not self._left[direction] and len(front) >= _HEADER:
            self._frame[direction] = frame = _read(front)
            self._left[direction] = _HEADER + frame.length
        return direction, self._left[direction] or len(front)

    def replayed(self, direction: Direction, count: int) -> None:
        """So many bytes of what ``turn`` named are fed."""
        if not self._left[direction]:
            return
        self._left[direction] -= count
        frame = self._frame[direction]
        if not self._left[direction] and frame is not None:
            self._passed(direction, frame)

    def _answers(self, requests: bytes, responses: bytes) -> bool:
        """Whether it is the server's turn."""
        if not requests or not responses:
            return not requests
        if self._left[REQUEST] or self._left[RESPONSE]:
            return not self._left[REQUEST]
        if len(requests) < _HEADER or len(responses) < _HEADER:  # what is cut goes last
            return len(requests) < _HEADER
        frame = _read(requests)
        if self._message and frame.stream == self._message and frame.type in _MESSAGE:
            return False
        return self._may_come(_read(responses))

    def _may_come(self, frame: _Frame) -> bool:
        """Whether the server can have sent a frame by now."""
        if not self._begun:
            return False
        if frame.flags & _ACK and frame.type in (_SETTINGS, _PING):
            return (self._settings if frame.type == _SETTINGS else self._pings) > 0
        return frame.type not in _OF_A_STREAM or frame.stream % 2 == 0 or frame.stream <= self._opened

    def _passed(self, direction: Direction, frame: _Frame) -> None:
        answers = direction == RESPONSE
        if frame.type == _SETTINGS and bool(frame.flags & _ACK) == answers:
            self._settings += -1 if answers else 1
            self._begun = True
        elif frame.type == _PING and bool(frame.flags & _ACK) == answers:
            self._pings += -1 if answers else 1
        if answers:
            return
        if frame.type in (_HEADERS, _CONTINUATION) and frame.flags & _END_HEADERS:
            self._opened = max(self._opened, frame.stream)
        if frame.type != _CONTINUATION:
            goes_on = frame.type in (_DATA, _HEADERS) and not frame.flags & _END_STREAM
            self._message = frame.stream if goes_on else 0


def _read(header: bytes) -> _Frame:
    stream = int.from_bytes(header[5:9], "big") & 0x7FFFFFFF
    return _Frame(int.from_bytes(header[:3], "big"), header[3], header[4], stream)
