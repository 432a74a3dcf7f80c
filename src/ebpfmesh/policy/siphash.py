"""SipHash-2-4 (Aumasson and Bernstein, 2012), as ``l7/siphash.h`` has it: keys of the kernel's tables are hashes of text.

Python's own hash is SipHash-1-3 or another, under a key that cannot be chosen. Some 10 us for a path of 30 bytes.
"""

from __future__ import annotations

_MASK = (1 << 64) - 1

Key = tuple[int, int]
"""128 bits as two words, the first 8 bytes of a key (little-endian) first."""


def siphash(key: Key, text: bytes) -> int:
    """The 64-bit digest of ``text``."""
    a, b = key[0] ^ 0x736F6D6570736575, key[1] ^ 0x646F72616E646F6D
    c, d = key[0] ^ 0x6C7967656E657261, key[1] ^ 0x7465646279746573
    end = len(text) & ~7
    words = [int.from_bytes(text[at : at + 8], "little") for at in range(0, end, 8)]
    words.append(int.from_bytes(text[end:], "little") | (len(text) & 0xFF) << 56)
    for word in words:
        a, b, c, d = _rounds(a, b, c, d ^ word, 2)
        a ^= word
    a, b, c, d = _rounds(a, b, c ^ 0xFF, d, 4)
    return a ^ b ^ c ^ d


def segment_digest(key: Key, segment: bytes) -> int:
    """What stands for a path's segment in ``l7_segments``, beside its length: itself, if it is short."""
    return int.from_bytes(segment, "little") if len(segment) < 8 else siphash(key, segment)


def _rounds(a: int, b: int, c: int, d: int, count: int) -> tuple[int, int, int, int]:
    for _ in range(count):
        a = a + b & _MASK
        c = c + d & _MASK
        b = (b << 13 & _MASK | b >> 51) ^ a
        d = (d << 16 & _MASK | d >> 48) ^ c
        a = a << 32 & _MASK | a >> 32
        c = c + b & _MASK
        a = a + d & _MASK
        b = (b << 17 & _MASK | b >> 47) ^ c
        d = (d << 21 & _MASK | d >> 43) ^ a
        c = c << 32 & _MASK | c >> 32
    return a, b, c, d
