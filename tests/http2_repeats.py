"""Conversations of HTTP/2 in which header blocks come again, between others that change what their bytes mean."""

from __future__ import annotations

import random

from hpack import Decoder

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
REQUEST, RESPONSE = 0, 1


def _text(octets: str) -> bytes:
    return bytes((len(octets),)) + octets.encode("ascii")


_HEAD = b"\x82\x86\x44"  # GET, http, and :path as a literal that goes into the table
REQUESTS = (
    b"\x82\x86\x84\x01" + _text("a.example"),  # no table
    b"\x82\x86\x84\x01" + _text("b.example"),
    b"\x82\x86\x84\xbe",  # :authority is the newest entry, whatever that is
    b"\x82\x86\xbe\xbf",  # :path is, and :authority the one before
    b"\x82\x86\x84\x41" + _text("c.example"),  # inserts
    b"\x82\x86\x84\x41" + _text("d.example"),
    b"\x20\x3f\xe1\x1f\x82\x86\x84\x41" + _text("e.example"),  # empties the table
    b"\x82\x86\x04" + _text("/" + "p" * 100) + b"\x01" + _text("a.example"),
    b"\x82\x86\x04" + _text("/" + "p" * 120) + b"\x01" + _text("a" * 100),  # longer than what is remembered
)
RESPONSES = (b"\x88", b"\x88\x0f\x10" + _text("text/plain"), b"\x48" + _text("203"), b"\xbe")
TRAILERS = (b"\x00" + _text("grpc-status") + _text("0"), b"\x00" + _text("grpc-status") + _text("5"))


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _picked(
    chance: random.Random, decoder: Decoder, blocks: tuple[bytes, ...], last: bytes
) -> tuple[bytes, dict]:
    """A block, often the one before, that the table allows and that makes a whole head; and its headers."""
    while True:
        chosen = last if last and chance.random() < 0.6 else chance.choice(blocks)
        names = [entry[0] for entry in decoder.header_table.dynamic_entries]
        wants = {
            b"\x82\x86\x84\xbe": [b":authority"],
            b"\x82\x86\xbe\xbf": [b":path", b":authority"],
            b"\xbe": [b":status"],
        }
        if names[: len(wants.get(chosen, []))] == wants.get(chosen, []):
            return chosen, dict(decoder.decode(chosen))
        last = b""


def conversation(seed: int, requests: int = 40) -> tuple[list[tuple[int, bytes]], list[dict[str, str]]]:
    """Pieces, and the headers of each head in the order in which it is told, as python-hpack reads them."""
    chance = random.Random(seed)
    decoders = Decoder(), Decoder()
    pieces = [
        (REQUEST, PREFACE + _frame(4, 0, 0, b"")),
        (RESPONSE, _frame(4, 0, 0, b"") + _frame(4, 1, 0, b"")),
    ]
    pieces.append((REQUEST, _frame(4, 1, 0, b"")))
    heads: list[dict[str, str]] = []
    asked = answered = b""
    for stream in range(1, 2 * requests, 2):
        asked, headers = _picked(chance, decoders[0], REQUESTS, asked)
        pieces.append((REQUEST, _frame(1, 5, stream, asked)))
        heads.append(headers)
        answered, headers = _picked(chance, decoders[1], RESPONSES, answered)
        trailers = chance.choice(TRAILERS)
        heads += [headers, dict(decoders[1].decode(trailers))]
        pieces.append((RESPONSE, _frame(1, 4, stream, answered) + _frame(1, 5, stream, trailers)))
    return pieces, heads
