"""Hypothesis strategies for HTTP/1: messages by the grammar of RFC 9112, and the mutations that smuggling is made of."""

from __future__ import annotations

import random
from typing import NamedTuple

from hypothesis import strategies as st

TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

tokens = st.lists(st.sampled_from(TOKEN), min_size=1, max_size=12).map(bytes)
visible = st.lists(st.integers(0x21, 0x7E), max_size=20).map(bytes)
values = st.one_of(
    visible,
    st.lists(visible.filter(bool), min_size=1, max_size=3).map(b" ".join),
    st.lists(st.integers(0x80, 0xFF), min_size=1, max_size=9).map(bytes),
    st.integers(30, 300).map(lambda n: b"v" * n),
)
# not those that decide something, which are put where they belong
_DECIDING = (
    b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"expect", b"te", b"trailer",
    b"keep-alive", b"proxy-connection",
)  # fmt: skip
names = st.one_of(
    tokens.filter(lambda name: name.lower() not in _DECIDING and b"_" not in name),
    st.sampled_from([b"User-Agent", b"Content-Type", b"X-Id", b"Authorization", b"traceparent", b"Cookie"]),
)
fields = st.lists(st.tuples(names, values), max_size=6)
spaces = st.sampled_from([b"", b" ", b"  ", b"\t", b" \t "])
chunk_sizes = st.lists(st.integers(1, 40), max_size=4)
# without "bad" white space, which RFC 9112 section 7.1.1 lets a recipient take, and llhttp and ours refuse unless lenient
extensions = st.sampled_from([b"", b";a", b";a=b", b';a="b c"', b';a="\\""'])


@st.composite
def lines(draw: st.DrawFn, found: list[tuple[bytes, bytes]]) -> bytes:
    """Header lines with white space where it is allowed."""
    return b"".join(name + b":" + draw(spaces) + value + draw(spaces) + b"\r\n" for name, value in found)


@st.composite
def chunked(draw: st.DrawFn) -> bytes:
    """A chunked body, with extensions and trailers."""
    parts = []
    for size in draw(chunk_sizes):
        digits = draw(st.sampled_from([b"%x", b"%X", b"0%x", b"00%X"])) % size
        parts.append(
            digits + draw(extensions) + b"\r\n" + draw(st.binary(min_size=size, max_size=size)) + b"\r\n"
        )
    trailers = draw(lines(draw(st.lists(st.tuples(names, values), max_size=2))))
    return b"".join(parts) + b"0" + draw(extensions) + b"\r\n" + trailers + b"\r\n"


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A framing header, or none, and the body that it announces."""
    match draw(st.sampled_from(["none", "length", "chunked"])):
        case "length":
            body = draw(st.binary(max_size=60))
            return b"Content-Length: %d\r\n" % len(body), body
        case "chunked":
            return b"Transfer-Encoding: chunked\r\n", draw(chunked())
    return b"", b""


targets = st.one_of(
    st.just(b"/"),
    st.lists(st.sampled_from(b"/abc.-_~%20?=&;:@"), max_size=20).map(lambda b: b"/" + bytes(b)),
    st.just(b"http://example.org/a?b"),
)
methods = st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"PATCH"])


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One request that every parser of HTTP/1.1 must take, and after which another may follow."""
    framing, body = draw(bodies())
    head = draw(methods) + b" " + draw(targets) + b" HTTP/1.1\r\nHost: example.org\r\n"
    return head + draw(lines(draw(fields))) + framing + b"\r\n" + body


pipelines = st.lists(requests(), min_size=1, max_size=3).map(b"".join)


@st.composite
def responses(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """One response, and the method of the request that it answers; another may follow."""
    method = draw(st.sampled_from([b"GET", b"GET", b"POST", b"HEAD"]))
    status = draw(st.sampled_from([200, 200, 201, 204, 301, 304, 404, 500]))
    framing, body = draw(bodies())
    if not framing:
        framing = b"Content-Length: 0\r\n"
    if status == 204:
        framing = b""
    if method == b"HEAD" or status in (204, 304):
        body = b""
    interim = draw(
        st.sampled_from([b"", b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 \r\nLink: </x>\r\n\r\n"])
    )
    reason = draw(st.sampled_from([b"OK", b"Not Found", b"", b"caf\xe9"]))
    head = b"HTTP/1.1 %d %s\r\n" % (status, reason)
    return interim + head + draw(lines(draw(fields))) + framing + b"\r\n" + body, method


# --- mutation -----------------------------------------------------------------------------------------------------------

FRAGMENTS = (
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ", b"\t", b"\0", b"\x0b", b":", b",", b";", b'"', b"0\r\n\r\n", b"0", b"\x80",
    b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Content-Length: +5\r\n", b"Content-Length: 5, 5\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n", b"Transfer-Encoding: chunked, gzip\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n", b"Transfer-Encoding : chunked\r\n", b" Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: \x0bchunked\r\n", b"transfer_encoding: chunked\r\n", b"Host: b\r\n", b"Connection: close\r\n",
    b"Expect: 100-continue\r\n", b"X: y\r\n z\r\n", b"\r\n ", b"HTTP/1.0", b"HTTP/1.1",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"5\r\nhello\r\n", b"fffffffffffffffff\r\n", b"5;a=\n\r\n", b"-1\r\n", b"0x5\r\n",
)  # fmt: skip


class Mutation(NamedTuple):
    """One change, as numbers: `mutate` reads them against the input at hand."""

    kind: int
    where: int
    what: int


mutations = st.lists(
    st.builds(Mutation, st.integers(0, 6), st.integers(0, 1 << 16), st.integers(0, 1 << 16)),
    min_size=1,
    max_size=3,
)


def mutate(data: bytes, changes: list[Mutation]) -> bytes:
    """The input with these changes: fragments put in or over it, bytes changed, lines doubled, dropped or moved."""
    for kind, where, what in changes:
        at = where % (len(data) + 1)
        fragment = FRAGMENTS[what % len(FRAGMENTS)]
        match kind:
            case 0:
                data = data[:at] + fragment + data[at:]
            case 1:  # at the front of a line, where most of them mean something
                at = data.rfind(b"\n", 0, at) + 1
                data = data[:at] + fragment + data[at:]
            case 2:
                data = data[:at] + data[at + 1 :]
            case 3:
                data = data[:at] + bytes([what & 255]) + data[at + 1 :]
            case 4:
                data = data[:at] + fragment + data[at + len(fragment) :]
            case 5:
                parts = data.split(b"\r\n")
                parts.insert(what % len(parts), parts[where % len(parts)])
                data = b"\r\n".join(parts)
            case 6:
                parts = data.split(b"\r\n")
                parts.pop(where % len(parts))
                data = b"\r\n".join(parts)
    return data


def mutants(seed: int, count: int, originals: list[bytes]) -> list[bytes]:
    """Mutations of these inputs, always the same for a seed: for more of them than hypothesis makes in the same time."""
    chance = random.Random(seed)
    return [
        mutate(
            chance.choice(originals),
            [
                Mutation(chance.randrange(7), chance.randrange(1 << 16), chance.randrange(1 << 16))
                for _ in range(chance.randrange(1, 4))
            ],
        )
        for _ in range(count)
    ]
