"""Redis, RESP2 and RESP3: the Python face of ``include/ebpfmesh/l7/redis.h``.

    connection = l7.parser("redis").connection()
    connection.feed(l7.REQUEST, b"*2\\r\\n$3\\r\\nGET\\r\\n$1\\r\\nk\\r\\n")   # [Command(… name='GET', key=b'k'), End(…)]
    connection.feed(l7.RESPONSE, b"-ERR no\\r\\n")                       # [Reply(… text='ERR no'), End(…)]

A `Reply` has the ``stream`` of its `Command`, which is the command's number, from 1 on. It is 0 where a message answers
none, or where that cannot be known (see redis.h). Values are not told. Feed both directions in the order in which the bytes
were sent, or messages of RESP2's subscriptions are taken for replies.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import ClassVar

from ebpfmesh.l7.contract import REQUEST, RESPONSE, Config
from ebpfmesh.l7.contract import Code as SharedCode
from ebpfmesh.l7.events import End, Event, Undecodable
from ebpfmesh.l7.parser import CoreParser
from ebpfmesh.l7.plan import Binary, Kind, Number, Text
from ebpfmesh.l7.vectors import Vector

__all__ = ["Code", "Command", "Push", "Redis", "Reply", "Type"]


class Code(IntEnum):
    """What breaks the protocol, or (the last two) makes a direction undecodable."""

    BAD_LENGTH = 16
    """No decimal number, a leading zero, negative, more than 18 digits."""
    BAD_LINE_END = 17
    """CR without LF, or LF without CR."""
    BAD_TYPE = 18
    """A first byte that no type has."""
    NOT_BULK = 19
    """An argument of a command that is not a bulk string."""
    BAD_VALUE = 20
    """What a null, a boolean or a number cannot be."""
    BAD_INLINE = 21
    """Quotes that do not close, or NUL, in an inline command."""
    BAD_STRING_END = 22
    """No CRLF behind a string that is read: it is longer than its length."""
    STREAMED = 23
    """A string or aggregate of unknown length: RESP3 has them, no server sends them yet."""
    TOO_DEEP = 24
    """Aggregates in more than 16 levels."""


class Type(StrEnum):
    """The first byte of a reply; `NULL` is also that of the nulls of RESP2."""

    SIMPLE_STRING = "+"
    SIMPLE_ERROR = "-"
    INTEGER = ":"
    BULK_STRING = "$"
    ARRAY = "*"
    NULL = "_"
    BOOLEAN = "#"
    DOUBLE = ","
    BIG_NUMBER = "("
    BULK_ERROR = "!"
    VERBATIM_STRING = "="
    MAP = "%"
    SET = "~"
    PUSH = ">"


class Command(Event, frozen=True):
    """A command, its arguments included."""

    stream: int
    name: str
    """Upper case; 32 characters are kept."""
    arguments: int
    """With the name."""
    length: int
    """Bytes on the wire."""
    subcommand: str = ""
    """Upper case: of CONFIG, CLIENT and other containers."""
    key: bytes | None = None
    """The first key; 512 bytes are kept. None: the command has none. Of an unknown command it is the first argument."""
    channel: bytes | None = None
    """The first channel or pattern of SUBSCRIBE, PUBLISH and their kin; 256 bytes are kept."""
    truncated: tuple[str, ...] = ()
    """Attributes that are longer than what was kept."""


class Reply(Event, frozen=True):
    """What answers a command."""

    stream: int
    type: Type
    length: int
    text: str = ""
    """Of a simple string or an error; 256 bytes are kept, as Latin-1."""
    elements: int | None = None
    """Of an array or a set; the pairs of a map."""
    truncated: tuple[str, ...] = ()


class Push(Event, frozen=True):
    """What was not asked for: a message of pub/sub, of MONITOR, of invalidation. Or what confirms SUBSCRIBE and its kin."""

    stream: int
    type: Type
    length: int
    kind: str = ""
    """Such as ``message`` or ``subscribe``; empty for MONITOR, whose line is ``text``."""
    channel: bytes | None = None
    """What stands second: channel, or pattern."""
    text: str = ""
    elements: int | None = None
    truncated: tuple[str, ...] = ()


_LENGTH, _TYPE = Number(5, "length"), Number(6, "type", lambda number: Type(chr(number)))
_COUNT, _TEXT = Number(4, "elements"), Text(7, "text")


def _command(
    position: int, stream: int, name: str, length: int, arguments: int = 1, **more: object
) -> list[Event]:
    made = Command(REQUEST, position, stream, name, arguments, length, **more)  # type: ignore[arg-type]
    return [made, End(REQUEST, position, stream)]


def _reply(position: int, stream: int, type: Type, length: int, **more: object) -> list[Event]:
    made = Reply(RESPONSE, position, stream, type, length, **more)  # type: ignore[arg-type]
    return [made, End(RESPONSE, position, stream)]


def _push(position: int, stream: int, type: Type, length: int, **more: object) -> list[Event]:
    made = Push(RESPONSE, position, stream, type, length, **more)  # type: ignore[arg-type]
    return [made, End(RESPONSE, position, stream)]


VECTORS = (
    Vector(
        "a pipeline and its replies",
        [
            (REQUEST, b"*3\r\n$3\r\nset\r\n$1\r\nk\r\n$5\r\nhello\r\n*1\r\n$4\r\nPING\r\n"),
            (RESPONSE, b"+OK\r\n-ERR what\r\n"),
        ],
        [
            *_command(31, 1, "SET", 31, 3, key=b"k"),
            *_command(45, 2, "PING", 14),
            *_reply(5, 1, Type.SIMPLE_STRING, 5, text="OK"),
            *_reply(16, 2, Type.SIMPLE_ERROR, 11, text="ERR what"),
        ],
    ),
    Vector(
        "inline commands, quoted and not",
        [(REQUEST, b"\r\nset \"a b\\x41\\xz\" 'c\\'d'\r\n  ping  \n")],
        [*_command(27, 1, "SET", 25, 3, key=b"a bAxz"), *_command(36, 2, "PING", 9)],
    ),
    Vector(
        "keys that do not come first, and commands without",
        [
            (
                REQUEST,
                b"*6\r\n$5\r\nXREAD\r\n$5\r\nCOUNT\r\n$1\r\n2\r\n$7\r\nstreams\r\n$2\r\nst\r\n$1\r\n0\r\n",
            ),
            (REQUEST, b"*4\r\n$4\r\nEVAL\r\n$1\r\nx\r\n$1\r\n0\r\n$1\r\nk\r\n"),
            (REQUEST, b"*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n"),
            (REQUEST, b"*3\r\n$6\r\nobject\r\n$4\r\nfreq\r\n$1\r\nk\r\n"),
        ],
        [
            *_command(61, 1, "XREAD", 61, 6, key=b"st"),
            *_command(96, 2, "EVAL", 35, 4),
            *_command(122, 3, "AUTH", 26, 2),
            *_command(155, 4, "OBJECT", 33, 3, subcommand="FREQ", key=b"k"),
        ],
    ),
    Vector(
        "a subscription of RESP2",
        [
            (REQUEST, b"*2\r\n$9\r\nsubscribe\r\n$1\r\na\r\n"),
            (
                RESPONSE,
                b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n",
            ),
            (REQUEST, b"PING\r\n"),
            (RESPONSE, b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"),
        ],
        [
            *_command(26, 1, "SUBSCRIBE", 26, 2, channel=b"a"),
            *_push(30, 1, Type.ARRAY, 30, kind="subscribe", channel=b"a", elements=3),
            *_push(62, 0, Type.ARRAY, 32, kind="message", channel=b"a", elements=3),
            *_command(32, 2, "PING", 6),
            *_reply(82, 2, Type.ARRAY, 20, elements=2),
        ],
    ),
    Vector(
        "the types of RESP3, nested, with an attribute",
        [
            (
                RESPONSE,
                b"|1\r\n+ttl\r\n:3\r\n*2\r\n%1\r\n+a\r\n#t\r\n~1\r\n,1.5\r\n"
                b"_\r\n(123\r\n=7\r\ntxt:abc\r\n!5\r\nERR x\r\n$-1\r\n",
            )
        ],
        [
            *_reply(40, 1, Type.ARRAY, 40, elements=2),
            *_reply(43, 2, Type.NULL, 3),
            *_reply(49, 3, Type.BIG_NUMBER, 6),
            *_reply(62, 4, Type.VERBATIM_STRING, 13),
            *_reply(73, 5, Type.BULK_ERROR, 11, text="ERR x"),
            *_reply(78, 6, Type.NULL, 5),
        ],
    ),
    Vector(
        "a push between command and reply",
        [(REQUEST, b"get k\r\n"), (RESPONSE, b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n:1\r\n")],
        [
            *_command(7, 1, "GET", 7, 2, key=b"k"),
            *_push(32, 0, Type.PUSH, 32, kind="invalidate", elements=2),
            *_reply(36, 1, Type.INTEGER, 4),
        ],
    ),
    Vector(
        "what is streamed is not followed",
        [(RESPONSE, b":1\r\n$?\r\n;4\r\n")],
        [*_reply(4, 1, Type.INTEGER, 4), Undecodable(RESPONSE, 5, Code.STREAMED, "streamed")],
    ),
    Vector(
        "seventeen levels are too many",
        [(RESPONSE, b"*1\r\n" * 17)],
        [Undecodable(RESPONSE, 68, Code.TOO_DEEP, "too_deep")],
    ),
    Vector(
        "midstream is not guessed",
        [(REQUEST, b"PING\r\n")],
        [Undecodable(REQUEST, 0, SharedCode.NOT_FROM_START, "not_from_start")],
        config=Config(midstream=True),
    ),
    Vector("a length with a leading zero", [(REQUEST, b"*01\r\n")], error=(Code.BAD_LENGTH, 2)),
    Vector("LF alone behind a length", [(REQUEST, b"*1\n")], error=(Code.BAD_LENGTH, 2)),
    Vector("CR alone in a line", [(RESPONSE, b"+a\rb\r\n")], error=(Code.BAD_LINE_END, 3)),
    Vector("a type that there is not", [(RESPONSE, b"HTTP/1.1")], error=(Code.BAD_TYPE, 0)),
    Vector("an integer as argument", [(REQUEST, b"*1\r\n:1\r\n")], error=(Code.NOT_BULK, 4)),
    Vector("a boolean of the third kind", [(RESPONSE, b"#x\r\n")], error=(Code.BAD_VALUE, 3)),
    Vector("a quote that does not close", [(REQUEST, b"get 'a\r\n")], error=(Code.BAD_INLINE, 7)),
    Vector(
        "a key longer than its length",
        [(REQUEST, b"*2\r\n$3\r\nGET\r\n$1\r\nkk")],
        error=(Code.BAD_STRING_END, 18),
    ),
    Vector(
        "the end inside a command",
        [(REQUEST, b"*1\r\n$4\r\nPI"), (REQUEST, b"")],
        error=(SharedCode.INCOMPLETE, 10),
    ),
)


class Redis(CoreParser):
    """RESP2, RESP3 and inline commands."""

    name = "redis"
    ports = (6379,)
    codes = Code
    kinds: ClassVar = {
        1: Kind(
            Command,
            (
                Text(0, "name"),
                Text(1, "subcommand"),
                Binary(2, "key"),
                Binary(3, "channel"),
                Number(4, "arguments"),
                _LENGTH,
            ),
        ),
        2: Kind(Reply, (_TYPE, _LENGTH, _TEXT, _COUNT)),
        3: Kind(Push, (_TYPE, _LENGTH, _TEXT, _COUNT, Text(8, "kind"), Binary(3, "channel"))),
    }
    vectors = VECTORS
