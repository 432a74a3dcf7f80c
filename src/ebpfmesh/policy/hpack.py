"""Header blocks that stand for themselves: HPACK (RFC 7541) without a dynamic table and without Huffman codes.

Nothing here changes the table of the peer that decodes it, so such a block can be put between those of another encoder.
"""

from __future__ import annotations

_STATUS = {200: 8, 204: 9, 206: 10, 304: 11, 400: 12, 404: 13, 500: 14}
_STATUS_NAME = 8
# names of the static table (RFC 7541 appendix A) that replies and static headers are likely to have
_NAMES = {
    "access-control-allow-origin": 20, "age": 21, "allow": 22, "authorization": 23, "cache-control": 24,
    "content-disposition": 25, "content-encoding": 26, "content-language": 27, "content-length": 28,
    "content-location": 29, "content-type": 31, "cookie": 32, "date": 33, "etag": 34, "expires": 36, "from": 37,
    "last-modified": 44, "link": 45, "location": 46, "proxy-authenticate": 48, "refresh": 52, "retry-after": 53,
    "server": 54, "set-cookie": 55, "strict-transport-security": 56, "user-agent": 58, "vary": 59, "via": 60,
    "www-authenticate": 61,
}  # fmt: skip


def status(number: int) -> bytes:
    """``:status``: an entry of the static table if there is one for it, else a literal."""
    entry = _STATUS.get(number)
    return bytes((0x80 | entry,)) if entry else bytes((_STATUS_NAME,)) + _string(str(number))


def literal(name: str, value: str) -> bytes:
    """A field that is not indexed (section 6.2.2); ``name`` is in lower case."""
    entry = _NAMES.get(name)
    return (integer(entry, 4) if entry else b"\0" + _string(name)) + _string(value)


def integer(number: int, bits: int) -> bytes:
    """A number behind a prefix of ``bits`` bits, the bits before it zero (section 5.1)."""
    most = (1 << bits) - 1
    if number < most:
        return bytes((number,))
    result, number = [most], number - most
    while number >= 0x80:
        result.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*result, number))


def _string(text: str) -> bytes:
    raw = text.encode("ascii")
    return integer(len(raw), 7) + raw
