"""Replies as bytes: what other implementations of HTTP read in them is what was configured."""

from __future__ import annotations

import h11
import hpack
import httptools
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived
from hyperframe.frame import DataFrame, HeadersFrame
from hypothesis import given
from hypothesis import strategies as st

from ebpfmesh.errors import ConfigError
from ebpfmesh.policy import Reply, render
from ebpfmesh.policy import hpack as ours
from ebpfmesh.policy.reply import standard

STATUSES = [200, 204, 205, 301, 304, 308, 400, 401, 403, 404, 418, 429, 500, 503, 599]
FULL = Reply(
    "full", 403, body="not here, ü\n", content_type="text/html; charset=utf-8",
    headers={"X-Reason": "policy", "cache-control": "no-store", "www-authenticate": 'Basic realm="a b"'},
)  # fmt: skip


def read_h11(text: bytes, method: str = "GET") -> tuple[h11.Response, bytes, bool]:
    """The response that h11 reads, its body, and whether the connection can be used again."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(text)
    response, body = client.next_event(), b""
    assert isinstance(response, h11.Response)
    while not isinstance(event := client.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Data), event
        body += bytes(event.data)
    assert not client.trailing_data[0]
    return response, body, client.their_state is not h11.MUST_CLOSE


def read_httptools(text: bytes) -> tuple[int, dict[str, str], bytes, bool]:
    """The same by llhttp: status, headers, body, and whether it says that the connection stays."""
    seen: dict[str, str] = {}
    body: list[bytes] = []

    class Protocol:
        done = False
        alive = False

        def on_header(self, name: bytes, value: bytes) -> None:
            seen[name.decode().lower()] = value.decode()

        def on_body(self, data: bytes) -> None:
            body.append(data)

        def on_message_complete(self) -> None:
            self.done, self.alive = True, parser.should_keep_alive()

    protocol = Protocol()
    parser = httptools.HttpResponseParser(protocol)
    parser.feed_data(text)
    assert protocol.done
    return parser.get_status_code(), seen, b"".join(body), protocol.alive


def read_h2(variant: render.Variant) -> tuple[dict[str, str], bytes]:
    """What h2 reads of a variant that is sent as HEADERS and DATA."""
    client = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
    client.initiate_connection()
    client.send_headers(
        1, [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "a")], True
    )
    block, body = variant.text[: variant.head], variant.text[variant.head :]
    frames = [HeadersFrame(1, block, flags=["END_HEADERS", *([] if body else ["END_STREAM"])])]
    if body:
        frames.append(DataFrame(1, body, flags=["END_STREAM"]))
    events = client.receive_data(b"".join(frame.serialize() for frame in frames))
    headers = next(event.headers for event in events if isinstance(event, ResponseReceived))
    data = b"".join(event.data for event in events if isinstance(event, DataReceived))
    return dict(headers), data


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("retries", [False, True])
def test_http1_as_two_parsers_read_it(status: int, retries: bool) -> None:
    location = "/there" if 300 <= status < 400 else None
    rendered = render.render(Reply("r", status, body="gone\n", location=location), retries=retries)
    body = b"" if status in (204, 205, 304) else b"gone\n"
    for variant, stays in ((rendered.open, True), (rendered.closes, False)):
        response, got, open_ = read_h11(variant.text)
        assert (response.status_code, got, open_) == (status, body, stays)
        number, headers, got, alive = read_httptools(variant.text)
        assert (number, got, alive) == (status, body, stays)
        assert headers.get("content-length") == (None if status in (204, 304) else str(len(body)))
        assert headers.get("retry-after", "").strip() == ("1" if retries else "")
        assert headers.get("location") == location
        assert ("content-type" in headers) == bool(body)


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("retries", [False, True])
def test_http2_as_h2_reads_it(status: int, retries: bool) -> None:
    rendered = render.render(Reply("r", status, body="gone\n"), retries=retries)
    headers, body = read_h2(rendered.http2)
    assert headers[":status"] == str(status)
    assert body == b""
    assert headers.get("content-length") == (None if status in (204, 304) else "0")
    assert headers.get("retry-after") == ("0000000001" if retries else None)


def test_every_header_and_the_body_arrive() -> None:
    rendered = render.render(FULL)
    _, headers, body, _ = read_httptools(rendered.open.text)
    expected = {
        "content-type": "text/html; charset=utf-8", "x-reason": "policy", "cache-control": "no-store",
        "www-authenticate": 'Basic realm="a b"', "content-length": "13",
    }  # fmt: skip
    assert headers == expected
    assert body.decode() == FULL.body
    without = expected.keys() - {"content-type"}
    expected = {name: expected[name] for name in without} | {"content-length": "0"}
    assert read_h2(rendered.http2) == ({":status": "403", **expected}, b"")


@pytest.mark.parametrize("form", ["open", "closes"])
def test_the_head_alone_answers_a_head_request(form: str) -> None:
    variant = getattr(render.render(FULL), form)
    response, body, _ = read_h11(variant.text[: variant.head], "HEAD")
    assert response.status_code == 403
    assert body == b""
    assert dict(response.headers)[b"content-length"] == b"13"


@pytest.mark.parametrize("form", ["open", "closes", "http2"])
def test_seconds_are_written_from_the_right_into_their_place(form: str) -> None:
    variant = getattr(render.render(standard(429), retries=True), form)
    digits = b"3600"
    end = variant.retry + render.RETRY_DIGITS
    text = variant.text[: end - len(digits)] + digits + variant.text[end:]
    if form == "http2":
        assert int(read_h2(variant._replace(text=text))[0]["retry-after"]) == 3600
    else:
        assert int(read_httptools(text)[1]["retry-after"]) == 3600


def test_what_does_not_retry_has_no_place_for_it() -> None:
    assert [one.retry for one in render.render(standard(429))[1:]] == [0, 0, 0, 0]
    assert render.render(standard(429), retries=True).grpc.retry == 0


@pytest.mark.parametrize(
    ("status", "code"), [(401, 16), (403, 7), (404, 12), (429, 8), (503, 14), (418, 2), (302, 2)]
)
def test_grpc_is_refused_by_trailers_alone(status: int, code: int) -> None:
    rendered = render.render(
        Reply("r", status, body="100 % of ü\r\n", headers={"X-Who": "mesh"}, location="/a")
    )
    headers, body = read_h2(rendered.grpc)
    assert headers == {
        ":status": "200", "content-type": "application/grpc", "grpc-status": str(code),
        "grpc-message": "100 %25 of %C3%BC", "x-who": "mesh",
    }  # fmt: skip
    assert body == b""


def test_grpc_says_the_reason_where_there_is_no_body() -> None:
    assert read_h2(render.render(Reply("r", 403)).grpc)[0]["grpc-message"] == "Forbidden"
    assert "grpc-message" not in read_h2(render.render(Reply("r", 599)).grpc)[0]


@pytest.mark.parametrize("status", render.STANDARD)
def test_standard_replies_fit_in_every_form(status: int) -> None:
    rows = render.render(standard(status), retries=status == 429).rows
    assert {len(row) for row in rows} == {render.REPLY.size}
    for row in rows:
        number, length, head, retry, text = render.REPLY.unpack(row)
        assert number == status
        assert 0 < head <= length
        assert not text[length:].strip(b"\0")
        assert (retry == 0) == (status != 429 or row is rows[3])


def test_blocks_leave_the_table_of_the_peer_alone() -> None:
    decoder = hpack.Decoder()
    decoder.decode(hpack.Encoder().encode([("x-a", "b")]))
    before = list(decoder.header_table.dynamic_entries)
    rendered = render.render(FULL, retries=True)
    for variant in (rendered.http2, rendered.grpc):
        decoder.decode(variant.text[: variant.head])
    assert list(decoder.header_table.dynamic_entries) == before


def test_names_of_the_static_table_are_the_standards() -> None:
    from hpack.table import HeaderTable

    for name, entry in ours._NAMES.items():
        assert HeaderTable.STATIC_TABLE[entry - 1][0] == name.encode()
    for number, entry in ours._STATUS.items():
        assert HeaderTable.STATIC_TABLE[entry - 1] == (b":status", str(number).encode())


@given(st.from_regex(r"\A[a-z][a-z0-9-]{0,40}\Z"), st.from_regex(r"\A[!-~]([ -~]{0,300}[!-~])?\Z"))
def test_any_literal_is_what_hpack_decodes(name: str, value: str) -> None:
    assert hpack.Decoder().decode(ours.literal(name, value)) == [(name, value)]


@given(st.integers(0, 1 << 40), st.integers(1, 8))
def test_integers_are_hpacks(number: int, bits: int) -> None:
    assert ours.integer(number, bits) == bytes(hpack.hpack.encode_integer(number, bits))


BAD = ["a\r\nx: y", "a\nb", "a\rb", "a\0b", " a", "a ", "", "ü", "a\x7f"]


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize(
    ("field", "where"),
    [
        ("header", "$.replies[2].headers.x-a"),
        ("location", "$.replies[2].location"),
        ("type", "$.replies[2].content_type"),
    ],
)
def test_values_that_would_inject_are_refused(value: str, field: str, where: str) -> None:
    reply = {
        "header": Reply("r", 403, headers={"x-a": value}),
        "location": Reply("r", 302, location=value),
        "type": Reply("r", 403, body="x", content_type=value),
    }[field]
    with pytest.raises(ConfigError, match="no value of a header") as caught:
        render.render(reply, where="$.replies[2]")
    assert caught.value.where == where


def test_a_location_has_no_space() -> None:
    with pytest.raises(ConfigError, match="no space"):
        render.render(Reply("r", 302, location="/a b"))


@pytest.mark.parametrize("name", ["a b", "a:b", ":status", "", "a\r\nb", "ü", "a\0"])
def test_names_that_are_none_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="no name of a header"):
        render.render(Reply("r", 403, headers={name: "x"}))
    with pytest.raises(ConfigError, match="no name of a header"):
        render.insert({name: "x"})


@pytest.mark.parametrize(
    "name", ["Content-Length", "connection", "Retry-After", "Transfer-Encoding", "content-type"]
)
def test_headers_of_the_mesh_are_refused_in_replies(name: str) -> None:
    with pytest.raises(ConfigError, match="the mesh's own"):
        render.render(Reply("r", 403, body="x", headers={name: "1"}))


@pytest.mark.parametrize(
    "name", ["Host", "content-length", "connection", "Transfer-Encoding", "traceparent", "expect"]
)
def test_headers_of_the_connection_are_not_set_on_requests(name: str) -> None:
    with pytest.raises(ConfigError, match="the mesh's own"):
        render.insert({name: "1"})


def test_a_reply_that_is_too_large_is_refused() -> None:
    assert len(render.render(Reply("r", 403, body="x" * 880)).closes.text) <= render.REPLY_TEXT
    with pytest.raises(ConfigError, match=r"takes 1[0-9]{3} bytes"):
        render.render(Reply("r", 403, body="x" * 1000))


def test_static_headers_are_lines_and_a_block() -> None:
    row = render.insert({"X-Mesh": "shop", "from": "a@example.org"})
    lines, block, _, text = render.INSERT.unpack(row)
    assert text[:lines] == b"X-Mesh: shop\r\nfrom: a@example.org\r\n"
    assert hpack.Decoder().decode(text[lines : lines + block]) == [
        ("x-mesh", "shop"),
        ("from", "a@example.org"),
    ]
    assert len(row) == render.INSERT.size


def test_static_headers_that_are_too_long_are_refused() -> None:
    with pytest.raises(ConfigError, match="504"):
        render.insert({"x-a": "x" * 300})


@pytest.mark.parametrize("status", [*render.STANDARD, 599])
def test_the_status_of_grpc_stands_where_the_kernel_looks_for_it(status: int) -> None:
    """H2_GRPC_STATUS_AT of http2_tier/judge.h."""
    text = render.render(Reply("r", status, "why", headers={"x-who": "mesh"})).grpc.text
    digits = str(render.grpc_status(status)).encode()
    assert text[33 : 34 + len(digits)] == bytes((len(digits),)) + digits
