"""Connections of an HPACK encoder that uses all that RFC 7541 allows, for hypothesis; and blocks spoilt on the way.

The encoder is a model of its own: it knows the dynamic table as a list, and says what each block means. It picks at random
what real encoders never vary: each form of a literal, names by index or as text, Huffman or not, size updates.
"""

from __future__ import annotations

from typing import NamedTuple

from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.table import HeaderTable
from hypothesis import strategies as st

INDEXED, INSERTED, PLAIN, NEVER = (0x80, 7), (0x40, 6), (0x00, 4), (0x10, 4)

_HUFFMAN = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
_STATIC = list(HeaderTable.STATIC_TABLE)


class Block(NamedTuple):
    """A header block: ``limits`` are acknowledged before it. What it means, and the table after it, newest first."""

    limits: tuple[int, ...]
    wire: bytes
    fields: tuple[tuple[bytes, bytes, bool], ...]  # name, value, never-indexed
    table: tuple[tuple[bytes, bytes], ...]


def integer(form: tuple[int, int], value: int, zeroes: int = 0) -> bytes:
    """RFC 7541 section 5.1, ended by so many octets more than are needed."""
    first, bits = form
    most = (1 << bits) - 1
    if value < most:
        return bytes([first | value])
    value -= most
    result = [first | most]
    while value > 127:
        result.append(value & 127 | 128)
        value >>= 7
    result.append(value)
    if zeroes:
        result[-1] |= 128
        result += [128] * (zeroes - 1) + [0]
    return bytes(result)


def string(text: bytes, *, huffman: bool) -> bytes:
    """RFC 7541 section 5.2."""
    coded = _HUFFMAN.encode(text) if huffman and text else text
    return integer((0x80 if huffman else 0, 7), len(coded)) + coded


class Encoder:
    """The sender's side: its dynamic table, and the limit that it was given."""

    def __init__(self) -> None:
        self.table: list[tuple[bytes, bytes]] = []
        self.maximum = self.limit = 4096
        self.owed: int | None = None

    def acknowledge(self, limit: int) -> None:
        """Take a limit from the peer."""
        self.limit = limit
        if limit < self.maximum:
            self.owed = min(limit, self.limit if self.owed is None else self.owed)

    def resize(self, maximum: int, zeroes: int = 0) -> bytes:
        """A size update."""
        self.maximum, self.owed = maximum, None
        self._evict(maximum)
        return integer((0x20, 5), maximum, zeroes)

    def indexed(self, index: int) -> tuple[bytes, tuple[bytes, bytes, bool]]:
        """A field that is in a table."""
        return integer(INDEXED, index), (*self.entry(index), False)

    def literal(
        self, form: tuple[int, int], name: int | bytes, value: bytes, huffman: tuple[bool, bool]
    ) -> tuple[bytes, tuple[bytes, bytes, bool]]:
        """A field whose value comes as text; the name as text, or by index."""
        wire = (
            integer(form, name)
            if isinstance(name, int)
            else bytes([form[0]]) + string(name, huffman=huffman[0])
        )
        text = self.entry(name)[0] if isinstance(name, int) else name
        if form == INSERTED:
            self._evict(self.maximum - 32 - len(text) - len(value))
            if 32 + len(text) + len(value) <= self.maximum:
                self.table.insert(0, (text, value))
        return wire + string(value, huffman=huffman[1]), (text, value, form == NEVER)

    def entry(self, index: int) -> tuple[bytes, bytes]:
        """Name and value at this index."""
        return _STATIC[index - 1] if index <= 61 else self.table[index - 62]

    @property
    def last_index(self) -> int:
        """The highest index that is of use."""
        return 61 + len(self.table)

    def _evict(self, room: int) -> None:
        while self.table and sum(32 + len(name) + len(value) for name, value in self.table) > room:
            self.table.pop()


_NAMES = st.one_of(
    st.sampled_from([b"x", b"x-request-id", b"content-type", b"grpc-status", b":path", b"cookie"]),
    st.binary(min_size=1, max_size=40),
    st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=30).map(str.encode),
)
_VALUES = st.one_of(
    st.sampled_from([b"", b"0", b"/", b"gzip, deflate", b"application/grpc"]),
    st.binary(max_size=60),
    st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789%/;=._-", max_size=200).map(
        str.encode
    ),
    st.tuples(st.binary(min_size=1, max_size=8), st.integers(1, 300)).map(lambda part: part[0] * part[1]),
)
_SIZES = st.one_of(st.integers(0, 300), st.sampled_from([0, 33, 34, 100, 1000, 4095, 4096, 4097, 65536]))


@st.composite
def connections(draw: st.DrawFn, *, blocks: int = 6, fields: int = 12, largest: int = 65536) -> list[Block]:
    """The blocks of one connection; no table is larger than ``largest``."""
    encoder = Encoder()
    result = []
    for _ in range(draw(st.integers(1, blocks))):
        limits = (
            draw(st.lists(_SIZES.filter(lambda size: size <= largest), max_size=2))
            if draw(st.booleans())
            else []
        )
        for limit in limits:
            encoder.acknowledge(limit)
        wire = b""
        if encoder.owed is not None:
            wire += encoder.resize(draw(st.integers(0, encoder.owed)))
        if draw(st.integers(0, 3)) == 0:
            wire += encoder.resize(min(draw(_SIZES), encoder.limit), draw(st.integers(0, 1)))
        shown = []
        for _ in range(draw(st.integers(0 if not wire else 1, fields))):
            part, field = _field(draw, encoder)
            wire += part
            shown.append(field)
        result.append(Block(tuple(limits), wire, tuple(shown), tuple(encoder.table)))
    return result


def _field(draw: st.DrawFn, encoder: Encoder) -> tuple[bytes, tuple[bytes, bytes, bool]]:
    index = st.one_of(
        st.integers(1, encoder.last_index), st.integers(min(62, encoder.last_index), encoder.last_index)
    )
    form = draw(st.sampled_from([INDEXED, INSERTED, INSERTED, INSERTED, PLAIN, NEVER]))
    if form == INDEXED:
        return encoder.indexed(draw(index))
    huffman = (draw(st.booleans()), draw(st.booleans()))
    return encoder.literal(form, draw(st.one_of(index, _NAMES)), draw(_VALUES), huffman)


@st.composite
def spoilt(draw: st.DrawFn, blocks: list[Block]) -> list[Block]:
    """The connection with a few of its octets changed, lost or added."""
    number = draw(st.integers(0, len(blocks) - 1))
    wire = bytearray(blocks[number].wire)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(wire)))
        change = draw(st.sampled_from(["octet", "bit", "cut", "lose", "add"]))
        if change == "cut":
            del wire[at:]
        elif change == "add":
            wire[at:at] = draw(st.binary(min_size=1, max_size=6))
        elif at < len(wire) and change == "octet":
            wire[at] = draw(st.sampled_from([0, 0x20, 0x3F, 0x7F, 0x80, 0xFF, *range(256)]))
        elif at < len(wire) and change == "bit":
            wire[at] ^= 1 << draw(st.integers(0, 7))
        elif change == "lose":
            del wire[at : at + draw(st.integers(1, 3))]
    return [*blocks[:number], blocks[number]._replace(wire=bytes(wire)), *blocks[number + 1 :]]
