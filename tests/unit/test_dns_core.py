"""DNS: what the core tells, with dnspython as the independent reader and writer of messages."""

from __future__ import annotations

import struct
from typing import Any

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebpfmesh import l7
from ebpfmesh.l7.dns import Code, Dns, DnsTcp, Query, Response

LABELS = st.lists(
    st.one_of(st.binary(min_size=1, max_size=20), st.from_regex(rb"[A-Za-z0-9_-]{1,20}", fullmatch=True)),
    max_size=5,
)
NAMES = LABELS.map(lambda labels: dns.name.Name([*labels, b""]))
RECORDS = st.sampled_from(
    [
        ("A", "192.0.2.1"),
        ("AAAA", "2001:db8::1"),
        ("TXT", '"one" "two"'),
        ("CNAME", "other.example.org."),
        ("MX", "10 mail.example.org."),
        ("SOA", "ns.example.org. root.example.org. 1 2 3 4 5"),
    ]
)


@st.composite
def messages(draw: st.DrawFn) -> dns.message.Message:
    """A message with what servers and clients put into one."""
    message = dns.message.Message(id=draw(st.integers(0, 65535)))
    name = draw(NAMES)
    message.flags = draw(st.integers(0, 0xFFFF)) & ~0x7840  # opcode 0; the bit that must be 0
    message.find_rrset(
        message.question,
        name,
        draw(st.sampled_from([1, 28, 255])),
        draw(st.sampled_from([1, 3])),
        create=True,
    )
    for section in (message.answer, message.authority, message.additional):
        for kind, text in draw(st.lists(RECORDS, max_size=2)):
            section.append(
                dns.rrset.from_text(draw(st.sampled_from([name, dns.name.root])), 60, "IN", kind, text)
            )
    if draw(st.booleans()):
        options = [dns.edns.GenericOption(10, b"12345678")] * draw(st.integers(0, 1))
        message.use_edns(
            0,
            ednsflags=draw(st.sampled_from([0, 0x8000])),
            payload=draw(st.integers(512, 65535)),
            options=options,
        )
        message.set_rcode(draw(st.integers(0, 4095)))
    return message


def _expected(wire: bytes) -> dict[str, Any]:
    """What dnspython reads."""
    message = dns.message.from_wire(wire, one_rr_per_rrset=True, question_only=False)
    counts = struct.unpack(">4H", wire[4:12])
    told: dict[str, Any] = {
        "stream": message.id,
        "length": len(wire),
        "flags": struct.unpack(">H", wire[2:4])[0],
        "rcode": int(message.rcode()),
        "counts": counts,
    }
    if message.question:
        question = message.question[0]
        lower = dns.name.Name([label.lower() for label in question.name.labels])
        told |= {
            "name": lower.to_text(omit_final_dot=True),
            "type": int(question.rdtype),
            "class_": int(question.rdclass),
        }
    if message.edns >= 0:
        told |= {"edns_size": message.payload, "edns_flags": message.ednsflags & 0xFFFFFF}
    return told


def _told(event: Query | Response) -> dict[str, Any]:
    told = {name: getattr(event, name) for name in ("stream", "length", "flags", "rcode")}
    told["counts"] = (event.questions, event.answers, event.authorities, event.additionals)
    for name in ("name", "type", "class_", "edns_size", "edns_flags"):
        if getattr(event, name) is not None:
            told[name] = getattr(event, name)
    assert isinstance(event, Response if event.flags & 0x8000 else Query)
    return told


def _datagram(wire: bytes) -> Query | Response:
    event, end = l7.parser("dns").connection().feed(l7.REQUEST, wire)
    assert isinstance(end, l7.End)
    assert isinstance(event, Query | Response)
    return event


def test_the_vectors_hold_at_every_split_point() -> None:
    assert l7.run_vectors(Dns()) == len(Dns.vectors)
    assert l7.run_vectors(DnsTcp()) > 400


@pytest.mark.parametrize("parser", [Dns, DnsTcp])
def test_every_code_has_a_vector(parser: type[Dns]) -> None:
    assert {vector.error[0] for vector in parser.vectors if vector.error} == set(Code)


@settings(deadline=None)
@given(messages())
def test_what_dnspython_wrote_is_told_as_it_reads_it(message: dns.message.Message) -> None:
    wire = message.to_wire(max_size=65535)
    assert _told(_datagram(wire)) == _expected(wire)


@settings(deadline=None)
@given(st.lists(messages(), min_size=1, max_size=3), st.lists(st.integers(1, 500), max_size=4))
def test_a_stream_of_messages_is_told_however_it_is_split(
    found: list[dns.message.Message], cuts: list[int]
) -> None:
    wires = [message.to_wire(max_size=65535) for message in found]
    stream = b"".join(struct.pack(">H", len(wire)) + wire for wire in wires)
    connection = l7.parser("dns-tcp").connection()
    edges = sorted({0, *(cut for cut in cuts if cut < len(stream))})
    pieces = [stream[at:behind] for at, behind in zip(edges, [*edges[1:], len(stream)], strict=True)]
    events = [event for piece in pieces for event in connection.feed(l7.RESPONSE, piece)]
    assert connection.end(l7.RESPONSE) == []
    assert [_told(event) for event in events if isinstance(event, Query | Response)] == [
        _expected(wire) for wire in wires
    ]


@settings(deadline=None, max_examples=300)
@given(messages(), st.data())
def test_what_is_told_of_changed_bytes_dnspython_reads_as_well(
    message: dns.message.Message, data: st.DataObject
) -> None:
    wire = bytearray(message.to_wire(max_size=65535))
    for _ in range(data.draw(st.integers(1, 3))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(
            st.sampled_from([0, 1, 12, 63, 64, 192, 255])
        )
    try:
        event = _datagram(bytes(wire))
    except l7.ParseError:
        return
    try:
        expected = _expected(bytes(wire))
    except (dns.exception.DNSException, NotImplementedError, ValueError):
        return  # dnspython also reads what is inside of records
    told = _told(event)
    for name in ("stream", "length", "flags", "counts", "name", "type", "class_"):
        assert told.get(name) == expected.get(name)


@settings(deadline=None, max_examples=300)
@given(messages(), st.data())
def test_a_message_that_dnspython_finds_too_short_is_an_error(
    message: dns.message.Message, data: st.DataObject
) -> None:
    wire = message.to_wire(max_size=65535)
    cut = wire[: data.draw(st.integers(1, len(wire) - 1))]
    with pytest.raises(dns.exception.DNSException):
        dns.message.from_wire(cut)
    with pytest.raises(l7.ParseError) as error:
        _datagram(cut)
    assert error.value.code == Code.SHORT


def test_a_datagram_that_does_not_fit_the_window_is_not_guessed() -> None:
    message = dns.message.make_response(dns.message.make_query("a.example", "TXT"))
    message.answer.append(
        dns.rrset.from_text("a.example.", 60, "IN", "TXT", " ".join(['"' + "x" * 250 + '"'] * 20))
    )
    wire = message.to_wire(max_size=65535)
    assert len(wire) > 4096
    [event] = l7.parser("dns").connection().feed(l7.RESPONSE, wire)
    assert isinstance(event, l7.Undecodable)
    assert event.code == l7.Code.TOO_LONG
    [response, _] = l7.parser("dns-tcp").connection().feed(l7.RESPONSE, struct.pack(">H", len(wire)) + wire)
    assert _told(response) == _expected(wire)


def test_bytes_behind_the_last_record_are_a_leniency() -> None:
    wire = dns.message.make_query("a.example", "A").to_wire() + b"\0\0"
    with pytest.raises(l7.ParseError, match="trailing"):
        _datagram(wire)
    config = l7.Config(leniencies=frozenset({"trailing"}))
    event, _ = l7.parser("dns").connection(config).feed(l7.REQUEST, wire)
    assert event.name == "a.example"


def test_a_second_opt_record_is_not_taken() -> None:
    opt = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"
    wire = bytearray(
        dns.message.make_query("a.example", "A").to_wire() + opt + b"\0\0\x29\xff\xff\0\0\0\0\0\0"
    )
    wire[11] = 2
    assert _datagram(bytes(wire)).edns_size == 1232


@pytest.mark.parametrize(
    ("parser", "direction", "prefix", "sure"),
    [
        ("dns", l7.REQUEST, dns.message.make_query("a.example", "A").to_wire(), 80),
        ("dns", l7.RESPONSE, dns.message.make_query("a.example", "A").to_wire(), 0),
        ("dns", l7.REQUEST, b"\0" * 12, 0),
        ("dns-tcp", l7.REQUEST, b"\0\x1b" + dns.message.make_query("a.example", "A").to_wire(), 80),
        ("dns-tcp", l7.REQUEST, b"\0\x1b\0", None),
        ("dns-tcp", l7.REQUEST, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0),
    ],
)
def test_it_is_detected_by_its_header(
    parser: str, direction: l7.Direction, prefix: bytes, sure: int | None
) -> None:
    assert l7.parser(parser).detect(prefix[:32], direction) == sure
