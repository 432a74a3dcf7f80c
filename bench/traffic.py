"""What parsers are given to read: heads, calls and queries as they come, each request the bytes of one arrival."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any, NamedTuple

Header = tuple[str, str]

REQUEST, RESPONSE = 0, 1

TARGET = "/api/v2/catalog/items/84213?page=2&per_page=50"
FEW: tuple[Header, ...] = (
    ("Host", "shop.example.com"),
    ("User-Agent", "curl/8.9.1"),
    ("Accept", "application/json"),
)
TEN: tuple[Header, ...] = (  # with the one that fills up
    ("Host", "shop.example.com"),
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    ("Accept", "application/json, text/plain, */*"),
    ("Accept-Language", "en-GB,en;q=0.7"),
    ("Accept-Encoding", "gzip, deflate, br"),
    ("Referer", "https://shop.example.com/catalog"),
    ("Connection", "keep-alive"),
    ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ("X-Request-Id", "7c9e6679-7425-40de-944b-e07fc1f90ae7"),
)
MANY: tuple[Header, ...] = (
    *TEN,
    ("Origin", "https://shop.example.com"),
    ("Sec-Fetch-Dest", "empty"),
    ("Sec-Fetch-Mode", "cors"),
    ("Sec-Fetch-Site", "same-origin"),
    ("Sec-GPC", "1"),
    ("DNT", "1"),
    ("Cache-Control", "no-cache"),
    ("Pragma", "no-cache"),
    ("X-Forwarded-For", "203.0.113.77, 10.42.0.17"),
    ("X-Forwarded-Proto", "https"),
)

ANSWER: list[Header] = [(":status", "200"), ("content-length", "0")]


class Recording(NamedTuple):
    """A connection: how it begins, each piece with its direction, and then each request with its response."""

    beginning: list[tuple[int, bytes]]
    exchanges: list[tuple[bytes, bytes]]


def http1_head(size: int) -> bytes:
    """The head of a GET in exactly ``size`` bytes; a cookie fills it up."""
    headers = FEW if size < 400 else TEN if size < 1000 else MANY
    lines = [f"GET {TARGET} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "Cookie: "]
    head = "\r\n".join(lines)
    room = size - len(head) - len("\r\n\r\n")
    if not 0 < room <= 4000:
        raise ValueError(f"a head of {size} bytes has no room for its headers")
    return (head + _cookie(room) + "\r\n\r\n").encode()


def _cookie(length: int) -> str:
    """Cookies as they are: names, and letters that mean nothing."""
    letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"
    mixed: list[str] = []
    state = 1
    while len(mixed) < length:
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        mixed.append(letters[state >> 16 & 63])
        if len(mixed) % 97 == 96:
            mixed += "; s="
    return ("id=" + "".join(mixed))[:length].rstrip("; ").ljust(length, "x")


def http2_gets(count: int) -> Recording:
    """GETs like `http1_head` (500), each with a path and a trace of its own."""
    own = [(name.lower(), value) for name, value in TEN if name not in ("Host", "Connection", "traceparent")]
    first = [(":method", "GET"), (":scheme", "https"), (":authority", "shop.example.com")]
    requests = [
        [
            *first,
            (":path", f"/api/v2/catalog/items/{84213 + number}?page=2&per_page=50"),
            *own,
            ("traceparent", _trace(number)),
        ]
        for number in range(count)
    ]
    return _http2(requests, ANSWER)


def grpc_calls(count: int, *, table: int = 4096) -> Recording:
    """``count`` unary calls of one client; with ``table`` 0 the server allows no dynamic table."""
    requests = [
        [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/shop.v1.Cart/AddItem"),
            (":authority", "cart.shop.svc.cluster.local:8080"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "grpc-python/1.60.0 grpc-c/37.0.0 (linux; chttp2)"),
            ("grpc-accept-encoding", "identity, deflate, gzip"),
            ("grpc-timeout", "1S"),
            ("traceparent", _trace(number)),
        ]
        for number in range(count)
    ]
    message = b"\x0a\x08item-123\x10\x02\x18\xe9\x07"
    body = struct.pack(">BI", 0, len(message)) + message
    return _http2(requests, [(":status", "200"), ("grpc-status", "0")], body=body, table=table)


def _trace(number: int) -> str:
    mixed = (number + 1) * 0x9E3779B97F4A7C15F39CC0605CEDC835
    return f"00-{mixed % (1 << 128):032x}-{mixed >> 7 & (1 << 64) - 1:016x}-01"


def _http2(
    requests: Iterable[list[Header]], answer: list[Header], *, body: bytes = b"", table: int = 4096
) -> Recording:
    """What h2's client and server say to each other."""
    from h2.settings import SettingCodes

    client, server = h2_connection(client=True), h2_connection(client=False)
    client.initiate_connection()
    server.initiate_connection()
    if table != 4096:
        server.update_settings({SettingCodes.HEADER_TABLE_SIZE: table})
    beginning: list[tuple[int, bytes]] = []
    while True:
        sent, answered = client.data_to_send(), server.data_to_send()
        if not sent and not answered:
            break
        if sent:
            server.receive_data(sent)
            beginning.append((REQUEST, sent))
        if answered:
            client.receive_data(answered)
            beginning.append((RESPONSE, answered))
    exchanges = []
    for headers in requests:
        stream = client.get_next_available_stream_id()
        client.send_headers(stream, headers, end_stream=not body)
        if body:
            client.send_data(stream, body, end_stream=True)
        request = client.data_to_send()
        server.receive_data(request)
        server.send_headers(stream, answer, end_stream=True)
        response = server.data_to_send()
        client.receive_data(response)
        exchanges.append((request, response))
    return Recording(beginning, exchanges)


def h2_connection(*, client: bool) -> Any:
    """One end of a connection, as h2 makes it if nothing else is said: headers are checked, and stay bytes."""
    from h2.config import H2Configuration
    from h2.connection import H2Connection

    return H2Connection(H2Configuration(client_side=client))


def redis_get(number: int) -> bytes:
    """The command GET, as clients write it (RESP2)."""
    key = f"session:{number:08x}".encode()
    return b"*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n" % (len(key), key)


def dns_query(number: int) -> bytes:
    """A datagram that asks for an address, with EDNS (RFC 1035, RFC 6891)."""
    name = b"".join(bytes([len(label)]) + label for label in b"cart.shop.svc.cluster.local".split(b"."))
    header = struct.pack(">HHHHHH", number & 0xFFFF, 0x0100, 1, 0, 0, 1)
    return header + name + b"\0" + struct.pack(">HH", 1, 1) + struct.pack(">BHHIH", 0, 41, 1232, 0, 0)
