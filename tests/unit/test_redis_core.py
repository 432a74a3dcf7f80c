"""Redis: what the core tells, at every split point, and what it does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from redis_wire import aggregate, bulk, command

from ebpfmesh import l7
from ebpfmesh.l7.redis import Code, Command, Push, Redis, Reply

ROOT = Path(__file__).parents[2]
BIG = 1 << 40


def _commands(data: bytes, config: l7.Config | None = None) -> list[Command]:
    events = l7.parser("redis").connection(config).feed(l7.REQUEST, data)
    return [event for event in events if isinstance(event, Command)]


def _conversation(*pieces: tuple[int, bytes]) -> list[Reply | Push]:
    connection = l7.parser("redis").connection()
    events = [event for direction, data in pieces for event in connection.feed(direction, data)]
    return [event for event in events if isinstance(event, Reply | Push)]


def test_the_vectors_hold_at_every_split_point() -> None:
    assert l7.run_vectors(Redis()) > 500


def test_every_code_has_a_vector() -> None:
    seen = {vector.error[0] for vector in Redis.vectors if vector.error}
    seen |= {
        event.code for vector in Redis.vectors for event in vector.expect if isinstance(event, l7.Undecodable)
    }
    assert set(Code) <= seen


def test_sixteen_levels_are_followed_and_one_more_is_not_guessed() -> None:
    sixteen = b"*1\r\n" * 16 + b":1\r\n"
    [reply] = _conversation((l7.RESPONSE, sixteen))
    assert (reply.type, reply.elements, reply.length) == ("*", 1, len(sixteen))
    [event] = l7.parser("redis").connection().feed(l7.RESPONSE, b"*1\r\n" * 17)
    assert isinstance(event, l7.Undecodable)
    assert (event.code, event.position) == (Code.TOO_DEEP, 68)


def test_a_value_of_any_size_goes_by_unseen() -> None:
    connection = l7.parser("redis").connection()
    [told] = connection.feed(l7.REQUEST, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n" % BIG + b"x" * 5000)
    assert isinstance(told, Command)
    assert told.position == told.length == 36 + BIG + 2
    connection.lost(l7.REQUEST, BIG - 5000)
    [end, ping, _] = connection.feed(l7.REQUEST, b"\r\n" + command("ping"))
    assert (end.position, ping.name, ping.position) == (36 + BIG + 2, "PING", 36 + BIG + 2 + 14)


def test_values_before_the_last_are_skipped_as_well() -> None:
    data = command("mset", "a", b"x" * 9000, "b", b"y" * 9000) + command("get", "a")
    told = _commands(data)
    assert [(one.name, one.key, one.arguments, one.stream) for one in told] == [
        ("MSET", b"a", 5, 1),
        ("GET", b"a", 2, 2),
    ]
    assert told[-1].position == len(data)


def test_what_is_kept_is_bounded_and_says_so() -> None:
    [told] = _commands(command("set", b"k" * 600, "v"))
    assert (told.key, told.truncated) == (b"k" * 512, ("key",))
    [told] = _commands(command("x" * 40, "k"))
    assert (told.name, told.key, told.truncated) == ("X" * 32, b"k", ("name",))
    [reply] = _conversation((l7.RESPONSE, b"-" + b"e" * 300 + b"\r\n"))
    assert (reply.text, reply.truncated) == ("e" * 256, ("text",))
    [told] = _commands(command("get", "keykey"), l7.Config(text_limit=5))
    assert (told.key, told.truncated) == (b"ke", ("key",))


def test_secrets_are_not_told() -> None:
    told = _commands(
        command("auth", "user", "secret") + command("hello", "3", "auth", "u", "secret") + b"auth secret\r\n"
    )
    assert [(one.name, one.key, one.channel, one.subcommand) for one in told] == [
        ("AUTH", None, None, ""),
        ("HELLO", None, None, ""),
        ("AUTH", None, None, ""),
    ]


@pytest.mark.parametrize(
    ("data", "code", "position"),
    [
        (b"*2147483648\r\n", Code.BAD_LENGTH, 12),
        (b"*1\r\n$-1\r\n", Code.BAD_LENGTH, 8),
        (b"*1\r\n$1234567890123456789\r\n", Code.BAD_LENGTH, 23),
        (b"*1\r\n$+1\r\n", Code.BAD_LENGTH, 5),
        (b"*1x", Code.BAD_LENGTH, 2),
        (b"*1\r\r", Code.BAD_LINE_END, 3),
        (b"*-\r\n", Code.BAD_LENGTH, 2),
        (b"a\0b\r\n", Code.BAD_INLINE, 1),
        (b"get 'a'b\r\n", Code.BAD_INLINE, 7),
        (b"x" * 40000, l7.Code.TOO_LONG, 32768),
    ],
)
def test_what_is_wrong_is_an_error_where_it_is(data: bytes, code: int, position: int) -> None:
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
        connection = l7.parser("redis").connection()
        with pytest.raises(l7.ParseError) as error:
            for piece in pieces:
                connection.feed(l7.REQUEST, piece)
        assert (error.value.code, error.value.position) == (code, position)


def test_commands_that_are_none_are_passed() -> None:
    assert [one.stream for one in _commands(b"*0\r\n*-7\r\n\r\n  \r\nping\r\n*0\r\n")] == [1]


def test_confirmations_of_several_channels_answer_one_command() -> None:
    def confirmation(name: str, number: int) -> bytes:
        return aggregate(b"*", [bulk(b"subscribe"), bulk(name.encode()), b":%d\r\n" % number])

    told = _conversation(
        (l7.REQUEST, command("get", "k") + command("subscribe", "a", "b") + command("ping")),
        (l7.RESPONSE, aggregate(b"*", [bulk(b"message"), bulk(b"not"), bulk(b"one")])),
        (l7.RESPONSE, confirmation("a", 1) + confirmation("b", 2)),
        (l7.RESPONSE, aggregate(b"*", [bulk(b"pong"), bulk(b"")])),
    )
    assert [(type(one).__name__, one.stream) for one in told] == [
        ("Reply", 1),
        ("Push", 2),
        ("Push", 2),
        ("Reply", 3),
    ]


def test_a_subscription_that_is_refused_is_answered_by_the_error() -> None:
    told = _conversation(
        (l7.REQUEST, command("subscribe", "a") + command("ping")), (l7.RESPONSE, b"-NOPERM\r\n+PONG\r\n")
    )
    assert [(one.stream, one.text) for one in told] == [(1, "NOPERM"), (2, "PONG")]


def test_lines_of_monitor_answer_nothing() -> None:
    told = _conversation(
        (l7.REQUEST, command("ping") + command("monitor")),
        (l7.RESPONSE, b'+PONG\r\n+OK\r\n+1.5 [0 c:1] "ping"\r\n'),
    )
    assert [(type(one).__name__, one.stream) for one in told] == [("Reply", 1), ("Reply", 2), ("Push", 0)]


def test_behind_client_reply_nothing_is_matched() -> None:
    told = _conversation(
        (
            l7.REQUEST,
            command("ping") + command("client", "reply", "skip") + command("get", "a") + command("get", "b"),
        ),
        (l7.RESPONSE, b"+PONG\r\n$1\r\nx\r\n"),
    )
    assert [one.stream for one in told] == [1, 0]


def test_hello_switches_what_an_array_may_be() -> None:
    pushed = aggregate(b"*", [bulk(b"message"), bulk(b"a"), bulk(b"b")])
    told = _conversation(
        (l7.REQUEST, command("hello", "3") + command("subscribe", "a") + command("lrange", "k", "0", "-1")),
        (l7.RESPONSE, aggregate(b"%", [bulk(b"proto"), b":3\r\n"])),
        (l7.RESPONSE, aggregate(b">", [bulk(b"subscribe"), bulk(b"a"), b":1\r\n"]) + pushed),
    )
    assert [(type(one).__name__, one.stream) for one in told] == [("Reply", 1), ("Push", 2), ("Reply", 3)]


@pytest.mark.parametrize(
    ("direction", "prefix", "sure"),
    [
        (l7.REQUEST, b"*1\r\n$4\r\nPING\r\n", 95),
        (l7.REQUEST, b"*1\r\n", None),
        (l7.REQUEST, b"*1\r\nx", 0),
        (l7.REQUEST, b"GET / HTTP/1.1\r\n", 0),
        (l7.REQUEST, b"*" + b"1" * 30, 0),
        (l7.RESPONSE, b"+OK\r\n", 30),
        (l7.RESPONSE, b"%7\r\n", 70),
        (l7.RESPONSE, b"HTTP/1.1 200 OK\r\n", 0),
    ],
)
def test_it_is_detected_by_its_first_bytes(direction: l7.Direction, prefix: bytes, sure: int | None) -> None:
    assert l7.parser("redis").detect(prefix, direction) == sure
    assert all(
        l7.parser("redis").detect(prefix[:length], direction) in (None, sure) for length in range(len(prefix))
    )


def test_the_example_in_python_prints_a_recording(tmp_path: Path) -> None:
    requests, responses = tmp_path / "requests", tmp_path / "responses"
    requests.write_bytes(command("get", "k"))
    responses.write_bytes(bulk(b"value"))
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "redis_parser.py"), str(requests), str(responses)],
        env={"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "Command(" in done.stdout
    assert "value=Value(type='$', data=b'value', length=5" in done.stdout
