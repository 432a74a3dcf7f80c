"""Detection: confidence, ports, priorities, bounds; and what nobody knows is opaque at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from ebpfmesh import l7
from ebpfmesh.l7 import REQUEST, RESPONSE
from ebpfmesh.l7.contain import Limits, Watch
from ebpfmesh.l7.detect import Detection, Detector, examine
from ebpfmesh.l7.registry import LONGEST_PREFIX, Registry


class Guess(l7.PythonParser):
    """Says how sure it is."""

    name = "guess"

    def parse(self, direction: l7.Direction, data: bytes, end: bool) -> l7.Step:
        return l7.Pass(len(data)) if data else l7.More()


def guess(name: str, answer: Callable[[bytes, l7.Direction], Any] | int | None, **changed: Any) -> Guess:
    """A parser that answers so."""
    given = answer if callable(answer) else lambda prefix, direction: answer
    parser = type("Made", (Guess,), {"name": name, "detect": lambda self, *asked: given(*asked), **changed})()
    parser.watch = Watch(name, Limits(faults=2))
    return parser  # type: ignore[no-any-return]


def examined(
    *parsers: l7.Parser, prefix: bytes = b"x", port: int | None = None
) -> tuple[str | None, int, bool]:
    found = examine(parsers, prefix, REQUEST, port)
    return found.parser.name if found.parser else None, found.confidence, found.undecided


def test_the_surest_is_taken() -> None:
    assert examined(guess("a", 60), guess("b", 80), guess("c", 70)) == ("b", 80, False)


def test_among_equally_sure_ones_the_highest_priority_is_taken() -> None:
    assert examined(guess("a", 80), guess("b", 80, priority=2), guess("c", 80, priority=1)) == (
        "b",
        80,
        False,
    )


def test_a_doubt_is_not_enough() -> None:
    assert examined(guess("a", 49), guess("b", 0)) == (None, 0, False)
    assert examined(guess("a", 50)) == ("a", 50, False)


def test_a_port_makes_surer_and_never_decides() -> None:
    assert examined(guess("a", 30, ports=(7,)), guess("b", 50), port=7) == ("a", 55, False)
    assert examined(guess("a", 30, ports=(7,)), guess("b", 50), port=8) == ("b", 50, False)
    assert examined(guess("a", 0, ports=(7,)), port=7) == (None, 0, False)
    assert examined(guess("a", 95, ports=(7,)), port=7) == ("a", 100, False)


def test_one_that_needs_more_is_waited_for_unless_another_is_sure() -> None:
    assert examined(guess("a", None), guess("b", 60)) == (None, 60, True)
    assert examined(guess("a", None), guess("b", 95)) == ("b", 95, False)
    assert examined(guess("a", None, priority=1), guess("b", 95)) == (None, 95, True)
    assert examined(guess("a", None), guess("b", 0)) == (None, 0, True)


def test_nobody_is_waited_for_longer_than_its_prefix() -> None:
    waiting = guess("a", None, prefix=4)
    assert examined(waiting, guess("b", 60), prefix=b"123") == (None, 60, True)
    assert examined(waiting, guess("b", 60), prefix=b"1234") == ("b", 60, False)
    assert examined(waiting, prefix=b"1234") == (None, 0, False)


def test_a_parser_is_shown_no_more_than_its_prefix() -> None:
    shown: list[bytes] = []
    examined(guess("a", lambda prefix, _: shown.append(prefix) or 0, prefix=4), prefix=b"123456")
    assert shown == [b"1234"]


@pytest.mark.parametrize(("answer", "reason"), [
    (101, "detect() answered 101"), (-1, "detect() answered -1"), (True, "detect() answered True"),
    ("yes", "detect() answered 'yes'"), (0.9, "detect() answered 0.9"),
    (lambda prefix, _: 1 // 0, "detect(): ZeroDivisionError"),
])  # fmt: skip
def test_one_that_answers_nonsense_is_at_fault_and_the_others_are_asked(answer: Any, reason: str) -> None:
    bad = guess("bad", answer)
    with capture_logs() as logs:
        assert examined(bad, guess("good", 60)) == ("good", 60, False)
        assert examined(bad) == (None, 0, False)
    assert bad.watch is not None and bad.watch.disabled is not None and reason in bad.watch.disabled
    assert [log["parser"] for log in logs] == ["bad"] * 3
    assert examined(bad) == (None, 0, False)  # it is not asked any more
    assert bad.watch.faults == 2


# --- the built-in ones ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("prefix", "direction", "transport", "name"), [
    (b"GET / HTTP/1.1\r\n", REQUEST, "tcp", "http1"),
    (b"OPTIONS * HTTP/1.1\r\n", REQUEST, "tcp", "http1"),
    (b"HTTP/1.1 200 OK\r\n", RESPONSE, "tcp", "http1"),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", REQUEST, "tcp", "http2"),
    (b"*1\r\n$4\r\nPING\r\n", REQUEST, "tcp", "redis"),
    (b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\x03org\0\0\x01\0\x01", REQUEST, "udp", "dns"),
    (b"SSH-2.0-OpenSSH_9.2\r\n", RESPONSE, "tcp", None),
    (b"220 mail.example ESMTP\r\n", RESPONSE, "tcp", None),
    (b"220-ftp.example FTP\r\n220 ready\r\n", RESPONSE, "tcp", None),
    (b"+OK Dovecot ready.\r\n", RESPONSE, "tcp", None),
    (b"-ERR busy\r\n", RESPONSE, "tcp", None),
    (b"* OK [CAPABILITY IMAP4rev1] ready\r\n", RESPONSE, "tcp", None),
    (b"200 news.example NNRP\r\n", RESPONSE, "tcp", None),
    (b"RFB 003.008\n", RESPONSE, "tcp", None),
    (b"VALUE k 0 5\r\nhello\r\nEND\r\n", RESPONSE, "tcp", None),
    (b"STORED\r\n", RESPONSE, "tcp", None),
    (b"get /key\r\n", REQUEST, "tcp", None),
    (b"set k 0 0 5\r\nhello\r\n", REQUEST, "tcp", None),
    (b"a1 LOGIN me secret\r\n", REQUEST, "tcp", None),
    (b"USER me\r\n", REQUEST, "tcp", None),
    (b"CWD /pub\r\n", REQUEST, "tcp", None),
    (b"MAIL FROM:<a@b.example>\r\n", REQUEST, "tcp", None),
    (b"OPTIONS * RTSP/1.0\r\n", REQUEST, "tcp", None),
    (b"\0\0\0\x08\x04\xd2\x16\x2f", REQUEST, "tcp", None),
    (b"PROPFIND / HTTP/1.1\r\n", REQUEST, "tcp", "http1"),
    (b"\r\nGET / HTTP/1.1\r\n", REQUEST, "tcp", "http1"),
    (b"CONNECT a.example:443 HTTP/1.1\r\n", REQUEST, "tcp", "http1"),
    (b"GET http://a.example/ HTTP/1.1\r\n", REQUEST, "tcp", "http1"),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(60), REQUEST, "tcp", None),
    (b"J\0\0\0\x0a8.0.36\0" + bytes(60), RESPONSE, "tcp", None),
    (bytes(1024), REQUEST, "tcp", None),
])  # fmt: skip
def test_built_in_protocols_are_known_by_their_first_bytes(
    prefix: bytes, direction: l7.Direction, transport: str, name: str | None
) -> None:
    found = l7.detect(prefix, direction, transport=transport)
    assert (found.name if found else None) == name


def test_a_greeting_of_pop3_is_redis_only_on_the_port_of_redis() -> None:
    assert l7.detect(b"+OK Dovecot ready.\r\n", RESPONSE, port=110) is None
    assert l7.detect(b"+OK\r\n+PONG\r\n", RESPONSE, port=6379) is l7.parser("redis")


def test_a_detector_says_what_it_knows_as_soon_as_it_knows() -> None:
    detector = Detector()
    states = []
    for byte in b"GET /":
        detector.feed(REQUEST, bytes([byte]))
        states.append(detector.state)
    assert states[:2] == ["undecided"] * 2
    assert states[-1] == "known"
    assert detector.parser is l7.parser("http1")
    assert detector.feed(REQUEST, b"\0" * 2000) is l7.parser("http1")


def test_a_server_that_speaks_first_in_an_unknown_protocol_is_opaque_at_once() -> None:
    detector = Detector()
    assert detector.feed(RESPONSE, b"SSH-2.0-OpenSSH_9.2\r\n") is None
    assert detector.state == "opaque"
    assert detector.feed(REQUEST, b"GET / HTTP/1.1\r\n") is None
    assert detector.state == "opaque"


def test_a_detector_looks_at_a_kilobyte_and_no_more() -> None:
    registry = Registry()
    shown: list[int] = []

    @registry.register
    class Patient(Guess):
        name = "patient"
        prefix = LONGEST_PREFIX

        def detect(self, prefix: bytes, direction: l7.Direction) -> int | None:
            shown.append(len(prefix))
            return None

    detector = Detector(registry=registry)
    for _ in range(30):
        detector.feed(REQUEST, b"\xff" * 100)
    assert detector.state == "opaque"
    assert max(shown) == LONGEST_PREFIX
    assert len(shown) == 11
    assert sum(map(len, detector._prefixes)) == LONGEST_PREFIX


def test_what_is_not_known_at_the_end_is_opaque() -> None:
    detector = Detector()
    detector.feed(REQUEST, b"G")
    detector.feed(REQUEST, b"")
    assert detector.state == "undecided"
    detector.end()
    assert detector.state == "opaque"
    assert examine([], b"x", REQUEST) == Detection(None, 0, False)
