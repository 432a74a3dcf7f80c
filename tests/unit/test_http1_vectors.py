"""HTTP/1: every vector tells the same whole, at every split point, and byte by byte; the digest is SipHash-2-4."""

from __future__ import annotations

import pytest

from ebpfmesh import l7
from ebpfmesh.l7.http1 import Code, Http1, Request
from ebpfmesh.l7.vectors import Vector

PARSER = Http1()
VECTORS = list(PARSER.vectors)


@pytest.mark.parametrize("vector", VECTORS, ids=[vector.name for vector in VECTORS])
def test_a_vector_holds_at_every_split_point(vector: Vector) -> None:
    assert l7.run_vectors(PARSER, [vector]) > len(vector.inputs[0][1])


def test_every_code_has_a_vector() -> None:
    refused = {vector.error[0] for vector in VECTORS if vector.error}
    undecodable = {event["code"] for vector in VECTORS for event in vector.expect if "code" in event}  # type: ignore[operator,index]
    assert set(Code) <= refused | undecodable


def test_every_leniency_has_a_vector() -> None:
    used = {name for vector in VECTORS for name in vector.config.leniencies}
    assert {*PARSER.leniencies} - used == {
        "any_coding",
        "no_crlf_after_chunk",
        "space_after_chunk_size",
    }, "these are held by the conformance data"


def siphash(key: bytes, data: bytes) -> int:
    """SipHash-2-4, written from the paper (Aumasson and Bernstein, 2012, section 2)."""
    mask = (1 << 64) - 1
    k0, k1 = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def rotated(word: int, by: int) -> int:
        return (word << by | word >> (64 - by)) & mask

    def mixed(rounds: int) -> None:
        for _ in range(rounds):
            v[0], v[2] = (v[0] + v[1]) & mask, (v[2] + v[3]) & mask
            v[1], v[3] = rotated(v[1], 13) ^ v[0], rotated(v[3], 16) ^ v[2]
            v[0] = rotated(v[0], 32)
            v[2], v[0] = (v[2] + v[1]) & mask, (v[0] + v[3]) & mask
            v[1], v[3] = rotated(v[1], 17) ^ v[2], rotated(v[3], 21) ^ v[0]
            v[2] = rotated(v[2], 32)

    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) & 255])
    for at in range(0, len(padded), 8):
        word = int.from_bytes(padded[at : at + 8], "little")
        v[3] ^= word
        mixed(2)
        v[0] ^= word
    v[2] ^= 255
    mixed(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def test_our_siphash_is_that_of_the_paper() -> None:
    assert siphash(bytes(range(16)), bytes(range(15))) == 0xA129CA6149BE45E5  # its appendix A


@pytest.mark.parametrize("length", [0, 1, 6, 7, 8, 9, 15, 16, 63, 64, 65, 700])
def test_the_digest_of_authorization_is_siphash_of_its_value(length: int) -> None:
    key = bytes(range(16, 32))
    value = (b"Basic  " + b"0123456789\xe4\t" * 100)[:length].rstrip(b" \t")
    data = b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization:" + value + b" \t \r\n\r\n"
    for step in (1, 7, len(data)):
        connection = PARSER.connection(l7.Config(key=key))
        told = [
            event for at in range(0, len(data), step) for event in connection.feed(0, data[at : at + step])
        ]
        assert isinstance(told[0], Request)
        assert told[0].authorization == siphash(key, value)


def test_the_value_of_authorization_is_nowhere_in_the_list_of_headers() -> None:
    data = b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer secret\r\n\r\n"
    [request, _] = PARSER.connection(l7.Config(all_headers=True)).feed(l7.REQUEST, data)
    assert isinstance(request, Request)
    assert request.headers == (("host", "a"), ("authorization", ""))
