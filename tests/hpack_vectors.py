"""Header blocks and what they mean: the examples of RFC 7541 appendix C, and blocks that must be refused."""

from __future__ import annotations

from typing import NamedTuple

import hpack_decoders as codes
from hpack_decoders import Decoder

Headers = tuple[tuple[bytes, bytes], ...]


class Example(NamedTuple):
    """One block of an appendix C example: what it decodes to, and the size of the dynamic table after it."""

    block: str
    headers: Headers
    size: int


GET = ((b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"www.example.com"))
THIRD = (
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":path", b"/index.html"),
    (b":authority", b"www.example.com"),
    (b"custom-key", b"custom-value"),
)
AT_21, AT_22 = b"Mon, 21 Oct 2013 20:13:21 GMT", b"Mon, 21 Oct 2013 20:13:22 GMT"
COOKIE = b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"
FOUND = (
    (b":status", b"302"),
    (b"cache-control", b"private"),
    (b"date", AT_21),
    (b"location", b"https://www.example.com"),
)
TEMPORARY = ((b":status", b"307"), *FOUND[1:])
OK = (
    (b":status", b"200"),
    (b"cache-control", b"private"),
    (b"date", AT_22),
    FOUND[3],
    (b"content-encoding", b"gzip"),
    (b"set-cookie", COOKIE),
)
# appendix C.5 begins with a table of 256, without saying so in a block: here a size update says it
TO_256 = "3fe101"

EXAMPLES: dict[str, tuple[Example, ...]] = {
    "C.2.1": (
        Example(
            "400a637573746f6d2d6b65790d637573746f6d2d686561646572", ((b"custom-key", b"custom-header"),), 55
        ),
    ),
    "C.2.2": (Example("040c2f73616d706c652f70617468", ((b":path", b"/sample/path"),), 0),),
    "C.2.3": (Example("100870617373776f726406736563726574", ((b"password", b"secret"),), 0),),
    "C.2.4": (Example("82", ((b":method", b"GET"),), 0),),
    "C.3": (
        Example("828684410f7777772e6578616d706c652e636f6d", GET, 57),
        Example("828684be58086e6f2d6361636865", (*GET, (b"cache-control", b"no-cache")), 110),
        Example("828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565", THIRD, 164),
    ),
    "C.4": (
        Example("828684418cf1e3c2e5f23a6ba0ab90f4ff", GET, 57),
        Example("828684be5886a8eb10649cbf", (*GET, (b"cache-control", b"no-cache")), 110),
        Example("828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf", THIRD, 164),
    ),
    "C.5": (
        Example(
            TO_256
            + "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d54"
            "6e1768747470733a2f2f7777772e6578616d706c652e636f6d",
            FOUND,
            222,
        ),
        Example("4803333037c1c0bf", TEMPORARY, 222),
        Example(
            "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738"
            "666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b20"
            "76657273696f6e3d31",
            OK,
            215,
        ),
    ),
    "C.6": (
        Example(
            TO_256
            + "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f"
            "0b97c8e9ae82ae43d3",
            FOUND,
            222,
        ),
        Example("4883640effc1c0bf", TEMPORARY, 222),
        Example(
            "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960"
            "d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
            OK,
            215,
        ),
    ),
}


class Refusal(NamedTuple):
    """Blocks of one connection, the last of which is refused with this code at this byte; then whether it is a limit."""

    blocks: tuple[str, ...]
    code: int
    at: int
    limits: tuple[int, ...] = ()  # acknowledged before the last block
    escalates: bool = False


NAME_A = "0161"  # the string "a"

REFUSALS: dict[str, Refusal] = {
    "index 0": Refusal(("80",), codes.INDEX, 1),
    "index behind the static table": Refusal(("be",), codes.INDEX, 1),
    "index behind the dynamic table": Refusal(("4001610162", "bebf"), codes.INDEX, 2),
    "name index behind the dynamic table": Refusal(("7e0161",), codes.INDEX, 1),
    "name index behind the dynamic table, not indexed": Refusal(("0f2f0161",), codes.INDEX, 2),
    "name index behind the dynamic table, never indexed": Refusal(("1f2f0161",), codes.INDEX, 2),
    "index that needs 32 bits": Refusal(("ff80ffffff0f",), codes.INDEX, 6),
    "integer of more than 32 bits": Refusal(("ffffffffff0f",), codes.INTEGER, 1),
    "integer whose last octet overflows": Refusal(("ff8080808010",), codes.INTEGER, 1),
    "integer of six octets": Refusal(("ff808080808000",), codes.INTEGER, 1),
    "integer without an end": Refusal(("ff80808080808080808080808080",), codes.INTEGER, 1),
    "string length of more than 32 bits": Refusal(("407fffffffff0f",), codes.INTEGER, 2),
    "size of more than 32 bits": Refusal(("3fffffffff0f",), codes.INTEGER, 1),
    "cut in an index": Refusal(("ff",), codes.CUT, 1),
    "cut in the middle of an index": Refusal(("ff80",), codes.CUT, 1),
    "cut in a size update": Refusal(("3f",), codes.CUT, 1),
    "cut before the name": Refusal(("40",), codes.CUT, 1),
    "cut before the value": Refusal(("40" + NAME_A,), codes.CUT, 3),
    "cut in the name": Refusal(("400261",), codes.CUT, 2),
    "cut in the value": Refusal(("41056162636465"[:-2],), codes.CUT, 2),
    "cut in a length": Refusal(("417f",), codes.CUT, 2),
    "cut in a Huffman string": Refusal(("4182aa",), codes.CUT, 2),
    "length of 2^32 - 1": Refusal(("417f80ffffff0f61",), codes.CUT, 7),
    "8 bits of padding": Refusal(("418207ff",), codes.PADDING, 4),  # "0" (00000), 3 + 8 ones
    "padding of a whole octet": Refusal(("4181ff",), codes.PADDING, 3),
    "padding with a zero": Refusal(("418106",), codes.PADDING, 3),
    "padding of zeroes": Refusal(("418100",), codes.PADDING, 3),
    "string that ends in a code": Refusal(("4181fe",), codes.PADDING, 3),
    "string that ends in a long code": Refusal(("4183fffffa",), codes.PADDING, 5),
    "EOS": Refusal(("4184ffffffff",), codes.EOS, 6),
    "EOS behind a symbol": Refusal(("418507ffffffff",), codes.EOS, 7),
    "EOS in the middle": Refusal(("4189fffffffc071c71c71c",), codes.EOS, 11),
    "EOS in a name": Refusal(("4084ffffffff0161",), codes.EOS, 6),
    "size update behind a field": Refusal(("8220",), codes.LATE_SIZE, 2),
    "size update above the limit": Refusal(("3fe21f",), codes.SIZE, 3),  # 4097
    "size update above a smaller limit": Refusal(("82", "3f46"), codes.SIZE, 2, (100,)),
    "no size update after a reduction": Refusal(("82", "82"), codes.NO_SIZE, 1, (100,)),
    "an empty block after a reduction": Refusal(("82", ""), codes.NO_SIZE, 0, (100,)),
    "no size update down to the least of several": Refusal(("82", "3f45"), codes.NO_SIZE, 2, (50, 100)),
    "reduced, raised again, and not said": Refusal(("82", "82"), codes.NO_SIZE, 1, (100, 4096)),
    "evicted by a new size": Refusal(("4001610162", "20be"), codes.INDEX, 2),
    "evicted by a larger entry": Refusal(
        ("4001610162", "3f05" + "4001610162", "4001610163", "bf"), codes.INDEX, 1
    ),  # room for one entry of 34
}


def decode_all(decoder: Decoder, refusal: Refusal) -> codes.Decoded:
    """Decode all blocks but the last, which must succeed; and the last one."""
    for block in refusal.blocks[:-1]:
        decoded = decoder.decode(bytes.fromhex(block))
        assert decoded.code == 0
    for limit in refusal.limits:
        decoder.set_limit(limit)
    return decoder.decode(bytes.fromhex(refusal.blocks[-1]))
