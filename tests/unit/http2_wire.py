"""HTTP/2 frames as bytes, and what a connection tells of them at every split point."""

from __future__ import annotations

from typing import Any

from ebpfmesh import l7
from ebpfmesh.l7.contract import REQUEST, RESPONSE, Config
from ebpfmesh.l7.vectors import Piece, outcome, splits

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
END_STREAM, ACK, END_HEADERS, PADDED, HAS_PRIORITY = 1, 1, 4, 8, 32
WHOLE = END_HEADERS | END_STREAM

GET = ((":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a.example"))
POST = ((":method", "POST"), *GET[1:])
OK = ((":status", "200"),)


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def text(octets: str) -> bytes:
    """A string of HPACK, not Huffman-coded."""
    data = octets.encode("latin-1")
    length, coded = len(data), b""
    if length < 127:
        return bytes((length,)) + data
    length, coded = length - 127, b"\x7f"
    while length >= 128:
        length, coded = length >> 7, coded + bytes((length & 127 | 128,))
    return coded + bytes((length,)) + data


def block(*headers: tuple[str, str]) -> bytes:
    """A header block of literals that touch no table."""
    return b"".join(b"\0" + text(name) + text(value) for name, value in headers)


def headers(stream: int, *pairs: tuple[str, str], flags: int = WHOLE) -> bytes:
    return frame(HEADERS, block(*pairs), flags=flags, stream=stream)


def data(stream: int, payload: bytes, *, flags: int = 0) -> bytes:
    return frame(DATA, payload, flags=flags, stream=stream)


def settings(**values: int) -> bytes:
    """By number: ``settings(_1=0)``."""
    entries = (int(name[1:]).to_bytes(2, "big") + value.to_bytes(4, "big") for name, value in values.items())
    return frame(SETTINGS, b"".join(entries))


def reset(stream: int, code: int = 8) -> bytes:
    return frame(RST_STREAM, code.to_bytes(4, "big"), stream=stream)


SETTINGS_ACK = frame(SETTINGS, flags=ACK)
BEGIN: list[Piece] = [
    (REQUEST, PREFACE + settings()),
    (RESPONSE, settings() + SETTINGS_ACK),
    (REQUEST, SETTINGS_ACK),
]
"""How a connection begins, which tells four SETTINGS."""


def client(*frames: bytes) -> Piece:
    return REQUEST, b"".join(frames)


def server(*frames: bytes) -> Piece:
    return RESPONSE, b"".join(frames)


def read(
    *pieces: Piece, protocol: str = "http2", config: Config | None = None, begun: bool = True
) -> list[Any]:
    """What the pieces tell behind the beginning, as plain values; an error is the last one. The same at every split."""
    config = config or Config()
    inputs = [*(BEGIN if begun else ()), *pieces]
    parser = l7.parser(protocol)
    wanted = None
    for name, cut in splits(inputs):
        events, error = outcome(parser.connection(config), cut)
        if error is not None:
            events.append({"error": parser.reason(error[0]), "position": error[1]})
        if wanted is None:
            wanted = events
        assert events == wanted, name
    assert wanted is not None
    return wanted[4 if begun else 0 :]


def brief(events: list[Any], *more: str) -> list[Any]:
    """Of each event its name, its stream, and what else is asked for: one tuple."""
    found = []
    for event in events:
        if "error" in event:
            found.append(("error", event["error"]))
            continue
        kept = tuple(event[name] for name in more if name in event)
        found.append((event["event"], *((event["stream"],) if "stream" in event else ()), *kept))
    return found


def error(*pieces: Piece, **options: Any) -> str:
    """The name of the code of the error, or of why it is undecodable, that the pieces end with."""
    last = read(*pieces, **options)[-1]
    if "error" in last:
        name: str = last["error"]
        return name
    assert last["event"] == "undecodable", last
    return "undecodable: " + last["reason"]
