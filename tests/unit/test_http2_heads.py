"""What a head must have, and must not, at every split point (RFC 9113 section 8)."""

from __future__ import annotations

import hashlib

import pytest
from http2_wire import (
    END_HEADERS,
    END_STREAM,
    GET,
    OK,
    POST,
    brief,
    client,
    data,
    error,
    headers,
    read,
    server,
    settings,
)

from ebpfmesh import l7
from ebpfmesh.errors import ConfigError
from ebpfmesh.l7.contract import Config
from ebpfmesh.l7.http import HTTP2_ATTRIBUTES

Header = tuple[str, str]
REST = GET[1:]
CONNECT = ((":method", "CONNECT"), (":authority", "a.example:443"))

BAD_REQUESTS: list[tuple[str, tuple[Header, ...], str]] = [
    ("an upper case name", (*GET, ("Accept", "x")), "field_name"),
    ("a name with a blank", (*GET, ("a b", "x")), "field_name"),
    ("a name with a colon", (*GET, ("a:b", "x")), "field_name"),
    ("a name that is no token", (*GET, ("a(b", "x")), "field_name"),
    ("a name with a byte above 127", (*GET, ("a\xe9", "x")), "field_name"),
    ("a name of nothing", (*GET, ("", "x")), "field_name"),
    ("a name with NUL", (*GET, ("a\0", "x")), "field_name"),
    ("a pseudo-header of nothing", ((":", "x"), *GET), "field_name"),
    ("a long bad name", (*GET, ("abcdefgh" * 3 + "Z", "x")), "field_name"),
    ("NUL in a value", (*GET, ("a", "x\0y")), "field_value"),
    ("CR in a value", (*GET, ("a", "x\ry")), "field_value"),
    ("LF in a value", (*GET, ("a", "x" * 33 + "\n")), "field_value"),
    ("DEL in a value", (*GET, ("a", "x\x7f")), "field_value"),
    ("white space before a value", (*GET, ("a", " x")), "field_value"),
    ("white space behind a value", (*GET, ("a", "x\t")), "field_value"),
    ("a value of white space", (*GET, ("a", " ")), "field_value"),
    ("a blank in :path", ((":path", "/ HTTP/1.1"), *GET[:2], GET[3]), "field_value"),
    ("CRLF in :method", ((":method", "GET\r\n"), *REST), "field_value"),
    ("a :method that is no token", ((":method", "GET/"), *REST), "field_value"),
    ("a :method of nothing", ((":method", ""), *REST), "field_value"),
    ("a :scheme of nothing", (GET[0], (":scheme", ""), *GET[2:]), "field_value"),
    ("connection", (*GET, ("connection", "close")), "connection_header"),
    ("proxy-connection", (*GET, ("proxy-connection", "x")), "connection_header"),
    ("keep-alive", (*GET, ("keep-alive", "1")), "connection_header"),
    ("transfer-encoding", (*POST, ("transfer-encoding", "chunked")), "connection_header"),
    ("upgrade", (*GET, ("upgrade", "h2c")), "connection_header"),
    ("te", (*GET, ("te", "gzip")), "connection_header"),
    ("te and more", (*GET, ("te", "trailers, gzip")), "connection_header"),
    ("an unknown pseudo-header", (*GET, (":foo", "x")), "pseudo_unknown"),
    ("a response's", (*GET, (":status", "200")), "pseudo_unknown"),
    (":protocol unasked", ((":protocol", "websocket"), CONNECT[0], *REST), "pseudo_unknown"),
    (":method after a header", (("a", "b"), *GET), "pseudo_order"),
    ("two of :path", (*GET, (":path", "/")), "pseudo_repeated"),
    ("no :method", REST, "pseudo_missing"),
    ("no :scheme", (GET[0], *GET[2:]), "pseudo_missing"),
    ("no :path", (*GET[:2], GET[3]), "pseudo_missing"),
    ("no authority", GET[:3], "pseudo_missing"),
    ("CONNECT with :path", (CONNECT[0], *REST), "pseudo_missing"),
    ("CONNECT without :authority", (CONNECT[0], ("host", "a.example")), "pseudo_missing"),
    ("nothing", (), "pseudo_missing"),
    ("a :path of nothing", ((":path", ""), *GET[:2], GET[3]), "path"),
    ("a :path without /", ((":path", "a"), *GET[:2], GET[3]), "path"),
    ("* of GET", ((":path", "*"), *GET[:2], GET[3]), "path"),
    ("another host", (*GET, ("host", "b.example")), "authority"),
    ("a longer host", (*GET, ("host", "a.example.org")), "authority"),
    ("host twice", (*GET, ("host", "a.example"), ("host", "a.example")), "authority"),
    ("user information", (*GET[:3], (":authority", "u@a.example")), "authority"),
    ("user information in host", (*GET[:3], ("host", "u:p@a.example")), "authority"),
    ("a length that is no number", (*POST, ("content-length", "5a")), "content_length_form"),
    ("a signed length", (*POST, ("content-length", "+5")), "content_length_form"),
    ("no length", (*POST, ("content-length", "")), "content_length_form"),
    ("a list of lengths", (*POST, ("content-length", "5, 5")), "content_length_form"),
    ("two lengths", (*POST, ("content-length", "5"), ("content-length", "5")), "content_length_form"),
    ("a length of 20 digits", (*POST, ("content-length", "1" * 20)), "content_length_form"),
]


@pytest.mark.parametrize(
    ("head", "code"), [case[1:] for case in BAD_REQUESTS], ids=[case[0] for case in BAD_REQUESTS]
)
def test_a_malformed_request_is_an_error(head: tuple[Header, ...], code: str) -> None:
    assert error(client(headers(1, *head, flags=END_HEADERS))) == code


BAD_RESPONSES: list[tuple[str, tuple[Header, ...], str]] = [
    ("no :status", (("a", "b"),), "pseudo_missing"),
    ("two of :status", (*OK, *OK), "pseudo_repeated"),
    ("a request's", (*OK, (":path", "/")), "pseudo_unknown"),
    (":status late", (("a", "b"), *OK), "pseudo_order"),
    ("a status of two digits", ((":status", "20"),), "status_code"),
    ("a status of four digits", ((":status", "2000"),), "status_code"),
    ("a status with a blank", ((":status", "20 "),), "field_value"),
    ("a status below 100", ((":status", "099"),), "status_code"),
    ("101", ((":status", "101"),), "status_code"),
    ("connection", (*OK, ("connection", "close")), "connection_header"),
]


@pytest.mark.parametrize(
    ("head", "code"), [case[1:] for case in BAD_RESPONSES], ids=[case[0] for case in BAD_RESPONSES]
)
def test_a_malformed_response_is_an_error(head: tuple[Header, ...], code: str) -> None:
    assert error(client(headers(1, *GET)), server(headers(1, *head, flags=END_HEADERS))) == code


def test_an_interim_response_does_not_end_its_stream() -> None:
    assert error(client(headers(1, *GET)), server(headers(1, (":status", "103")))) == "status_code"


def test_the_fields_of_a_request() -> None:
    config = Config(names=("x-tenant", "accept"), all_headers=True, key=bytes(range(16)))
    more = (
        ("user-agent", "curl/8"),
        ("content-type", "text/plain"),
        ("x-tenant", "blue"),
        ("traceparent", "00-1-2-01"),
        ("authorization", "Bearer secret"),
        ("te", "trailers"),
        ("host", "A.example"),
        ("x-tenant", "red"),
        ("content-length", "0"),
    )
    head = (POST[0], POST[1], (":path", "/a/b?c=d?e"), POST[3], *more)
    [request, _] = read(client(headers(1, *head)), config=config)
    assert tuple(tuple(pair) for pair in request["headers"]) == head
    wanted = {
        "method": "POST",
        "target": "/a/b?c=d?e",
        "path": "/a/b",
        "scheme": "http",
        "host": "a.example",
        "version": 20,
        "user_agent": "curl/8",
        "content_type": "text/plain",
        "traceparent": "00-1-2-01",
        "content_length": 0,
        "registered": {"x-tenant": "blue"},
    }
    assert {name: request[name] for name in wanted} == wanted
    assert tuple(request["repeated"]) == ("x-tenant",)
    assert "secret" not in str({**request, "headers": ()})


def test_all_headers_are_listed_in_order_where_they_are_asked_for() -> None:
    head = (*GET, ("a", "1"), ("cookie", "x=1"), ("a", "2"), ("empty", ""))
    [request, _] = read(client(headers(1, *head)), config=Config(all_headers=True))
    assert tuple(tuple(pair) for pair in request["headers"]) == head
    [request, _] = read(client(headers(1, *head)))
    assert "headers" not in request


def sip(key: bytes, value: bytes) -> int:
    """SipHash-2-4, written from its paper."""
    mask = (1 << 64) - 1
    k0, k1 = (int.from_bytes(key[at : at + 8], "little") for at in (0, 8))
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def left(word: int, bits: int) -> int:
        return (word << bits | word >> 64 - bits) & mask

    def turn(times: int) -> None:
        for _ in range(times):
            v[0], v[2] = v[0] + v[1] & mask, v[2] + v[3] & mask
            v[1], v[3] = left(v[1], 13) ^ v[0], left(v[3], 16) ^ v[2]
            v[0] = left(v[0], 32)
            v[2], v[0] = v[2] + v[1] & mask, v[0] + v[3] & mask
            v[1], v[3] = left(v[1], 17) ^ v[2], left(v[3], 21) ^ v[0]
            v[2] = left(v[2], 32)

    padded = value + bytes(7 - len(value) % 8) + bytes((len(value) & 255,))
    for at in range(0, len(padded), 8):
        word = int.from_bytes(padded[at : at + 8], "little")
        v[3] ^= word
        turn(2)
        v[0] ^= word
    v[2] ^= 255
    turn(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def test_an_authorization_is_told_by_its_digest() -> None:
    assert sip(bytes(range(16)), bytes(range(15))) == 0xA129CA6149BE45E5  # the example of the paper
    key = hashlib.sha256(b"key").digest()[:16]
    for value in ("", "x", "Basic abc", "12345678", "Bearer " + "z" * 300):
        [request, _] = read(client(headers(1, *GET, ("authorization", value))), config=Config(key=key))
        assert request["authorization"] == sip(key, value.encode())


TAKEN: list[tuple[str, tuple[Header, ...]]] = [
    ("host instead of :authority", (*GET[:3], ("host", "a.example"))),
    ("* of OPTIONS", ((":method", "OPTIONS"), GET[1], (":path", "*"), GET[3])),
    ("a scheme that has no authority", (GET[0], (":scheme", "urn"), (":path", "x:y"))),
    ("CONNECT", CONNECT),
    ("bytes above 127 in a value", (*GET, ("a", "\xe9\x80\xff"))),
    ("TAB inside a value", (*GET, ("a", "x\ty z"))),
    ("an empty value", (*GET, ("a", ""))),
    ("te: Trailers", (*GET, ("te", "Trailers"))),
    ("a method nobody knows", ((":method", "m-search"), *REST)),
    ("every character of a token", (*GET, ("!#$%&'*+-.^_`|~09az", "x"))),
]


@pytest.mark.parametrize("head", [case[1] for case in TAKEN], ids=[case[0] for case in TAKEN])
def test_a_request_that_is_unusual_is_taken(head: tuple[Header, ...]) -> None:
    assert brief(read(client(headers(1, *head)))) == [("request", 1), ("end", 1)]


def test_an_extended_connect_comes_where_the_server_allows_it() -> None:
    head = ((":method", "CONNECT"), (":protocol", "websocket"), *REST)
    told = read(server(settings(_8=1)), client(headers(1, *head, flags=END_HEADERS)))
    assert told[0]["extended_connect"] is True
    assert (told[1]["protocol"], told[1]["path"]) == ("websocket", "/")
    plain = client(headers(1, *CONNECT, (":protocol", "x"), flags=END_HEADERS))
    assert error(server(settings(_8=1)), plain) == "pseudo_missing"
    wrong = client(headers(1, *GET, (":protocol", "x"), flags=END_HEADERS))
    assert error(server(settings(_8=1)), wrong) == "pseudo_unknown"


# --- the length of the content ------------------------------------------------------------------------------------------


def posted(length: str, *frames: bytes) -> bytes:
    return headers(1, *POST, ("content-length", length), flags=END_HEADERS) + b"".join(frames)


def test_the_data_frames_are_as_long_as_content_length_says() -> None:
    sent = posted("5", data(1, b"ab"), data(1, b"\4cde" + bytes(4), flags=8), data(1, b"", flags=END_STREAM))
    told = read(client(sent))
    assert told[0]["content_length"] == 5
    assert b"".join(event["data"] for event in told if event["event"] == "data") == b"abcde"
    assert told[-1]["event"] == "end"


@pytest.mark.parametrize(
    "sent",
    [
        posted("5", data(1, b"abcdef")),
        posted("5", data(1, b"abc"), data(1, b"def")),
        posted("5", data(1, b"abc", flags=END_STREAM)),
        posted("5", headers(1, ("a", "b"))),
        headers(1, *POST, ("content-length", "5")),
        posted("0", data(1, b"a")),
    ],
)
def test_content_of_another_length_is_an_error(sent: bytes) -> None:
    assert error(client(sent)) == "content_length"


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", "200"), ("GET", "304"), ("GET", "204"), ("HEAD", "404")]
)
def test_a_response_that_has_no_content_may_say_how_long_it_were(method: str, status: str) -> None:
    request = client(headers(1, (":method", method), *REST))
    head = headers(1, (":status", status), ("content-length", "5"))
    assert brief(read(request, server(head)), "status")[2:] == [("response", 1, int(status)), ("end", 1)]
    begun = headers(1, (":status", status), ("content-length", "5"), flags=END_HEADERS)
    assert brief(read(request, server(begun, data(1, b"", flags=END_STREAM))))[2:] == [
        ("response", 1),
        ("end", 1),
    ]
    assert error(request, server(begun, data(1, b"hello", flags=END_STREAM))) == "content_length"


def test_a_tunnel_has_no_length() -> None:
    request = client(headers(1, *CONNECT, flags=END_HEADERS))
    answer = server(headers(1, *OK, ("content-length", "1"), flags=END_HEADERS), data(1, b"abc"))
    assert brief(read(request, answer, client(data(1, b"xyz")))) == [
        ("request", 1), ("response", 1), ("data", 1), ("data", 1),
    ]  # fmt: skip


# --- trailers -----------------------------------------------------------------------------------------------------------


def test_trailers_end_a_message() -> None:
    sent = headers(1, *POST, flags=END_HEADERS) + data(1, b"x") + headers(1, ("grpc-status", "0"), ("a", "b"))
    told = read(client(sent), config=Config(all_headers=True))
    assert brief(told) == [("request", 1), ("data", 1), ("trailers", 1), ("end", 1)]
    assert told[2]["grpc_status"] == 0
    assert len(told[2]["headers"]) == 2


@pytest.mark.parametrize("pair", [(":path", "/"), (":status", "200"), (":x", "y")])
def test_trailers_have_no_pseudo_headers(pair: Header) -> None:
    begun = client(headers(1, *POST, flags=END_HEADERS))
    assert error(begun, client(headers(1, pair))) == "pseudo_unknown"
    assert error(begun, server(headers(1, *OK, flags=END_HEADERS), headers(1, pair))) == "pseudo_unknown"


def test_trailers_do_not_say_what_a_head_says() -> None:
    more = (("host", "b.example"), ("content-length", "77"), ("content-type", "a/b"), ("user-agent", "x"))
    told = read(client(headers(1, *POST, flags=END_HEADERS), headers(1, *more)))
    assert {*told[1]} == {"event", "direction", "position", "stream"}


# --- room ---------------------------------------------------------------------------------------------------------------


def test_a_header_that_exceeds_the_text_is_not_followed() -> None:
    long = client(headers(1, *GET, ("a", "x" * 3500), ("b", "y" * 500)))
    assert brief(read(long)) == [("request", 1), ("end", 1)]
    assert error(long, config=Config(text_limit=2000)) == "undecodable: hpack_long_field"


def test_a_list_that_exceeds_its_limit_is_not_followed() -> None:
    many = client(headers(1, *GET, *(("a", "b") for _ in range(20))))
    assert brief(read(many, config=Config(head_limit=1000))) == [("request", 1), ("end", 1)]
    assert error(many, config=Config(head_limit=700)) == "undecodable: hpack_long_list"


def test_a_head_may_span_windows() -> None:
    pairs = tuple((f"name-{n}", "v" * 60) for n in range(65))
    config = Config(block_limit=8192, text_limit=8192, all_headers=True)
    [request, _] = read(client(headers(1, *GET, *pairs)), config=config)
    assert tuple(tuple(pair) for pair in request["headers"]) == (*GET, *pairs)


@pytest.mark.parametrize("parser", ["http2", "grpc"])
@pytest.mark.parametrize(("name", "attribute"), HTTP2_ATTRIBUTES.items())
def test_a_header_that_has_an_attribute_cannot_be_registered(parser: str, name: str, attribute: str) -> None:
    reason = f"is the attribute '{attribute}'" if attribute else "cannot be registered"
    with pytest.raises(ConfigError, match=f"'{name}' {reason}"):
        l7.parser(parser).connection(Config(names=(name,)))
