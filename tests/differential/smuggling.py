"""Payloads known from research on request smuggling: what two parsers in a row have been seen to read differently.

Sources of the ideas: RFC 9112 sections 6.1, 6.3, 11.2; J. Kettle, "HTTP Desync Attacks" (2019) and "HTTP/1.1 must die"
(2025); the advisories of llhttp, waitress, gunicorn, hyper, Apache Traffic Server and HAProxy on Content-Length, chunk
extensions and line ends. The bytes are written here.
"""

from __future__ import annotations

from typing import NamedTuple


class Payload(NamedTuple):
    """Bytes of one direction.

    ``refuse``: whether a strict parser refuses them by RFC 9112, whatever others do; None where it may do either, and ours
    does what docs/http1-conformance.md says.
    """

    name: str
    data: bytes
    refuse: bool | None = True


NEXT = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
_HOST = b"Host: a\r\n"


def _post(*headers: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    return (
        b"POST / HTTP/" + version + b"\r\n" + _HOST + b"".join(h + b"\r\n" for h in headers) + b"\r\n" + body
    )


def _length_and_chunked() -> list[Payload]:
    """CL.TE and TE.CL, and what makes one of two parsers overlook the Transfer-Encoding."""
    ends_early = b"0\r\n\r\n" + NEXT
    found = [
        Payload("TE and CL", _post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=ends_early)),
        Payload("CL and TE", _post(b"Transfer-Encoding: chunked", b"Content-Length: 40", body=ends_early)),
        Payload("TE in HTTP/1.0", _post(b"Transfer-Encoding: chunked", body=ends_early, version=b"1.0")),
    ]
    found += [
        Payload(f"{spelling!r} and CL", _post(b"Content-Length: 5", spelling, body=ends_early))
        for spelling in (
            b"Transfer-Encoding : chunked",
            b"Transfer-Encoding\t: chunked",
            b" Transfer-Encoding: chunked",
            b"Transfer-Encoding: xchunked",
            b"Transfer-Encoding: chunkedx",
            b"Transfer-Encoding: \x0bchunked",
            b"Transfer-Encoding: \x0cchunked",
            b"Transfer-Encoding: chunked\x0b",
            b"Transfer-Encoding:\n chunked",
            b"Transfer-Encoding:\r\n chunked",
            b"Transfer-Encoding: chunked, identity",
            b"Transfer-Encoding: chunked, chunked",
            b"Transfer-Encoding: identity",
            b"Transfer-Encoding: cow",
            b"Transfer-Encoding: chunked, cow",
            b"Transfer-Encoding: 'chunked'",
            b'Transfer-Encoding: "chunked"',
            b"Transfer-Encoding: chunked;q=0.5",
            b"Transfer-Encoding:",
            b"Transfer-Encoding: ,",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: chunked\0",
            b"Transfer-Encoding\0: chunked",
            b"Transfer\xc2\xadEncoding: chunked",
            b"Transfer-Encoding: chu\r\n nked",
            b"X: y\nTransfer-Encoding: chunked",
            b"X: y\rTransfer-Encoding: chunked",
            b"X: y\r\rTransfer-Encoding: chunked",
        )
    ]
    found += [
        Payload(f"{spelling!r} alone", _post(spelling, body=ends_early))
        for spelling in (
            b"Transfer-Encoding: cow",
            b"Transfer-Encoding: identity",
            b"Transfer-Encoding: chunked, cow",
        )
    ]
    found += [
        Payload(f"{spelling!r}", _post(spelling, body=ends_early), refuse=False)
        for spelling in (
            b"transfer-encoding: CHUNKED",
            b"Transfer-Encoding:chunked",
            b"Transfer-Encoding: chunked \t",
        )
    ]
    return found


def _lengths() -> list[Payload]:
    """Content-Length that is not one number."""
    values = (
        b"5, 5", b"5,6", b"+5", b"-5", b"0x5", b"5.0", b"5 5", b"5e0", b"", b"5;", b"\x0b5", b"5\x0c", b"5\0",
        b"\xb25", b"\xd9\xa5", b"18446744073709551621", b"18446744073709551616", b"9" * 40, b"1_0", b"5\t5", b"'5'",
    )  # fmt: skip
    found = [
        Payload(f"Content-Length: {value!r}", _post(b"Content-Length: " + value, body=b"hello" + NEXT))
        for value in values
    ]
    twice = (b"Content-Length: 5", b"Content-Length: 41")
    found += [
        Payload("two lengths", _post(*twice, body=b"hello" + NEXT)),
        Payload("two lengths, the other first", _post(*twice[::-1], body=b"hello" + NEXT)),
        Payload("the same length twice", _post(twice[0], twice[0], body=b"hello" + NEXT)),
        Payload("a space before the colon", _post(b"Content-Length : 5", body=b"hello" + NEXT)),
        Payload("a folded length", _post(b"Content-Length:\r\n 5", body=b"hello" + NEXT)),
        Payload("a length behind a bare LF", _post(b"X: y\nContent-Length: 5", body=b"hello" + NEXT)),
        Payload("a length behind a bare CR", _post(b"X: y\rContent-Length: 5", body=b"hello" + NEXT)),
        Payload(
            "a length with leading zeroes", _post(b"Content-Length: 0005", body=b"hello" + NEXT), refuse=False
        ),
        Payload("a length with an underscore", _post(b"Content_Length: 5", body=NEXT), refuse=False),
        Payload(
            "GET with a body",
            b"GET / HTTP/1.1\r\n" + _HOST + b"Content-Length: 5\r\n\r\nhello" + NEXT,
            refuse=False,
        ),
    ]
    return found


def _chunks() -> list[Payload]:
    """Chunks whose size, extension or line end two parsers read differently."""
    chunked = b"Transfer-Encoding: chunked"
    found = [
        Payload(name, _post(chunked, body=body + NEXT))
        for name, body in {
            "a size with 0x": b"0x5\r\nhello\r\n0\r\n\r\n",
            "a size with +": b"+5\r\nhello\r\n0\r\n\r\n",
            "a size with -": b"-5\r\nhello\r\n0\r\n\r\n",
            "a size with a space before it": b" 5\r\nhello\r\n0\r\n\r\n",
            "a size with an underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
            "a size beyond 64 bits": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
            "a size of 64 bits": b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
            "no size": b"\r\nhello\r\n0\r\n\r\n",
            "only an extension": b";a\r\nhello\r\n0\r\n\r\n",
            "a size that is no number": b"5g\r\nhello\r\n0\r\n\r\n",
            "a bare LF behind the size": b"5\nhello\r\n0\r\n\r\n",
            "a bare CR behind the size": b"5\rhello\r\n0\r\n\r\n",
            "a bare LF behind the data": b"5\r\nhello\n0\r\n\r\n",
            "nothing behind the data": b"5\r\nhello0\r\n\r\n",
            "more data than the size": b"5\r\nhelloXX0\r\n\r\n",
            "two bytes instead of CRLF": b"5\r\nhelloXX\r\n0\r\n\r\n",
            "a bare LF in an extension": b"5;a\nhello\r\n0\r\n\r\n",
            "a bare CR in an extension": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
            "a NUL in an extension": b"5;a=\0\r\nhello\r\n0\r\n\r\n",
            "an open quote in an extension": b'5;a="\r\nhello\r\n0\r\n\r\n',
            "a line end in a quote": b'5;a="\n"\r\nhello\r\n0\r\n\r\n',
            "a bare LF at the last chunk": b"5\r\nhello\r\n0\n\r\n",
            "a bare LF at the end": b"5\r\nhello\r\n0\r\n\n",
            "a bare CR at the end": b"5\r\nhello\r\n0\r\n\rX",
            "a trailer that is folded": b"0\r\nX: a\r\n b\r\n\r\n",
            "a trailer with a space before the colon": b"0\r\nX : a\r\n\r\n",
            "a trailer without a colon": b"0\r\nGET / HTTP/1.1\r\n\r\n",
            "a trailer with a bare LF": b"0\r\nX: a\n\r\n",
            "a trailer with a bare CR": b"0\r\nX: a\rY: b\r\n\r\n",
            "a size with a space and a digit": b"5 5\r\nhello\r\n0\r\n\r\n",
            "a size with a vertical tab": b"5\x0b\r\nhello\r\n0\r\n\r\n",
        }.items()
    ]
    found += [
        Payload(name, _post(chunked, body=body + NEXT), refuse=False)
        for name, body in {
            "an extension": b"5;a=b\r\nhello\r\n0\r\n\r\n",
            "an extension that is quoted": b'5;a="b;c\\"d"\r\nhello\r\n0\r\n\r\n',
            "a size in both cases, with zeroes": b"00000A\r\nhellohello\r\n000\r\n\r\n",
        }.items()
    ]
    return found


def _heads() -> list[Payload]:
    """Heads whose lines or targets two parsers read differently."""
    found = [
        Payload(name, data + NEXT)
        for name, data in {
            "bare LF everywhere": b"GET / HTTP/1.1\nHost: a\n\n",
            "a bare LF behind the request line": b"GET / HTTP/1.1\nHost: a\r\n\r\n",
            "a bare LF before the end": b"GET / HTTP/1.1\r\nHost: a\n\r\n",
            "a bare LF at the end": b"GET / HTTP/1.1\r\nHost: a\r\n\n",
            "a bare CR at the end": b"GET / HTTP/1.1\r\nHost: a\r\n\rX",
            "a bare CR in a value": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
            "CR CR LF": b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n",
            "a NUL in a value": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
            "a NUL in a name": b"GET / HTTP/1.1\r\nHost: a\r\nX\0: a\r\n\r\n",
            "a NUL in the target": b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
            "an empty name": b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
            "no colon": b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
            "a space in a name": b"GET / HTTP/1.1\r\nHost: a\r\nX Y: b\r\n\r\n",
            "a folded value": b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n",
            "a line of spaces": b"GET / HTTP/1.1\r\nHost: a\r\n \r\n\r\n",
            "a first line that is folded": b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
            "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "a host list": b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
            "a host with a space": b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
            "a host with a path": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
            "no version": b"GET /\r\n",
            "version 2.0": b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
            "version 0.9": b"GET / HTTP/0.9\r\nHost: a\r\n\r\n",
            "version 1.10": b"GET / HTTP/1.10\r\nHost: a\r\n\r\n",
            "version 01.1": b"GET / HTTP/01.1\r\nHost: a\r\n\r\n",
            "a version in lower case": b"GET / http/1.1\r\nHost: a\r\n\r\n",
            "two spaces": b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            "two spaces before the version": b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n",
            "a tab": b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "a space behind the version": b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
            "a space before the method": b" GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "a space in the target": b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
            "a method with a colon": b"GE:T / HTTP/1.1\r\nHost: a\r\n\r\n",
            "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        }.items()
    ]
    found += [
        Payload(name, data + NEXT, refuse=False)
        for name, data in {
            "empty lines before": b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "an empty value": b"GET / HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n",
            "bytes above 127 in a value": b"GET / HTTP/1.1\r\nHost: a\r\nX: \xff\xfe\r\n\r\n",
            "spaces around a value": b"GET / HTTP/1.1\r\nHost: a\r\nX: \t b \t \r\n\r\n",
            "the absolute form": b"GET http://b/c HTTP/1.1\r\nHost: a\r\n\r\n",
            "the asterisk form": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            "an expectation": b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab",
            "an empty host": b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
            "keep-alive in HTTP/1.0": b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        }.items()
    ]
    return found


def _either() -> list[Payload]:
    """What a parser may refuse or not."""
    framing = b"0\r\nContent-Length: 50\r\nTransfer-Encoding: chunked\r\n\r\n"  # as trailers: RFC 9110 section 6.5.1
    return [
        Payload("no host", b"GET / HTTP/1.1\r\n\r\n" + NEXT, refuse=None),
        Payload(
            "framing as trailers", _post(b"Transfer-Encoding: chunked", body=framing + NEXT), refuse=None
        ),
    ]


REQUESTS = [*_length_and_chunked(), *_lengths(), *_chunks(), *_heads(), *_either()]

_OK = b"HTTP/1.1 200 OK\r\n"
_SECOND = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2"
RESPONSES = [
    Payload("TE and CL", _OK + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n" + _SECOND),
    Payload("two lengths", _OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n1" + _SECOND),
    Payload("a list of lengths", _OK + b"Content-Length: 1, 2\r\n\r\n1" + _SECOND),
    Payload("a folded value", _OK + b"X: a\r\n b\r\nContent-Length: 1\r\n\r\n1" + _SECOND),
    Payload("bare LF", b"HTTP/1.1 200 OK\nContent-Length: 1\n\n1" + _SECOND),
    Payload("a bare CR in the reason", b"HTTP/1.1 200 O\rK\r\nContent-Length: 1\r\n\r\n1" + _SECOND),
    Payload("a NUL in the reason", b"HTTP/1.1 200 O\0K\r\nContent-Length: 1\r\n\r\n1" + _SECOND),
    Payload("a status of two digits", b"HTTP/1.1 20 OK\r\nContent-Length: 1\r\n\r\n1" + _SECOND),
    Payload("a status of four digits", b"HTTP/1.1 2000 OK\r\nContent-Length: 1\r\n\r\n1" + _SECOND),
    Payload("a space before the colon", _OK + b"Content-Length : 1\r\n\r\n1" + _SECOND),
    Payload("no reason and no space", b"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\n1", refuse=False),
    Payload("no reason", b"HTTP/1.1 200 \r\nContent-Length: 1\r\n\r\n1", refuse=False),
    Payload("a reason above 127", b"HTTP/1.1 200 \xc3\xa9\r\nContent-Length: 1\r\n\r\n1", refuse=False),
    Payload("chunks behind a 204", b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
]
