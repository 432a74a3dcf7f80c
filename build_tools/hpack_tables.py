"""Generates the tables of HPACK's cores from the facts of RFC 7541: its static table and the lengths of its Huffman codes.

The code is canonical: codes are numbered by length, then by symbol, so the lengths are all there is to type in.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

HEADERS = Path(__file__).parents[1] / "src/ebpfmesh/bpf/include/ebpfmesh/l7/hpack"

# RFC 7541 appendix A: from index 1 on
STATIC_TABLE = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
]

# RFC 7541 appendix B: bits of the code of each octet, and of EOS
EOS = 256
# fmt: off
CODE_LENGTHS = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
]
# fmt: on

LOOKUP_BITS = 12
LONGEST = 30
ENTRY_TEXT = 32  # bytes that are kept of a static entry: the longest has 28

NOTICE = """\
/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Written by build_tools/hpack_tables.py: do not edit. {what} */
/* clang-format off */
#ifndef {guard}
#define {guard}

#include <linux/types.h>
"""


def codes() -> dict[int, tuple[int, int]]:
    """The code and its length in bits of each symbol, by RFC 7541 appendix B; symbol 256 is EOS."""
    result = {}
    code = previous = 0
    for symbol in sorted(range(EOS + 1), key=lambda symbol: (CODE_LENGTHS[symbol], symbol)):
        length = CODE_LENGTHS[symbol]
        code <<= length - previous
        result[symbol] = (code, length)
        code, previous = code + 1, length
    return result


def lookup(known: dict[int, tuple[int, int]]) -> list[int]:
    """For every LOOKUP_BITS bits: the one or two symbols whose codes they begin with, as huffman.h describes."""
    table = [0] * (1 << LOOKUP_BITS)
    for symbol, (code, length) in known.items():
        left = LOOKUP_BITS - length
        if left < 0:
            continue
        for rest in range(1 << left):
            table[code << left | rest] = symbol | 8 << 16 | length << 24
        for second, (code2, length2) in known.items():
            left2 = left - length2
            if left2 < 0:
                continue
            for rest in range(1 << left2):
                bits = (code << length2 | code2) << left2 | rest
                table[bits] = symbol | second << 8 | 16 << 16 | (length + length2) << 24
    return table


def lines(values: Iterable[str], *, width: int = 120) -> Iterator[str]:
    """The values as lines of a C initialiser, filled up to the width; a tab counts for 8."""
    line = ""
    for value in values:
        if line and 8 + len(line) + len(value) + 2 > width:
            yield f"\t{line}\n"
            line = ""
        line += f"{' ' if line else ''}{value},"
    yield f"\t{line}\n"


def array(declaration: str, values: Iterable[str]) -> str:
    return f"static const {declaration} = {{\n{''.join(lines(values))}}};\n"


def huffman() -> str:
    """The text of huffman.h."""
    known = codes()
    long = sorted((s for s in known if known[s][1] > LOOKUP_BITS), key=lambda s: known[s])
    lengths = sorted({known[symbol][1] for symbol in long})
    text = NOTICE.format(guard="EBPFMESH_L7_HPACK_HUFFMAN_H", what="The Huffman code of RFC 7541 appendix B.")
    text += f"""
#define HPACK_LOOKUP {LOOKUP_BITS} /* bits of the code that are looked up at a time */

/* By the next HPACK_LOOKUP bits: the first symbol, from bit 8 on the second one or 0, from bit 16 on the bits of text these
 * are (8 or 16), from bit 24 on the bits of their codes. 0 where a longer code begins. */
"""
    text += array(f"__u32 hpack_lookup[{1 << LOOKUP_BITS}]", (hex(entry) for entry in lookup(known)))
    rows = []
    for length in lengths:
        first = next(symbol for symbol in long if known[symbol][1] == length)
        rows.append(f"{{{known[first][0] << (32 - length):#x}u, {length}, {long.index(first)}}}")
    text += f"""
/* The longer codes are numbers in a row for each length. By length: the first code, with zeroes behind it as 32 bits, the
 * length, and the place of the first code in hpack_long. */
struct hpack_long_code {{
	__u32 first;
	__u16 length;
	__u16 place;
}};

#define HPACK_LONG_LENGTHS {len(rows)}
"""
    text += array(f"struct hpack_long_code hpack_long_code[{1 << (len(rows) - 1).bit_length()}]", rows)
    room = 1 << (len(long) - 1).bit_length()
    text += f"\n#define HPACK_LONG_EOS {long.index(EOS)} /* the place of EOS, the last */\n"
    text += array(f"__u8 hpack_long[{room}]", (str(symbol) for symbol in long if symbol != EOS))
    return text + "\n#endif\n"


def static() -> str:
    """The text of static.h."""
    text = NOTICE.format(guard="EBPFMESH_L7_HPACK_STATIC_H", what="The static table of RFC 7541 appendix A.")
    text += f"""
#define HPACK_STATIC {len(STATIC_TABLE)} /* the dynamic table begins behind this index */
#define HPACK_STATIC_TEXT {ENTRY_TEXT}

struct hpack_static {{
	__u8 text[HPACK_STATIC_TEXT]; /* the name, and behind it the value; zeroes */
}};

struct hpack_static_length {{
	__u8 name;
	__u8 value;
}};

"""
    rows = ["\t{{0}},\n"]
    lengths = ["{0, 0}"]
    for name, value in STATIC_TABLE:
        rows.append(f'\t{{"{name}{value}"}},\n')
        lengths.append(f"{{{len(name)}, {len(value)}}}")
    text += f"static const struct hpack_static hpack_static[64] = {{\n{''.join(rows)}}};\n\n"
    text += array("struct hpack_static_length hpack_static_length[64]", lengths)
    return text + "\n#endif\n"


def write(directory: Path) -> None:
    """Write both headers into the directory."""
    (directory / "huffman.h").write_text(huffman())
    (directory / "static.h").write_text(static())


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else HEADERS)
