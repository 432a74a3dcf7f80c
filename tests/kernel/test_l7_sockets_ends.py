"""Ends that are not a matter of course: slow readers, half-close, RST, a killed server, data that nobody reads.

An enrolled socket sees what an ordinary one sees: the same bytes, then the same end or error.
"""

from __future__ import annotations

import errno
import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from l7_peers import SMALL, Peers, pattern
from l7_sockets import FAMILIES, LOOPBACK, PATHS, VETH, Place
from l7_ways import STYLES, WAYS, Way

pytestmark = pytest.mark.kernel(feature="sockhash")

GONE = {errno.ECONNRESET, errno.EPIPE}
DATA = pattern(300_000)


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with Place() as made:
        yield made


def both(see: Callable[[bool], object]) -> None:
    """What is seen enrolled is what is seen without."""
    assert see(True) == see(False)


everywhere = pytest.mark.parametrize(
    ("path", "family"), [(path, family) for path in PATHS for family in FAMILIES]
)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("style", STYLES)
@everywhere
def test_a_slow_reader_and_small_buffers(place, path, family, style, way):
    """Every send is cut by EAGAIN somewhere in a message, in both directions at once."""
    place.says()
    data = DATA[:60_000]
    with (
        place.client(
            "slow_echo", path=path, family=FAMILIES[family], send_buffer=SMALL, receive_buffer=SMALL
        ) as one,
        WAYS[way](data) as giving,
    ):
        result = STYLES[style](one, giving, len(data))
    assert (result.error, result.ended) == (0, False)
    assert result.received == data


@pytest.mark.parametrize("applies", [1, 7, 1000, 4096, 100_000])
@pytest.mark.parametrize("style", STYLES)
def test_verdicts_on_parts_of_messages(place, style, applies):
    """bpf_msg_apply_bytes(): the program runs again in the middle of what one call sent."""
    data = DATA[: 3000 if applies < 100 else 300_000]
    place.says(applies=applies)
    with place.client("echo", send_buffer=SMALL) as one, Way(data) as giving:
        result = STYLES[style](one, giving, len(data))
    assert (result.error, result.ended, result.received) == (0, False, data)


@everywhere
def test_half_close(place, path, family):
    place.says()

    def see(enrolled: bool) -> object:
        with place.client("late_echo", path=path, family=FAMILIES[family], enrolled=enrolled) as one:
            one.sendall(DATA)
            one.shutdown(socket.SHUT_WR)
            with pytest.raises(BrokenPipeError):
                one.send(b"more")
            return rest(one)

    assert see(True) == (DATA, 0)
    both(see)


@everywhere
def test_a_server_that_sends_and_closes(place, path, family):
    place.says()

    def see(enrolled: bool) -> object:
        with place.client("send", path=path, family=FAMILIES[family], enrolled=enrolled) as one:
            one.sendall(b"200000\n")
            time.sleep(0.02)
            return rest(one)

    assert see(True) == (pattern(200_000), 0)
    both(see)


@everywhere
def test_all_that_was_sent_before_close_arrives(place, path, family):
    """close() with data in the buffers: nothing is lost, though nobody waits for it."""
    place.says()
    with place.client("digest", path=path, family=FAMILIES[family]) as one:
        one.sendall(DATA)
        one.shutdown(socket.SHUT_WR)
        assert rest(one) == (f"{len(DATA)} {hashlib.sha256(DATA).hexdigest()}".encode(), 0)


def rest(one: socket.socket) -> tuple[bytes, int]:
    """What is read up to the end, and the error that was the end."""
    found = bytearray()
    try:
        while data := one.recv(1 << 16):
            found += data
    except OSError as error:
        return bytes(found), error.errno or -1
    return bytes(found), 0


# --- ends that are errors -------------------------------------------------------------------------------------------------


def sent_until_error(one: socket.socket) -> int:
    """Send on and on; the error."""
    try:
        for _ in range(1000):
            one.sendall(DATA[:5000])
            time.sleep(0.0005)
    except OSError as error:
        return error.errno or -1
    return 0


@everywhere
def test_a_server_that_resets(place, path, family):
    place.says()
    for enrolled in (True, False):
        with place.client("reset", path=path, family=FAMILIES[family], enrolled=enrolled) as one:
            assert sent_until_error(one) in GONE
            received, error = rest(one)
            assert b"half an answer".startswith(received)
            assert error in (0, errno.ECONNRESET)
            with pytest.raises(BrokenPipeError):
                one.send(b"x")


@everywhere
def test_a_server_that_closes_with_data_unread(place, path, family):
    place.says()
    for enrolled in (True, False):
        with place.client("close_unread", path=path, family=FAMILIES[family], enrolled=enrolled) as one:
            one.sendall(DATA[:20_000])
            received, error = rest(one)
            assert b"enough".startswith(received)
            assert error in (0, errno.ECONNRESET)


@pytest.mark.parametrize("style", STYLES)
def test_a_server_that_is_killed(place, style):
    """SIGKILL in the middle of an upload: the client sees an end or an error, and does not hang."""
    place.says()
    with Peers(place.netns, socket.AF_INET, LOOPBACK[socket.AF_INET]) as peers:
        with place.client("die", peers=peers) as one, Way(DATA * 10) as giving:
            result = STYLES[style](one, giving, 1)
        assert result.received == b""
        assert result.ended or result.error in GONE


def test_a_server_that_is_killed_ends_all_its_connections(place):
    place.says()
    with Peers(place.netns_b, socket.AF_INET, VETH[socket.AF_INET][1]) as peers:
        from contextlib import ExitStack

        with ExitStack() as stack:
            ones = [stack.enter_context(place.client("echo", path="veth", peers=peers)) for _ in range(20)]
            for number, one in enumerate(ones):
                one.sendall(b"%d" % number)
                assert one.recv(10) == b"%d" % number
            peers.kill()
            for one in ones:
                assert rest(one)[0] == b""


@everywhere
def test_a_client_that_closes_with_data_unread(place, path, family):
    """Its close() is an RST; the next connection is none the worse, and nothing stays in the map."""
    place.says()
    for enrolled in (True, False):
        for _ in range(5):
            with place.client("send", path=path, family=FAMILIES[family], enrolled=enrolled) as one:
                one.sendall(b"100000\n")
                assert one.recv(10) == pattern(10)
    with place.client("echo", path=path, family=FAMILIES[family]) as one:
        one.sendall(b"good")
        assert one.recv(10) == b"good"
    assert place.site.loaded.maps["sockets"].count() == 0


def test_a_client_that_is_closed_in_another_thread_while_it_reads(place):
    place.says()
    for enrolled in (True, False):
        with place.client("echo", enrolled=enrolled) as one:
            one.setblocking(True)
            seen: list[object] = []

            def read(one: socket.socket = one, seen: list[object] = seen) -> None:
                try:
                    seen.append(one.recv(10))
                except OSError as error:
                    seen.append(error.errno)

            reading = threading.Thread(target=read, daemon=True)
            reading.start()
            time.sleep(0.02)
            one.shutdown(socket.SHUT_RDWR)
            reading.join(3)
            assert not reading.is_alive()
            # the probe blocked_receive: on an enrolled socket the FIN's acknowledgement may wake recv() with EAGAIN
            assert seen == [b""] or (enrolled and seen == [errno.EAGAIN])
