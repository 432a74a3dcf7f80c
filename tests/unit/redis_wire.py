"""RESP to test with: values and commands as a peer would send them, written independently of the parsers."""

from __future__ import annotations

from hypothesis import strategies as st

WORD = st.binary(max_size=12)


def bulk(data: bytes, type: bytes = b"$") -> bytes:
    return type + b"%d\r\n%s\r\n" % (len(data), data)


def command(*arguments: bytes | str) -> bytes:
    words = [word.encode() if isinstance(word, str) else word for word in arguments]
    return b"*%d\r\n" % len(words) + b"".join(map(bulk, words))


def aggregate(type: bytes, items: list[bytes]) -> bytes:
    return type + b"%d\r\n" % (len(items) // (2 if type in b"%|" else 1)) + b"".join(items)


_TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20).map(str.encode)
LEAVES = st.one_of(
    st.builds(bulk, WORD),
    st.builds(bulk, WORD, st.sampled_from([b"!", b"="])),
    st.builds(lambda text: b"+" + text + b"\r\n", _TEXT),
    st.builds(lambda text: b"-ERR " + text + b"\r\n", _TEXT),
    st.builds(lambda number: b":%d\r\n" % number, st.integers()),
    st.builds(lambda number: b"(%d\r\n" % number, st.integers()),
    st.sampled_from(
        [b"_\r\n", b"#t\r\n", b"#f\r\n", b",1.5\r\n", b",inf\r\n", b"$-1\r\n", b"*-1\r\n", b"*0\r\n"]
    ),
)


def _aggregates(children: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    pairs = st.lists(st.tuples(children, children), max_size=3).map(
        lambda found: [one for pair in found for one in pair]
    )
    attributed = st.builds(lambda pairs, value: aggregate(b"|", pairs) + value, pairs, children)
    return st.one_of(
        st.builds(aggregate, st.sampled_from([b"*", b"~"]), st.lists(children, max_size=4)),
        st.builds(aggregate, st.just(b"%"), pairs),
        attributed,
    )


VALUES = st.recursive(LEAVES, _aggregates, max_leaves=12)
KINDS = st.sampled_from([b"message", b"invalidate", b"subscribe", b"psubscribe", b"unsubscribe"])
PUSHES = st.builds(
    lambda type, kind, items: aggregate(type, [bulk(kind), *items]),
    st.sampled_from([b">", b"*"]),
    KINDS,
    st.lists(LEAVES, max_size=3),
)
NAMES = st.sampled_from(
    [
        b"GET",
        b"set",
        b"XREAD",
        b"EVAL",
        b"config",
        b"PING",
        b"FT.SEARCH",
        b"SUBSCRIBE",
        b"unsubscribe",
        b"MONITOR",
        b"HELLO",
        b"RESET",
    ]
)
COMMANDS = st.one_of(
    st.builds(lambda name, rest: command(name, *rest), NAMES, st.lists(WORD, max_size=4)),
    st.builds(
        lambda name, rest: b" ".join([name, *rest]) + b"\r\n",
        NAMES,
        st.lists(st.sampled_from([b"a", b'"q\\x41\\n"', b"'s\\'t'", b"0"]), max_size=4),
    ),
    st.sampled_from([b"*0\r\n", b"*-1\r\n", b"\r\n", b"  \n"]),
)


@st.composite
def broken(draw: st.DrawFn, valid: st.SearchStrategy[bytes]) -> bytes:
    """Bytes of which a few were changed, removed or doubled."""
    data = bytearray(draw(valid))
    for _ in range(draw(st.integers(0, 2))):
        if not data:
            break
        at = draw(st.integers(0, len(data) - 1))
        how = draw(st.sampled_from(["change", "remove", "double"]))
        if how == "change":
            data[at] = draw(st.sampled_from(list(b"\r\n\0$*0123456789-+:%~>|?\"'\\xX ")))
        elif how == "remove":
            del data[at]
        else:
            data[at:at] = data[at : at + 4]
    return bytes(data)
