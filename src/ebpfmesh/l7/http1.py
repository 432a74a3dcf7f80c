"""HTTP/1.0 and HTTP/1.1 (RFC 9112, RFC 9110): the Python face of ``include/ebpfmesh/l7/http1.h``.

    connection = l7.parser("http1").connection()
    for event in connection.feed(l7.REQUEST, received):
        ...

A request and its response have the same ``stream``: 1 for the first of the connection, 0 for a 408 that answers none.
What is accepted, and where that differs from other parsers, is in docs/http1-conformance.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ebpfmesh.l7.contract import Code as Shared
from ebpfmesh.l7.contract import Config, Direction
from ebpfmesh.l7.http import (
    HEADER_ATTRIBUTES,
    INTERIM_FIELDS,
    REQUEST_FIELDS,
    RESPONSE_FIELDS,
    Framing,
    Interim,
    Options,
    Request,
    Response,
    Trailers,
    refuse_told,
)
from ebpfmesh.l7.parser import CoreParser
from ebpfmesh.l7.plan import Kind, Text

if TYPE_CHECKING:
    from ebpfmesh.l7.vectors import Vector

__all__ = ["Code", "Framing", "Http1", "Interim", "Options", "Request", "Response", "Trailers", "Upgraded"]


class Code(IntEnum):
    """What breaks the protocol; sections are of RFC 9112, if they name no other."""

    BAD_METHOD = 16
    """No token, or no single space behind it (3.1)."""
    BAD_TARGET = 17
    """None of the four forms, or no authority in it; "*" without OPTIONS (3.2)."""
    BAD_VERSION = 18
    """Not HTTP/1.0 or HTTP/1.1, in capitals (2.3)."""
    BAD_STATUS = 19
    """Not three digits from 100 on (4)."""
    BARE_CR = 20
    """A CR that no LF follows (2.2)."""
    BARE_LF = 21
    """A line that ends with LF alone (2.2)."""
    FOLDED_LINE = 22
    """A line that begins with white space (5.2)."""
    SPACE_BEFORE_COLON = 23
    """White space between a name and its colon (5.1)."""
    BAD_NAME = 24
    """A name that is no token, or empty (RFC 9110, 5.1)."""
    BAD_VALUE = 25
    """A control character (RFC 9110, 5.5)."""
    NO_HOST = 26
    """HTTP/1.1 without Host (3.2); an error only with ``require_host``."""
    REPEATED_HOST = 27
    """More than one Host (3.2)."""
    BAD_HOST = 28
    """Not a host and port (3.2)."""
    BAD_CONTENT_LENGTH = 29
    """Not digits only, or over 2**63 - 1 (6.2)."""
    REPEATED_CONTENT_LENGTH = 30
    """More than one, also with equal values (6.3)."""
    BAD_TRANSFER_ENCODING = 31
    """chunked is not last, or comes twice; a coding that is not known; HTTP/1.0 (6.1)."""
    LENGTH_AND_CODING = 32
    """Content-Length and Transfer-Encoding (6.3)."""
    BAD_CHUNK_SIZE = 33
    """Not hexadecimal digits only, or over 2**60 (7.1)."""
    BAD_CHUNK_EXTENSION = 34
    """No token or quoted string where one must be (7.1.1)."""
    BAD_CHUNK_END = 35
    """No CRLF behind the data of a chunk (7.1)."""
    BAD_TRAILER = 36
    """A trailer that would decide about framing (RFC 9110, 6.5.1)."""
    DATA_AFTER_CLOSE = 37
    """Bytes behind the last message of the connection (9.6)."""
    EMPTY_LINES = 38
    """Too many before a request (2.2)."""
    UNASKED_RESPONSE = 39
    """A response, and no request is outstanding (9.2); 408, and a refusal of an unfinished head, are none."""
    UNASKED_UPGRADE = 40
    """101, and the request had no Upgrade (RFC 9110, 15.2.2)."""
    BODY_NOT_ALLOWED = 41
    """A length or a coding with 1xx or 204 (6.1, 6.2)."""
    IS_HTTP2 = 42
    """The preface of HTTP/2."""
    BEFORE_ANSWER = 43
    """Undecodable, no error: bytes behind CONNECT or Upgrade, before the answer says what they are."""


LENIENCIES = {
    "folded_lines": 1,
    "space_before_colon": 2,
    "value_controls": 4,
    "bare_lf": 8,
    "bare_cr": 16,
    "data_after_close": 32,
    "length_and_coding": 64,
    "any_coding": 128,
    "any_version": 256,
    "no_crlf_after_chunk": 512,
    "space_after_chunk_size": 1024,
    "equal_lengths": 2048,
    "require_host": 65536,
}
"""``enum http1_leniency``. The last is the other way: it makes an error of HTTP/1.1 without Host."""


class Upgraded(Response, frozen=True):
    """The response behind which both directions carry another protocol: 101, or 2xx to CONNECT."""


_LIST = (Text(31, "headers"),)  # HTTP1_LIST_TRUNCATED: never present, but told to be truncated


class Http1(CoreParser):
    """HTTP/1.0 and HTTP/1.1."""

    name = "http1"
    ports = (80, 8080, 8000)
    prefix = 1024
    codes = Code
    leniencies = LENIENCIES
    kinds = {  # noqa: RUF012 - a declaration
        1: Kind(Request, REQUEST_FIELDS + _LIST, registered=20, headers_behind=(0, 1)),
        2: Kind(Response, RESPONSE_FIELDS + _LIST, registered=20, headers_behind=()),
        3: Kind(Interim, INTERIM_FIELDS + _LIST, registered=20, headers_behind=()),
        4: Kind(Trailers, _LIST, registered=20, headers_behind=()),
        5: Kind(None),
        11: Kind(Upgraded, RESPONSE_FIELDS + _LIST, registered=20, headers_behind=()),
    }

    def resolved(self, config: Config | None) -> Config:
        """As every parser's; ConfigError also for a registered name whose value has an attribute of its own."""
        refuse_told(self.name, config, HEADER_ATTRIBUTES)
        return super().resolved(config)

    @property
    def vectors(self) -> Sequence[Vector]:  # type: ignore[override]
        """Inputs and what they tell; read from ``http1_vectors.json`` where they are run."""
        return _vectors()


@cache
def _vectors() -> tuple[Vector, ...]:
    from ebpfmesh.l7.vectors import Vector

    text = Path(__file__).with_name("http1_vectors.json").read_bytes()
    reasons = {code.name.lower(): int(code) for code in (*Shared, *Code)}
    found = []
    for entry in msgspec.json.decode(text):
        config = entry.get("config", {})
        if "key" in config:
            config["key"] = config["key"].encode("latin-1")
        reason, position = entry.get("error", (None, 0))
        found.append(
            Vector(
                entry["name"],
                [(Direction[name.upper()], data.encode("latin-1")) for name, data in entry["inputs"]],
                [_expected(event) for event in entry.get("expect", ())],
                None if reason is None else (reasons[reason], position),
                msgspec.convert(config, Config),
            )
        )
    return tuple(found)


def _expected(event: dict[str, Any]) -> dict[str, Any]:
    """An event of the file as `events.builtins` has it: JSON has neither bytes nor tuples."""
    if "data" in event:
        event["data"] = event["data"].encode("latin-1")
    for name in ("headers", "repeated", "truncated"):
        if name in event:
            event[name] = tuple(tuple(one) if isinstance(one, list) else one for one in event[name])
    return event
