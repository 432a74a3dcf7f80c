"""What real clients and a real server say to each other, recorded and decoded by the core and by the parser in Python."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis_peers import redis_server
from redis_wire import command
from relay import Pieces, Relay

from ebpfmesh import l7
from ebpfmesh.l7.contain import Limits, Watch
from ebpfmesh.l7.redis import Command, Push, Reply

EXAMPLES = Path(__file__).parents[2] / "examples"
BIG = b"\r\n*1\r\n$4\r\nPING\r\n" * 100_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with redis_server(tmp_path_factory.mktemp("redis")) as path:
        yield path


@pytest.fixture(scope="module")
def in_python() -> Iterator[l7.Parser]:
    sys.path.insert(0, str(EXAMPLES))
    try:
        import redis_parser

        parser = redis_parser.RedisValues()
        parser.watch = Watch(parser.name, Limits(budget=60))
        yield parser
    finally:
        sys.path.remove(str(EXAMPLES))


Step = tuple[bytes, bytes]
"""What is sent, and what must have come before the next is."""


def _converse(
    server: Path, path: Path, *steps: Step, meanwhile: dict[int, Callable[[], object]] | None = None
) -> Pieces:
    """Sends as a client through a relay; returns what passed. ``meanwhile`` is done before the step of that number."""
    with Relay(path / "relay.sock", server) as relay, socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(relay.path))
        for number, (data, awaited) in enumerate(steps):
            (meanwhile or {}).get(number, lambda: None)()
            client.sendall(data)
            received = b""
            while awaited not in received:
                more = client.recv(65536)
                assert more, f"closed after {received!r:.200}"
                received += more
        client.close()
    [pieces] = relay.recordings
    return pieces


def _events(parser: l7.Parser, pieces: Pieces) -> list[Any]:
    connection = parser.connection()
    return [
        event
        for direction, data in pieces
        for event in (connection.feed(direction, data) if data else connection.end(direction))
        if not isinstance(event, l7.End)
    ]


def _both(pieces: Pieces, in_python: l7.Parser) -> tuple[list[Any], list[Any]]:
    """The events of both parsers, which agree about messages, their ends and which answers which."""
    core, python = _events(l7.parser("redis"), pieces), _events(in_python, pieces)
    assert [(one.direction, one.position) for one in core] == [
        (one.direction, one.position) for one in python
    ]
    assert [one.stream for one in core] == [one.stream for one in python]
    assert [isinstance(one, Push) for one in core] == [type(one).__name__ == "Push" for one in python]
    return core, python


def _asked(events: list[Any]) -> list[str]:
    return [event.name for event in events if isinstance(event, Command)]


def _is_answered(events: list[Any]) -> bool:
    """Every command has a reply of its number, in order."""
    commands = [event.stream for event in events if isinstance(event, Command)]
    replies = [event.stream for event in events if isinstance(event, Reply)]
    return commands == replies == list(range(1, len(commands) + 1))


@pytest.mark.parametrize("protocol", [2, 3])
def test_pipelines_transactions_and_big_values_of_a_client_library(
    server: Path, in_python: l7.Parser, tmp_path: Path, protocol: int
) -> None:
    with Relay(tmp_path / "relay.sock", server) as relay:
        client = redis.Redis(unix_socket_path=str(relay.path), protocol=protocol)
        try:
            pipe = client.pipeline(transaction=False)
            for number in range(300):
                pipe.echo(f"number {number}")
            assert len(pipe.execute()) == 300
            with client.pipeline(transaction=True) as transaction:
                transaction.set("a", "1").incr("a").lpush("a", "wrong type").hset(
                    "h", mapping={"f": "v", "g": "w"}
                )
                transaction.hgetall("h").zadd("z", {"m": 1.5}).zscore("z", "m").smembers("none")
                transaction.execute(raise_on_error=False)
            client.set("big", BIG)
            assert client.get("big") == BIG
            client.mget("a", "big", "none")
            client.eval("return {1, {2, 'x'}, redis.status_reply('fine')}", 1, "k")
        finally:
            client.close()
    core: list[Any] = []
    for pieces in relay.recordings:
        told, python = _both(pieces, in_python)
        assert _is_answered(told)
        _echoes_are_matched(python)
        core += told
    assert [name for name in _asked(core) if name not in ("CLIENT", "HELLO")] == [
        *["ECHO"] * 300,
        "MULTI", "SET", "INCRBY", "LPUSH", "HSET", "HGETALL", "ZADD", "ZSCORE", "SMEMBERS", "EXEC",
        "SET", "GET", "MGET", "EVAL",
    ]  # fmt: skip
    assert ("HELLO" in _asked(core)) == (protocol == 3)
    [multi] = [one for one in core if isinstance(one, Reply) and one.type == "*" and one.elements == 8]
    assert multi.length > 40
    assert [one.key for one in core if isinstance(one, Command) and one.name == "EVAL"] == [b"k"]
    assert max(one.length for one in core if isinstance(one, Reply)) > len(BIG)


def _echoes_are_matched(events: list[Any]) -> None:
    """What was said comes back under the same number."""
    commands = [one for one in events if type(one).__name__ == "Command"]
    said = {one.stream: one.arguments[1].data for one in commands if one.arguments[0].data == b"ECHO"}
    heard = {
        one.stream: one.value.data for one in events if type(one).__name__ == "Answer" and one.stream in said
    }
    assert said == heard


@pytest.mark.parametrize("hello", [b"", command("HELLO", "3")])
def test_subscriptions_of_both_protocols(
    server: Path, in_python: l7.Parser, tmp_path: Path, hello: bytes
) -> None:
    def publish() -> None:
        with redis.Redis(unix_socket_path=str(server)) as other:
            other.delete("list")
            assert other.publish("news", "hello") == 2

    pieces = _converse(
        server, tmp_path,
        (hello or command("PING"), b"modules" if hello else b"PONG"),
        (command("SUBSCRIBE", "news"), b":1\r\n"),
        (command("PSUBSCRIBE", "n*", "m*"), b":3\r\n"),
        (b"", b"pmessage"),
        (command("UNSUBSCRIBE", "news"), b":2\r\n"),
        (command("PUNSUBSCRIBE", "n*", "m*"), b":0\r\n"),
        (command("RPUSH", "list", "message", "news", "no push"), b":3\r\n"),
        (command("LRANGE", "list", "0", "-1"), b"no push\r\n"),
        meanwhile={3: publish},
    )  # fmt: skip
    core, _ = _both(pieces, in_python)
    pushes = [(one.kind, one.channel, one.stream) for one in core if isinstance(one, Push)]
    assert pushes == [
        ("subscribe", b"news", 2), ("psubscribe", b"n*", 3), ("psubscribe", b"m*", 3),
        ("message", b"news", 0), ("pmessage", b"n*", 0),
        ("unsubscribe", b"news", 4), ("punsubscribe", b"n*", 5), ("punsubscribe", b"m*", 5),
    ]  # fmt: skip
    assert [(one.stream, one.elements) for one in core if isinstance(one, Reply)][1:] == [(6, None), (7, 3)]


def test_inline_commands_are_read_as_the_server_reads_them(
    server: Path, in_python: l7.Parser, tmp_path: Path
) -> None:
    pieces = _converse(
        server, tmp_path,
        (b"PING\r\n", b"+PONG\r\n"),
        (b"set \"a b\\x41\\xz\\\"\"\t 'it\\'s'\n", b"+OK\r\n"),
        (b'exists "a bAxz\\""\r\n', b":1\r\n"),
        (b"*0\r\n*-1\r\n\r\nping a\r\n", b"$1\r\na\r\n"),
    )  # fmt: skip
    core, python = _both(pieces, in_python)
    assert [(one.name, one.key, one.arguments) for one in core if isinstance(one, Command)] == [
        ("PING", None, 1), ("SET", b'a bAxz"', 3), ("EXISTS", b'a bAxz"', 2), ("PING", None, 2),
    ]  # fmt: skip
    [set_] = [one for one in python if one.stream == 2 and type(one).__name__ == "Command"]
    assert set_.arguments[2].data == b"it's"
    assert _is_answered(core)


def test_invalidation_monitor_and_reset(server: Path, in_python: l7.Parser, tmp_path: Path) -> None:
    def speak() -> None:
        with redis.Redis(unix_socket_path=str(server)) as other:
            other.echo("overheard")

    pieces = _converse(
        server, tmp_path,
        (command("HELLO", "3"), b"modules"),
        (command("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "x"), b"+OK\r\n"),
        (command("SET", "xkey", "v"), b"xkey\r\n"),
        (command("RESET"), b"+RESET\r\n"),
        (command("MONITOR"), b"+OK\r\n"),
        (b"", b"overheard"),
        (command("RESET"), b"+RESET\r\n"),
        (command("PING"), b"+PONG\r\n"),
        meanwhile={5: speak},
    )  # fmt: skip
    core, _ = _both(pieces, in_python)
    assert _is_answered(core)
    pushes = [one for one in core if isinstance(one, Push)]
    assert pushes[0].kind == "invalidate"
    assert pushes[1:]
    assert all(one.kind == "" and '"' in one.text for one in pushes[1:])
    assert (
        next(one.subcommand for one in core if isinstance(one, Command) and one.name == "CLIENT")
        == "TRACKING"
    )


def test_the_deepest_replies_of_a_server_are_followed(
    server: Path, in_python: l7.Parser, tmp_path: Path
) -> None:
    pieces = _converse(
        server, tmp_path,
        (command("COMMAND"), b"\r\n"), (command("COMMAND", "DOCS"), b"\r\n"), (command("ECHO", "the end"), b"the end\r\n"),
    )  # fmt: skip
    core, _ = _both(pieces, in_python)
    assert _is_answered(core)
    assert [one.length > 20_000 for one in core if isinstance(one, Reply)] == [True, True, False]


def test_redis_cli_is_decoded(server: Path, in_python: l7.Parser, tmp_path: Path) -> None:
    script = 'set key "some value"\nget key\nincr key\nlrange nothing 0 -1\n'
    with Relay(tmp_path / "relay.sock", server) as relay:
        subprocess.run(
            ["redis-cli", "-s", str(relay.path), "-3"], input=script, text=True, capture_output=True, check=True, timeout=30
        )  # fmt: skip
    [pieces] = relay.recordings
    core, _ = _both(pieces, in_python)
    assert _is_answered(core)
    assert _asked(core)[-4:] == ["SET", "GET", "INCR", "LRANGE"]
    assert "ERR value is not an integer or out of range" in [
        one.text for one in core if isinstance(one, Reply)
    ]


# --- which argument is the first key ------------------------------------------------------------------------------------


def _key(*arguments: bytes | str) -> bytes | None:
    [told, _] = l7.parser("redis").connection().feed(l7.REQUEST, command(*arguments))
    assert isinstance(told, Command)
    return told.key if told.key is not None else told.channel


def test_the_first_key_is_where_the_server_says(server: Path) -> None:
    with redis.Redis(unix_socket_path=str(server)) as client:
        client.response_callbacks.clear()
        commands = client.execute_command("COMMAND")
    checked = 0
    for name, arity, flags, first, _, _, categories, _, specs, *_ in commands:
        if b"movablekeys" in flags or (specs and first == 0):
            continue  # see below
        arguments = [b"a%d" % number for number in range(1, max(abs(arity), 4))]
        expected = arguments[first - 1] if first else None
        if b"@pubsub" in categories and name != b"pubsub":
            expected = arguments[0]  # a channel
        if name in (b"memory", b"object", b"xgroup", b"xinfo"):
            expected = arguments[1]  # of their subcommands
        assert _key(name, *arguments) == expected, name
        checked += 1
    assert checked > 200


MOVING = """
EVAL script 2 k1 k2 a | EVALSHA sha 1 k | EVALSHA_RO sha 1 k | FCALL f 1 k | FCALL_RO f 1 k | EVAL_RO script 1 k a
XREAD COUNT 2 BLOCK 1 STREAMS s1 s2 0 0 | XREADGROUP GROUP streams c COUNT 1 STREAMS s1 > | xread streams s 0
ZUNION 2 z1 z2 | ZINTER 2 z1 z2 | ZDIFF 1 z1 | ZINTERCARD 1 z | SINTERCARD 1 s | ZUNIONSTORE dest 2 a b
LMPOP 2 l1 l2 LEFT | BLMPOP 0 1 l LEFT | ZMPOP 1 z MIN | BZMPOP 0 1 z MIN | BITOP AND dest a b
SORT list BY w_* STORE other | MIGRATE h 1 key 0 1 | OBJECT FREQ key | MEMORY USAGE key | XGROUP CREATE s g $
XINFO STREAM s | GEORADIUS g 1 1 1 m STORE x | SET key v GET
"""


@pytest.mark.parametrize(
    "arguments", [one.strip() for one in MOVING.replace("\n", "|").split("|") if one.strip()]
)
def test_keys_that_move_are_found_as_the_server_finds_them(server: Path, arguments: str) -> None:
    words = arguments.split()
    with redis.Redis(unix_socket_path=str(server)) as client:
        client.response_callbacks.clear()
        assert _key(*words) == client.execute_command("COMMAND", "GETKEYS", *words)[0]


def test_a_script_without_keys_has_none() -> None:
    assert _key("EVAL", "script", "0", "k") is None
    assert _key("EVAL", "script", "10", "k") == b"k"
