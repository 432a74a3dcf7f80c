"""Frames of HTTP/2 (RFC 9113 section 4.1): cutting a stream into them, and breaking them."""

from __future__ import annotations

import random

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frames(data: bytes) -> list[bytes]:
    """The frames of one direction, the preface as one of them; a rest that is none stays as it is."""
    found = []
    if data.startswith(PREFACE):
        found.append(PREFACE)
        data = data[len(PREFACE) :]
    while data:
        size = 9 + int.from_bytes(data[:3])
        found.append(data[:size])
        data = data[size:]
    return found


def mutated(data: bytes, chance: random.Random) -> bytes:
    """The frames of a direction with one changed: dropped, doubled, moved, of another type, flags, stream or length."""
    parts = frames(data)
    at = chance.randrange(len(parts)) if parts else 0
    if not parts or len(parts[at]) < 9:
        return data
    frame = bytearray(parts[at])
    match chance.randrange(8):
        case 0:
            del parts[at]
            return b"".join(parts)
        case 1:
            parts.insert(at, parts[at])
            return b"".join(parts)
        case 2:
            chance.shuffle(parts)
            return b"".join(parts)
        case 3:
            frame[3] = chance.randrange(12)
        case 4:
            frame[4] ^= 1 << chance.randrange(8)
        case 5:
            frame[5:9] = chance.choice((0, 1, 2, 3, 5, 1 << 31, 99)).to_bytes(4)
        case 6:
            frame[chance.randrange(3)] ^= 1 << chance.randrange(8)
        case _ if len(frame) > 9:
            frame[chance.randrange(9, len(frame))] ^= 1 << chance.randrange(8)
    parts[at] = bytes(frame)
    return b"".join(parts)
