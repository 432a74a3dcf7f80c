"""Paths of requests as policy sees them, and the patterns that rules have for them.

This is the reference of ``authorise/path.h``, which does the same in the kernel; ``tests/path_cases.toml`` holds examples.
Sources: RFC 3986 (section 2.1 percent-encoding, 5.2.4 dot segments), RFC 9110 (section 4.2.3 paths).
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

from ebpfmesh.errors import CapacityError, ConfigError

LONGEST = 2048
"""Bytes of a path, as sent."""
SEGMENTS = 16
"""Segments of a pattern, as many as the kernel looks at."""

_DIGITS = {digit: int(chr(digit), 16) for digit in b"0123456789abcdefABCDEF"}
_UNPRINTED = re.compile(r"[\x00-\x1f\x7f]")


class BadPath(StrEnum):
    """Why a path cannot be normalised; the request is refused (400) where a rule of the service asks for paths."""

    NOT_ABSOLUTE = "it does not begin with '/'"
    TOO_LONG = f"it is longer than {LONGEST} bytes, or was cut"
    BAD_ESCAPE = "a '%' without two hexadecimal digits"
    CONTROL = "a control character, encoded or not"
    SLASH = "an encoded slash"
    BACKSLASH = "a backslash, encoded or not"
    PARAMETERS = "a ';', encoded or not"
    FRAGMENT = "a '#'"
    """No target has one (RFC 9112 section 3.2): some servers cut there, others do not."""
    ABOVE_ROOT = "'..' above the root"


_REFUSED = {0x2F: BadPath.SLASH, 0x5C: BadPath.BACKSLASH}


class NormalPath(NamedTuple):
    """A normalised path: its bytes, decoded once, and its segments."""

    path: bytes
    segments: tuple[bytes, ...]
    """Without slashes; an empty one is there only as the last: "/a/" is a and "", "/" is ""."""


def normalise(path: bytes, *, keep_parameters: bool = False) -> NormalPath | BadPath:
    """The one form of a path that rules are compared with, or why there is none.

    ``path`` is what was sent, without query, scheme and authority; ``keep_parameters`` takes ";" as any other character.
    Percent-encoding is decoded once. Segments are settled from left to right while they end: an empty one vanishes, so does
    ".", and ".." takes the one before it along; what is last leaves a slash at the end behind if it vanishes.
    """
    if len(path) > LONGEST:
        return BadPath.TOO_LONG
    if not path.startswith(b"/"):
        return BadPath.NOT_ABSOLUTE
    segments: list[bytes] = []
    written = path[1:].split(b"/")
    for number, text in enumerate(written):
        segment = _decoded(text, keep_parameters)
        if isinstance(segment, BadPath):
            return segment
        if segment == b"..":
            if not segments:
                return BadPath.ABOVE_ROOT
            segments.pop()
        vanishes = segment in (b"", b".", b"..")
        if not vanishes:
            segments.append(segment)
        elif number == len(written) - 1:
            segments.append(b"")
    return NormalPath(b"/" + b"/".join(segments), tuple(segments))


def _decoded(text: bytes, keep_parameters: bool) -> bytes | BadPath:
    result = bytearray()
    at = 0
    while at < len(text):
        byte, width = text[at], 1
        if byte == 0x25:  # "%"
            high, low = (_DIGITS.get(digit, -1) for digit in text[at + 1 : at + 3].ljust(2))
            if high < 0 or low < 0:
                return BadPath.BAD_ESCAPE
            byte, width = high << 4 | low, 3
        if byte < 0x20 or byte == 0x7F:
            return BadPath.CONTROL
        if byte in _REFUSED:
            return _REFUSED[byte]
        if byte == 0x23 and width == 1:  # "#"
            return BadPath.FRAGMENT
        if byte == 0x3B and not keep_parameters:
            return BadPath.PARAMETERS
        result.append(byte)
        at += width
    return bytes(result)


class Pattern(NamedTuple):
    """What a rule says of paths: its segments, of which None is any one that is not empty, and whether it goes on below."""

    segments: tuple[bytes | None, ...]
    below: bool

    @property
    def is_exact(self) -> bool:
        """Whether one path alone matches."""
        return not self.below and None not in self.segments

    @property
    def path(self) -> bytes:
        """The normalised path that an exact pattern matches."""
        return b"/" + b"/".join(segment or b"" for segment in self.segments)

    def matches(self, segments: tuple[bytes, ...]) -> bool:
        """Whether a normalised path of these segments matches."""
        if len(segments) < len(self.segments) or (len(segments) > len(self.segments) and not self.below):
            return False
        # zip ends with the pattern: what is below it may be anything
        return all(
            bool(segment) if wanted is None else segment == wanted
            for wanted, segment in zip(self.segments, segments, strict=False)
        )


def parse(text: str) -> Pattern:
    """A rule's path: "/exact", "/users/*/orders" (one segment that is not empty), "/admin/**" (/admin and all below it).

    It is written as it would be sent: what is percent-encoded is decoded, so "%2A" is the character "*". Errors, without a
    path of the field: ConfigError, or CapacityError if it has more than 16 segments.
    """
    if not text.startswith("/"):
        raise ConfigError(f"{text!r} does not begin with '/'", remedy='write "/path", "/path/**" or "/a/*/b"')
    if "?" in text or "#" in text:
        raise ConfigError(f"{text!r} has more than a path", remedy="rules see the path without its query")
    if _UNPRINTED.search(text):
        raise ConfigError(
            f"{text!r} has {BadPath.CONTROL}", remedy="no request with such a path is let through"
        )
    if len(text.encode()) > LONGEST:
        raise ConfigError(
            f"{text[:80]!r}… is longer than {LONGEST} bytes", remedy="no request has such a path"
        )
    written = text[1:].split("/")
    below = written[-1] == "**"
    if below:
        del written[-1]
    last = len(written) - 1
    segments = tuple(
        _segment(one, text, may_be_empty=number == last and not below) for number, one in enumerate(written)
    )
    if len(segments) > SEGMENTS:
        raise CapacityError(
            f"{text[:80]!r} has {len(segments)} segments, and {SEGMENTS} are looked at",
            remedy='end it earlier with "/**"',
        )
    return Pattern(segments, below)


def _segment(written: str, text: str, *, may_be_empty: bool) -> bytes | None:
    if written == "*":
        return None
    if "*" in written:
        raise ConfigError(
            f"{text!r}: '*' is a whole segment, and '**' the last one",
            remedy='write "%2A" for the character itself',
        )
    segment = _decoded(written.encode("utf-8", "surrogateescape"), keep_parameters=True)
    if isinstance(segment, BadPath):
        raise ConfigError(f"{text!r} has {segment}", remedy="no request with such a path is let through")
    if segment in (b".", b"..") or not (segment or may_be_empty):
        raise ConfigError(
            f"{text!r} has a segment {segment.decode()!r}",
            remedy="write the path without it: it is normalised",
        )
    return segment
