"""Which protocol a connection speaks: every parser says how sure it is of the first bytes.

At most a kilobyte is looked at, by most parsers far less; what nobody knows by then is opaque, and so is a server that
speaks first in a protocol that nobody knows. The port is a hint: it makes a parser surer that sees its protocol, it never
decides.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from ebpfmesh.l7.contain import words
from ebpfmesh.l7.contract import Bytes, Direction
from ebpfmesh.l7.parser import Parser
from ebpfmesh.l7.registry import LONGEST_PREFIX, REGISTRY, Registry

ENOUGH = 50
"""The confidence from which on a parser may be taken."""
SURE = 90
"""… at once, although others could still become as sure, if none of those has a higher priority."""
PORT = 25
"""What the protocol's usual port adds to a confidence above 0."""


class Detection(msgspec.Struct, frozen=True):
    """What is known after a prefix."""

    parser: Parser | None
    """None: nobody's, or nobody's yet."""
    confidence: int
    undecided: bool
    """More bytes can change it."""


def examine(
    parsers: Iterable[Parser], prefix: Bytes, direction: Direction, port: int | None = None
) -> Detection:
    """Ask each of ``parsers`` about the first bytes of a direction, on a connection to ``port``."""
    best: Parser | None = None
    confidence, waiting = 0, []
    for parser in parsers:
        answer = _asked(parser, bytes(prefix[: parser.prefix]), direction)
        if answer is None:
            if len(prefix) < parser.prefix:
                waiting.append(parser)
            continue
        if answer and port is not None and port in parser.ports:
            answer = min(100, answer + PORT)
        if answer >= ENOUGH and (best is None or (answer, parser.priority) > (confidence, best.priority)):
            best, confidence = parser, answer
    if best is None:
        return Detection(None, 0, bool(waiting))
    least = best.priority if confidence >= SURE else -(1 << 62)
    if any(parser.priority > least for parser in waiting):
        return Detection(None, confidence, True)
    return Detection(best, confidence, False)


def _asked(parser: Parser, prefix: bytes, direction: Direction) -> int | None:
    """The parser's confidence; 0 if it is at fault, which counts."""
    watch = parser.watch
    if watch is None:
        return parser.detect(prefix, direction)
    if watch.disabled is not None:
        return 0
    since = watch.clock()
    try:
        answer: object = parser.detect(prefix, direction)
    except (Exception, SystemExit) as error:
        watch.failed(f"detect(): {words(error)}")
        return 0
    watch.ran(since, len(prefix))
    if answer is None:
        return None
    if type(answer) is not int or not 0 <= answer <= 100:
        watch.failed(f"detect() answered {answer!r:.80}, not 0 to 100 or None")
        return 0
    return answer


def detect(
    prefix: Bytes,
    direction: int = Direction.REQUEST,
    port: int | None = None,
    transport: str = "tcp",
    *,
    registry: Registry = REGISTRY,
) -> Parser | None:
    """The parser of a direction that begins with ``prefix``; None if nobody knows it, or these bytes are too few to say.

    ``port`` is the server's. `Detector` tells the two cases of None apart.
    """
    return examine(registry.usable(transport), prefix, Direction(direction), port).parser


class Detector:
    """Finds the protocol of a connection as its bytes come. It holds nothing up: it only looks.

    ``state`` is "undecided" until it is "known" or "opaque", and stays so.
    """

    def __init__(
        self, *, port: int | None = None, transport: str = "tcp", registry: Registry = REGISTRY
    ) -> None:
        self.state: Literal["undecided", "known", "opaque"] = "undecided"
        self.parser: Parser | None = None
        self._port = port
        self._parsers = list(registry.usable(transport))
        self._prefixes = (bytearray(), bytearray())

    def feed(self, direction: int, data: Bytes) -> Parser | None:
        """Look at the next bytes of a direction; the parser as soon as it is known."""
        prefix = self._prefixes[direction]
        if self.state == "undecided" and len(data):
            prefix += data[: LONGEST_PREFIX - len(prefix)]
            found = examine(self._parsers, prefix, Direction(direction), self._port)
            if found.parser is not None:
                self.state, self.parser = "known", found.parser
            elif not found.undecided:
                self.state = "opaque"
        return self.parser

    def end(self) -> None:
        """Nothing more comes: what is not known now is opaque."""
        if self.state == "undecided":
            self.state = "opaque"
