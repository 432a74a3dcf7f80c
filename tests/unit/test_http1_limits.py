"""HTTP/1: heads that span windows, limits, lost bytes, and connections that were not seen from their start."""

from __future__ import annotations

import pytest

from ebpfmesh import l7
from ebpfmesh.errors import ConfigError
from ebpfmesh.l7 import REQUEST, RESPONSE, Config, ParseError, Undecodable
from ebpfmesh.l7.contract import Code as Shared
from ebpfmesh.l7.events import Event
from ebpfmesh.l7.http import HEADER_ATTRIBUTES
from ebpfmesh.l7.http1 import Code, Framing, Http1, Options, Request, Response

PARSER = Http1()
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def told(*pieces: tuple[int, bytes], config: Config | None = None) -> list[Event]:
    connection = PARSER.connection(config)
    return [event for direction, data in pieces for event in connection.feed(direction, data)]


def head(length: int) -> bytes:
    """A request whose head has so many bytes."""
    before = b"GET / HTTP/1.1\r\nHost: a\r\nCookie: "
    behind = b"\r\nUser-Agent: behind all\r\n\r\n"
    return before + b"c" * (length - len(before) - len(behind)) + behind


@pytest.mark.parametrize("length", [4095, 4096, 4097, 8191, 8192, 8193, 20000, 32768])
def test_a_head_may_span_windows(length: int) -> None:
    [request, _] = told((REQUEST, head(length)))
    assert isinstance(request, Request)
    assert (request.position, request.host, request.user_agent) == (length, "a", "behind all")


def test_a_head_over_the_limit_is_an_error_at_its_first_byte_too_many() -> None:
    with pytest.raises(ParseError) as error:
        told((REQUEST, head(32769)))
    assert (error.value.code, error.value.position) == (Shared.TOO_LONG, 32768)


def test_a_field_that_spans_windows_is_whole() -> None:
    target = "/" + "t" * 3000
    data = f"GET {target} HTTP/1.1\r\nCookie: {'c' * 2000}\r\nHost: a\r\n\r\n".encode()
    for at in range(4000, 4200, 7):
        [request, _] = told((REQUEST, data[:at]), (REQUEST, data[at:]))
        assert isinstance(request, Request)
        assert (request.target, request.host) == (target, "a")


def test_sixty_four_requests_may_be_outstanding() -> None:
    connection = PARSER.connection()
    assert len(connection.feed(REQUEST, GET * 64)) == 128
    assert len(connection.feed(RESPONSE, OK * 3)) == 6
    assert len(connection.feed(REQUEST, GET * 3)) == 6
    [undecodable] = connection.feed(REQUEST, GET)
    assert isinstance(undecodable, Undecodable)
    assert undecodable.code == Shared.TOO_MANY


def test_responses_are_matched_with_their_requests_however_many_there_were() -> None:
    connection = PARSER.connection()
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
    answers = {b"GET": answer + b"ab", b"HEAD": answer}
    for number in range(1, 200):
        method = b"HEAD" if number % 3 == 0 else b"GET"
        connection.feed(REQUEST, GET.replace(b"GET", method))
        response = connection.feed(RESPONSE, answers[method])[0]
        assert isinstance(response, Response)
        assert response.stream == number


def test_lost_bytes_of_a_body_are_no_loss() -> None:
    connection = PARSER.connection()
    connection.feed(REQUEST, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n0123456789")
    connection.lost(REQUEST, 90)
    assert isinstance(connection.feed(REQUEST, GET)[0], Request)


def test_lost_bytes_of_a_head_make_the_direction_undecodable() -> None:
    connection = PARSER.connection()
    connection.feed(REQUEST, GET[:10])
    connection.lost(REQUEST, 1)
    [undecodable] = connection.feed(REQUEST, GET[11:])
    assert isinstance(undecodable, Undecodable)
    assert undecodable.code == Shared.GAP


def test_a_connection_from_its_middle_is_not_guessed() -> None:
    [undecodable] = told((REQUEST, GET), config=Config(midstream=True))
    assert isinstance(undecodable, Undecodable)
    assert undecodable.code == Shared.NOT_FROM_START


@pytest.mark.parametrize(
    ("data", "direction", "least"),
    [
        (GET, REQUEST, 90),
        (b"OPTIONS * HTTP/1.1\r\n", REQUEST, 90),
        (b"GET /", REQUEST, 90),
        (b"GET / ICE/1.0", REQUEST, 90),  # known by its beginning: what is wrong behind it is an error
        (b"CONNECT a:443 HTTP/1.1\r\n", REQUEST, 90),
        (b"CONNECT [::1]:443 HTTP/1.0\r\n", REQUEST, 90),
        (b"GET http://a/ HTTP/1.1\r\n", REQUEST, 90),
        (b"\r\n\r\nGET / HTTP/1.1\r\n", REQUEST, 90),
        (b"PROPFIND /a HTTP/1.1\r\n", REQUEST, 90),
        (b"M-SEARCH * HTTP/1.1\r\n", REQUEST, 90),
        (b"VERSION-CONTROL /a HTTP/1.1\r\n", REQUEST, 90),
        (b"X!~ /a HTTP/1.1\r\n", REQUEST, 90),
        (b"X /" + b"a" * 1000 + b" HTTP/1.1\r\n", REQUEST, 90),
        (b"PROPFIND /a HTTP/1", REQUEST, None),
        (b"\r\n\r", REQUEST, None),
        (b"\r\rGET / HTTP/1.1\r\n", REQUEST, 0),
        (b"X" * 33, REQUEST, 0),
        (b"GET  / HTTP/1.1\r\n", REQUEST, 0),
        (b"OPTIONS * RTSP/1.0\r\n", REQUEST, 0),
        (b"OPTIONS sip:a@b SIP/2.0\r\n", REQUEST, 0),
        (b"get /key\r\n", REQUEST, 0),
        (b"CWD /pub\r\n", REQUEST, 0),
        (b"EHLO a.example\r\n", REQUEST, 0),
        (b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", REQUEST, 0),
        (b"PRI ", REQUEST, 0),
        (OK, RESPONSE, 90),
        (b"GE", REQUEST, None),
        (b"HTTP/1", RESPONSE, None),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", REQUEST, 0),
        (b"*1\r\n$4\r\nPING\r\n", REQUEST, 0),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", REQUEST, 0),
        (b"SSH-2.0-OpenSSH_9.2\r\n", RESPONSE, 0),
    ],
)
def test_detection(data: bytes, direction: l7.Direction, least: int | None) -> None:
    confidence = PARSER.detect(data, direction)
    if least:
        assert confidence is not None and confidence >= least
    else:
        assert confidence == least


def test_a_list_header_of_more_than_256_bytes_is_refused() -> None:
    with pytest.raises(ParseError) as error:
        told((REQUEST, GET[:-2] + b"Connection: " + b"a," * 200 + b"\r\n\r\n"))
    assert error.value.code == Shared.TOO_LONG


def test_an_error_is_raised_again_and_only_for_its_direction() -> None:
    connection = PARSER.connection()
    connection.feed(REQUEST, GET)
    for _ in range(2):
        with pytest.raises(ParseError, match="bad method"):
            connection.feed(REQUEST, b"(")
    assert isinstance(connection.feed(RESPONSE, OK)[0], Response)
    assert Code.BAD_METHOD == 16


@pytest.mark.parametrize("all_headers", [False, True])
def test_a_field_without_room_is_unknown_and_not_empty(all_headers: bool) -> None:
    data = b"GET /" + b"t" * 4000 + b" HTTP/1.1\r\nHost: a\r\nUser-Agent:\r\nX-A: 1\r\nX-A: 2\r\n\r\n"
    [request, _] = told((REQUEST, data), config=Config(names=("x-a",), all_headers=all_headers))
    assert isinstance(request, Request)
    assert (request.host, request.registered, request.repeated) == (None, {}, ("x-a",))
    assert {"host", "x-a"} <= {*request.truncated}
    assert request.user_agent == ""  # nothing of it was lost


def test_the_host_of_a_target_without_room_is_not_that_of_the_header() -> None:
    data = b"GET http://" + b"u" * 4000 + b"@a/ HTTP/1.1\r\nHost: b\r\n\r\n"
    [request, _] = told((REQUEST, data))
    assert isinstance(request, Request)
    assert (request.host, request.path) == (None, None)
    assert {"host", "path", "target"} == {*request.truncated}


EARLY = b"HTTP/1.1 408 T\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("status", [b"400", b"408", b"413", b"414", b"431", b"503"])
@pytest.mark.parametrize(
    "begun", [b"G", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\n", b"GET / HTTP/1.1\r\nX"]
)
def test_a_request_whose_head_is_unfinished_may_be_refused(status: bytes, begun: bytes) -> None:
    connection = PARSER.connection()
    connection.feed(REQUEST, GET)
    connection.feed(RESPONSE, OK)
    connection.feed(REQUEST, begun)
    response, _ = connection.feed(RESPONSE, EARLY.replace(b"408", status))
    assert isinstance(response, Response)
    assert (response.stream, response.status) == (2, int(status))
    assert response.connection == Options.CLOSE
    with pytest.raises(ParseError) as error:
        connection.feed(RESPONSE, OK)
    assert error.value.code == Code.DATA_AFTER_CLOSE


def test_the_rest_of_a_head_that_was_refused_is_the_request_of_that_answer() -> None:
    connection = PARSER.connection()
    connection.feed(REQUEST, GET[:20])
    assert connection.feed(RESPONSE, EARLY)[0].stream == 1  # type: ignore[attr-defined]
    [request, _] = connection.feed(REQUEST, GET[20:])
    assert isinstance(request, Request)
    assert request.stream == 1


@pytest.mark.parametrize("before", [b"", GET])
def test_a_server_that_waited_in_vain_says_408_to_nobody(before: bytes) -> None:
    connection = PARSER.connection()
    connection.feed(REQUEST, before)
    connection.feed(RESPONSE, OK if before else b"")
    response = connection.feed(RESPONSE, EARLY.replace(b"close", b"keep-alive"))[0]
    assert isinstance(response, Response)
    assert (response.stream, response.status, response.connection) == (0, 408, Options.KEEP_ALIVE)
    assert isinstance(connection.feed(REQUEST, GET)[0], Request)  # it was on its way already


def test_a_refused_head_may_have_asked_for_no_body() -> None:
    for answer in (b"", b"12345"):
        connection = PARSER.connection()
        connection.feed(REQUEST, b"HEAD / HT")
        events = connection.feed(RESPONSE, EARLY.replace(b"Length: 0", b"Length: 5") + answer)
        events += connection.end(RESPONSE)
        assert isinstance(events[0], Response)
        assert events[0].framing == Framing.TO_CLOSE


@pytest.mark.parametrize(("request_", "status"), [
    (b"", b"400"), (b"", b"200"), (b"GET / HT", b"200"), (b"GET / HT", b"302"), (b"\r\n", b"400"),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ", b"400"),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5", b"400"),
])  # fmt: skip
def test_every_other_response_that_was_not_asked_for_is_an_error(request_: bytes, status: bytes) -> None:
    connection = PARSER.connection()
    connection.feed(REQUEST, request_)
    if b"\r\n\r\n" in request_:
        connection.feed(RESPONSE, OK)
    with pytest.raises(ParseError) as error:
        connection.feed(RESPONSE, EARLY.replace(b"408", status))
    assert error.value.code == Code.UNASKED_RESPONSE


@pytest.mark.parametrize(("name", "attribute"), HEADER_ATTRIBUTES.items())
def test_a_header_that_has_an_attribute_cannot_be_registered(name: str, attribute: str) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' is the attribute '{attribute}'"):
        PARSER.connection(Config(names=("x-a", name)))
    assert attribute in Request.__struct_fields__


@pytest.mark.parametrize("host", [
    "a", "a:80", "a:", "a:0", "a:65535", "a-b.c_d~%20!$&'()*+,;=:1", "[::1]", "[::1]:443", "[fe80::1%25eth0]:1",
    "10.0.0.1:8080", "", "a.b.example:00080", "a" * 64 + ":80",
])  # fmt: skip
def test_a_host_is_a_name_or_an_address_with_or_without_a_port(host: str) -> None:
    [request, _] = told((REQUEST, b"GET / HTTP/1.1\r\nHost: " + host.encode() + b" \r\n\r\n"))
    assert isinstance(request, Request)
    assert request.host == host


WRONG_HOSTS = [
    "a:80:80", "a:b", "a:65536", "a:99999999999999999999", ":80", ":",
    "[::1", "[::1:443", "[]", "[::1]a", "[::1]:x", "a[::1]", "::1", "]",
    '"a"', "<a>", "a\\b", "a^", "a`", "a{b}", "a|b",
]  # fmt: skip


@pytest.mark.parametrize("host", WRONG_HOSTS)
def test_what_is_no_host_is_an_error_wherever_it_stands(host: str) -> None:
    for head_, code in (
        (f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n", Code.BAD_HOST),
        (f"GET http://{host}/ HTTP/1.1\r\nHost: a\r\n\r\n", Code.BAD_TARGET),
        (f"CONNECT {host} HTTP/1.1\r\nHost: a\r\n\r\n", Code.BAD_TARGET),
    ):
        found = set()
        for at in range(len(head_)):
            with pytest.raises(ParseError) as error:
                told((REQUEST, head_[:at].encode()), (REQUEST, head_[at:].encode()))
            found.add((error.value.code, error.value.position))
        assert len(found) == 1
        assert found.pop()[0] == code


@pytest.mark.parametrize("target", ["a", "a:", "a:0", "*", "[::1]", "/", "a:65536", "a" * 300 + ":80"])
def test_connect_needs_a_host_and_a_port(target: str) -> None:
    with pytest.raises(ParseError) as error:
        told((REQUEST, f"CONNECT {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode()))
    assert error.value.code == Code.BAD_TARGET


@pytest.mark.parametrize(
    ("method", "good"), [("GET", False), ("HEAD", False), ("OPTIONS", True), ("M-SEARCH", True)]
)
def test_the_asterisk_is_for_options(method: str, good: bool) -> None:
    data = f"{method} * HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    if good:
        assert isinstance(told((REQUEST, data))[0], Request)
    else:
        with pytest.raises(ParseError, match="bad target"):
            told((REQUEST, data))
