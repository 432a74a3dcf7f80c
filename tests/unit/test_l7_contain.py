"""What a parser of somebody else may do: raise, break the contract, be slow. What it does to its user: nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from structlog.testing import capture_logs
from tally import Message, Tally, build

from ebpfmesh import l7
from ebpfmesh.errors import ParseError
from ebpfmesh.l7 import REQUEST, RESPONSE, Code, End, Undecodable
from ebpfmesh.l7.contain import FORGIVEN_AFTER, Limits, Watch, spent, words


class Odd(l7.PythonParser):
    """Passes letters, and for anything else does what it is told."""

    name = "odd"
    answer: ClassVar[Callable[[bytes], Any]]

    def parse(self, direction: l7.Direction, data: bytes, end: bool) -> l7.Step:
        if data[:1].isalpha():
            return l7.Pass(1, Message(direction, 0, 1, data[:1].decode()), ends=True)
        return type(self).answer(data) if data else l7.More()  # type: ignore[no-any-return]


def odd(answer: Callable[[bytes], Any], **limits: Any) -> Odd:
    """The parser, that answers so."""
    parser = type("Made", (Odd,), {"answer": staticmethod(answer)})()
    parser.watch = Watch("odd", Limits(**limits))
    return parser


def raises(error: BaseException) -> Callable[[bytes], Any]:
    """An answer that is none."""

    def answer(data: bytes) -> Any:
        raise error

    return answer


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise ValueError("no")


def recurse(data: bytes) -> Any:
    return recurse(data)


@pytest.mark.parametrize(("answer", "reason"), [
    (raises(ZeroDivisionError("division by zero")), "ZeroDivisionError: division by zero"),
    (raises(KeyError("a\nb")), "KeyError: 'a\\nb'"),
    (raises(UnprintableError()), "UnprintableError: (it cannot be printed)"),
    (raises(SystemExit(3)), "SystemExit: 3"),
    (raises(ParseError("odd", "request", 0, 16, "mine")), "it is to answer Error"),
    (recurse, "RecursionError"),
    (lambda data: None, "it answered None"),
    (lambda data: 5, "it answered 5"),
    (lambda data: l7.More(0), "answered More"),
    (lambda data: l7.More(-1), "answered More"),
    (lambda data: l7.More("1"), "answered More"),
    (lambda data: l7.Pass(-1), "it answered Pass"),
    (lambda data: l7.Pass(1, head=2), "it answered Pass"),
    (lambda data: l7.Pass(1 << 64), "it answered Pass"),
    (lambda data: l7.Pass(1.5), "it answered Pass"),
    (lambda data: l7.Pass("1"), "it answered Pass"),
    (lambda data: l7.Pass(1, "event"), "its event is 'event'"),
    (lambda data: l7.Pass(0), "it passes nothing"),
    (lambda data: l7.Pass(0, Message(REQUEST, 0, 1)), "it passes nothing"),
    (lambda data: l7.Reply(1, "text"), "TypeError"),
    (lambda data: l7.Error(0), "it answered Error"),
    (lambda data: l7.Error(16, 9999), "it answered Error"),
    (lambda data: l7.Escalate(-1), "it answered Escalate"),
])  # fmt: skip
def test_whatever_a_parser_does_the_connection_is_undecodable_and_its_user_goes_on(
    answer: Callable[[bytes], Any], reason: str
) -> None:
    connection = odd(answer).connection()
    with capture_logs() as logs:
        events = connection.feed(REQUEST, b"a!b")
    assert events[:2] == [
        Message(REQUEST, 1, 1, "a"),
        End(REQUEST, 1, 0),
    ]  # what was found before is not lost
    fault = events[-1]
    assert isinstance(fault, Undecodable)
    assert (fault.code, fault.direction, fault.position) == (Code.FAULT, REQUEST, 1)
    assert reason in fault.reason
    assert [(log["parser"], log["log_level"]) for log in logs] == [("odd", "warning")]
    assert reason in logs[0]["what"]
    assert connection.feed(REQUEST, b"a") == []
    assert connection.feed(RESPONSE, b"a") == [Message(RESPONSE, 1, 1, "a"), End(RESPONSE, 1, 0)]


def test_a_parser_that_cannot_be_made_is_at_fault_when_it_is_asked() -> None:
    class Unborn(Odd):
        def __init__(self) -> None:
            if hasattr(Unborn, "ready"):
                raise RuntimeError("no licence")
            Unborn.ready = True  # type: ignore[attr-defined]

    connection = Unborn().connection()
    [event] = connection.feed(REQUEST, b"a")
    assert isinstance(event, Undecodable) and "no licence" in event.reason


def test_an_interrupt_is_nobodys_fault() -> None:
    connection = odd(raises(KeyboardInterrupt())).connection()
    with pytest.raises(KeyboardInterrupt):
        connection.feed(REQUEST, b"!")


def test_a_fault_in_a_face_is_contained_as_well(tmp_path: Any) -> None:
    class Faulty(Tally):
        library = build(tmp_path)

        def event(self, raw: l7.RawEvent, config: l7.Config) -> l7.Event | None:
            raise LookupError("which?")

    connection = Faulty().connection()
    *before, fault = connection.feed(REQUEST, b"M\0\0U\0\0M\0\0")
    assert len(before) == 2
    assert isinstance(fault, Undecodable) and "LookupError: which?" in fault.reason


def test_a_kind_that_the_face_does_not_know_is_its_fault(tmp_path: Any) -> None:
    face = type("Built", (Tally,), {"library": build(tmp_path)})()
    [fault] = face.connection().feed(REQUEST, b"U\0\0")
    assert isinstance(fault, Undecodable) and "unknown kind 9" in fault.reason


def test_too_many_faults_disable_the_parser_for_all_of_its_connections() -> None:
    parser = odd(raises(ValueError("again")), faults=3)
    other = parser.connection()
    with capture_logs() as logs:
        for _ in range(3):
            assert parser.watch is not None and parser.watch.disabled is None
            parser.connection().feed(REQUEST, b"!")
    assert parser.watch is not None
    assert parser.watch.disabled == "3 faults, the last: ValueError: again"
    assert logs[-1]["event"] == "parser disabled"
    [event] = other.feed(REQUEST, b"a")
    assert event == Undecodable(REQUEST, 1, Code.DISABLED, f"disabled: {parser.watch.disabled}")
    assert other.feed(REQUEST, b"a") == []


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_slow_parser_is_measured_and_disabled() -> None:
    clock = Clock()

    def slow(data: bytes) -> l7.Step:
        clock.now += 0.5
        return l7.Pass(1)

    parser = odd(slow)
    watch = parser.watch = Watch("odd", Limits(overruns=4, budget=0.1), clock)
    with capture_logs() as logs:
        connection = parser.connection()
        events = connection.feed(REQUEST, b"!!!")
        assert (events, watch.overruns, watch.slowest, watch.disabled) == ([], 3, 0.5, None)
        [event] = connection.feed(REQUEST, b"!!!a")
    assert event == Undecodable(REQUEST, 4, Code.DISABLED, "disabled: 4 calls took longer than 100 ms")
    assert [log["seconds"] for log in logs[:-1]] == [0.5] * 4
    assert watch.calls == 4


def test_a_slow_face_is_measured_too(tmp_path: Any) -> None:
    clock = Clock()

    class Slow(Tally):
        library = build(tmp_path)

        def event(self, raw: l7.RawEvent, config: l7.Config) -> l7.Event | None:
            clock.now += 1
            return None

    face = Slow()
    watch = face.watch = Watch("slow", Limits(overruns=1, budget=0.5), clock)
    connection = face.connection()
    assert len(connection.feed(REQUEST, b"M\0\0")) == 2
    assert watch.disabled is None
    connection.feed(REQUEST, b"U\0\0")
    assert watch.disabled == "1 calls took longer than 500 ms"
    [event] = connection.feed(REQUEST, b"M\0\0")
    assert isinstance(event, Undecodable) and event.code == Code.DISABLED


def test_more_bytes_may_take_more_time() -> None:
    clock = Clock()
    watch = Watch("x", Limits(budget=1.0), clock)
    since, clock.now = clock(), 1.9
    watch.ran(since, 65537)
    assert watch.overruns == 0
    watch.ran(since, 65536)
    assert watch.overruns == 1


def test_a_parser_that_rarely_fails_stays() -> None:
    watch = Watch("x", Limits(faults=2), Clock())
    for _ in range(20):
        watch.failed("now and then")
        for _ in range(FORGIVEN_AFTER):
            watch.ran(0.0, 1)
    assert (watch.faults, watch.disabled) == (20, None)
    watch.failed("one")
    watch.failed("and another")
    assert watch.disabled == "22 faults, the last: and another"


def test_an_exception_is_told_in_one_short_line() -> None:
    assert words(ValueError("a\n  b" + "c" * 500)) == "ValueError: a b" + "c" * 197
    assert words(ValueError()) == "ValueError"


# --- what a parser in Python is shown ---------------------------------------------------------------------------------


class Seen(l7.PythonParser):
    """A line; keeps what it was shown."""

    name = "seen"
    shown: ClassVar[list[tuple[int, bool]]] = []

    def parse(self, direction: l7.Direction, data: bytes, end: bool) -> l7.Step:
        self.shown.append((len(data), end))
        line = data.find(b"\n") + 1
        return l7.Pass(line, ends=True) if line else l7.More()


def test_a_parser_is_shown_as_much_as_it_asked_for_and_no_byte_twice_once_passed() -> None:
    Seen.shown.clear()
    connection = Seen().connection()
    connection.feed(REQUEST, b"ab")
    connection.feed(REQUEST, b"c\nde")
    connection.feed(REQUEST, b"\n")
    assert Seen.shown == [(2, False), (6, False), (2, False), (3, False)]
    connection.feed(REQUEST, b"x" * 30000 + b"\n")
    assert Seen.shown[4:] == [(4096, False), (8194, False), (16390, False), (30001, False)]
    connection.end(REQUEST)
    assert Seen.shown[-1] == (0, True)


@pytest.mark.parametrize("size", [1, 7, 4096, 100000])
def test_what_a_parser_may_hold_is_bounded_wherever_bytes_are_split(size: int) -> None:
    line = b"x" * 99 + b"\n"
    for limit, error in ((100, False), (99, True)):
        connection = Seen().connection(l7.Config(head_limit=limit))
        data = b"\n" + line
        try:
            events = [
                one for at in range(0, 101, size) for one in connection.feed(REQUEST, data[at : at + size])
            ]
        except ParseError as caught:
            assert (error, caught.code, caught.position) == (True, Code.TOO_LONG, 1)
        else:
            assert not error
            assert [event.position for event in events] == [1, 101]


def test_the_default_limit_holds() -> None:
    with pytest.raises(ParseError, match="too long"):
        Seen().connection().feed(REQUEST, b"x" * 32768)
    assert len(Seen().connection().feed(REQUEST, b"x" * 32767 + b"\n")) == 1


def test_a_parser_may_go_on_behind_a_gap() -> None:
    class Tolerant(Seen):
        def gap(self, direction: l7.Direction, count: int) -> l7.Step | None:
            return None if count < 10 else l7.Error(20)

    connection = Tolerant().connection()
    connection.feed(REQUEST, b"ab")
    assert connection.lost(REQUEST, 5) == []
    assert connection.feed(REQUEST, b"c\n") == [End(REQUEST, 9, 0)]
    connection.lost(REQUEST, 10)
    with pytest.raises(ParseError, match="at byte 19: code 20"):
        connection.feed(REQUEST, b"c\n")


def test_what_a_gap_cannot_mean_is_a_fault() -> None:
    class Wrong(Seen):
        def gap(self, direction: l7.Direction, count: int) -> l7.Step | None:
            return l7.Pass(1)

    connection = Wrong().connection()
    connection.lost(REQUEST, 5)
    [event] = connection.feed(REQUEST, b"c\n")
    assert isinstance(event, Undecodable) and "gap() answered Pass" in event.reason


def test_many_small_messages_at_once_cost_what_they_cost_one_by_one() -> None:
    Seen.shown.clear()
    connection = Seen().connection()
    assert len(connection.feed(REQUEST, b"a\n" * 20000)) == 20000
    assert max(shown for shown, _ in Seen.shown) == 4096  # not all that is left, each time
    assert sys.getsizeof(connection._held[REQUEST].data[connection._held[REQUEST].at :]) < 100


def test_waiting_counts_a_tenth_of_working() -> None:
    before, wall = spent(), time.perf_counter()
    time.sleep(0.05)
    waited = time.perf_counter() - wall
    assert waited / 10 <= spent() - before < waited
