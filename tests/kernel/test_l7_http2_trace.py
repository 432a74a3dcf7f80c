"""HTTP/2 in the kernel: a trace that came is continued, however the client has coded it."""

from __future__ import annotations

import struct

import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from l7_http2_site import DENY, Http2Client, Http2Site

from ebpfmesh.observe import Observer
from ebpfmesh.policy import Http, Log

pytestmark = pytest.mark.kernel(feature="loop")
SITE = Http2Site

NAME, TRACE_ID, SPAN = b"traceparent", "ab" * 8 + "01" * 8, "cd" * 8
FORMS = {"indexed": 0x40, "not indexed": 0x00, "never indexed": 0x10}


def string(text: bytes, *, huffman: bool) -> bytes:
    """A string of HPACK, shorter than 127 bytes."""
    if huffman:
        coded = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(text)
        return bytes((0x80 | len(coded),)) + coded
    return bytes((len(text),)) + text


def ask(client: Http2Client, path: str, *fields: bytes, priority: bool = False) -> int:
    """A request whose block is written here, the fields behind the pseudo-headers; its stream."""
    stream: int = client.h2.get_next_available_stream_id()
    client.h2.send_headers(
        stream,
        [(":method", "GET"), (":scheme", "http"), (":authority", "web"), (":path", path)],
        end_stream=True,
    )
    client.h2.data_to_send()  # what h2 made of it is not sent: it knows of the stream
    block = (
        b"\x82\x86" + b"\x01" + string(b"web", huffman=False) + b"\x04" + string(path.encode(), huffman=True)
    )
    block = (b"\0\0\0\0\x10" if priority else b"") + block + b"".join(fields)
    head = struct.pack(">I", len(block))[1:] + bytes((1, 0x25 if priority else 5)) + struct.pack(">I", stream)
    client.socket.sendall(head + block)
    return stream


def settled(site: Http2Site) -> Http2Client:
    """A client that has followed HEADER_TABLE_SIZE = 0."""
    client = site.client()
    for _ in range(2):
        assert client.get("/yes").status == 200
    site.h2.asked.clear()
    return client


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("huffman", [(False, False), (True, True), (True, False), (False, True)])
def test_a_trace_is_continued_however_it_is_coded(site, form, huffman):
    site.start(
        site.http2(rules=DENY, http=Http(trace=True, set_headers={"x-mesh": "shop"})), log=Log(sample=1)
    )
    client = settled(site)
    value = f"00-{TRACE_ID}-{SPAN}-01".encode()
    field = bytes((FORMS[form],)) + string(NAME, huffman=huffman[0]) + string(value, huffman=huffman[1])
    other = b"\x00" + string(b"x-other", huffman=True) + string(b"o" * 40, huffman=False)
    again = b"\x0f\x2b" + string(b"agent", huffman=False)  # user-agent: a name of the static table
    streams = [
        ask(client, "/a", field),
        ask(client, "/b", field, other, again),
        ask(client, "/c", other, again, field, priority=True),
    ]
    assert [one.status for one in client.wait(*streams)] == [200] * 3
    assert not site.h2.errors
    spans = set()
    for one in site.h2.asked:
        version, trace, span, flags = one.headers["traceparent"].split("-")
        assert (version, trace, flags) == ("00", TRACE_ID, "01")
        assert span != SPAN
        spans.add(span)
        assert one.headers["x-mesh"] == "shop"
        if one.headers[":path"] != "/a":
            assert (one.headers["x-other"], one.headers["user-agent"]) == ("o" * 40, "agent")
    assert len(spans) == 3
    with Observer.of("l7", run_root=site.root, bpffs=site.bpffs) as seen:
        counted = seen.metrics().services[0].counters
        told = {one.path: one.traceparent for one in seen.recent() if one.path != "/yes"}
    assert (counted["trace_continued"], counted["not_traced"]) == (3, 0)
    assert told == {one.headers[":path"]: one.headers["traceparent"] for one in site.h2.asked}


@pytest.mark.parametrize("piece", [1, 5, 20])
def test_a_trace_is_continued_in_frames_of_many_messages(site, piece):
    site.start(site.http2(rules=DENY, http=Http(trace=True)))
    client = settled(site)
    client.piece = piece
    for number in range(3):
        got = client.get(f"/{number}", headers=[("traceparent", f"00-{TRACE_ID}-{SPAN}-00")], body=b"x" * 30)
        assert got.status == 200
    for one in site.h2.asked:
        version, trace, span, flags = one.headers["traceparent"].split("-")
        assert (version, trace, flags) == ("00", TRACE_ID, "00")
        assert span != SPAN
        assert one.body == b"x" * 30
    assert not site.h2.errors


@pytest.mark.parametrize(
    ("given", "flags"),
    [
        (f"cc-{TRACE_ID}-{SPAN}-09", "01"),  # of a later version: one flag is known
        (f"cc-{TRACE_ID}-{SPAN}-0a-what-the-future-brings-and-more", "00"),
        (f"00-{TRACE_ID}-{SPAN}-03", "03"),
    ],
)
def test_flags_and_versions(site, given, flags):
    site.start(site.http2(rules=DENY, http=Http(trace=True)))
    client = settled(site)
    for _ in range(2):
        assert client.get("/a", headers=[("traceparent", given)]).status == 200
    for one in site.h2.asked:
        version, trace, span, found = one.headers["traceparent"].split("-")
        assert (version, trace, found) == ("00", TRACE_ID, flags)
        assert span != SPAN
    assert not site.h2.errors


@pytest.mark.parametrize(
    "given",
    [
        [f"00-{TRACE_ID}-{'0' * 16}-01"],
        [f"00-{TRACE_ID.upper()}-{SPAN}-01"],
        [f"ff-{TRACE_ID}-{SPAN}-01"],
        [f"00-{TRACE_ID}-{SPAN}-01-more"],
        ["nonsense"],
        [f"00-{TRACE_ID}-{SPAN}-01", f"00-{TRACE_ID}-{SPAN}-00"],
    ],
)
def test_what_is_no_trace_is_left_alone(site, given):
    site.start(site.http2(rules=DENY, http=Http(trace=True, set_headers={"x-mesh": "shop"})))
    client = settled(site)
    assert client.get("/a", headers=[("traceparent", value) for value in given]).status == 200
    [one] = site.h2.asked
    assert one.headers["traceparent"] == given[-1]
    assert one.headers["x-mesh"] == "shop"
    with Observer.of("l7", run_root=site.root, bpffs=site.bpffs) as seen:
        counted = seen.metrics().services[0].counters
    assert (counted["trace_continued"], counted["not_traced"]) == (0, 1)


def test_a_trace_in_the_client_s_table_stays_as_it_came(site):
    """Before the client has followed HEADER_TABLE_SIZE = 0 it may refer to what it has put into its table."""
    site.start(site.http2(rules=DENY, http=Http(trace=True)))
    client = site.client()
    given = f"00-{TRACE_ID}-{SPAN}-01"
    streams = [client.request(f"/{number}", headers=[("traceparent", given)]) for number in range(4)]
    client.flush()
    assert [one.status for one in client.wait(*streams)] == [200] * 4
    assert [one.headers["traceparent"] for one in site.h2.asked] == [given] * 4
    assert not site.h2.errors
