"""Socket maps and socket storage with real sockets of a private namespace."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from ebpfmesh import maps, objects
from ebpfmesh.errors import ClosedError, MapError, MapFullError, MapKeyError, MapTypeError, NotSupportedError
from ebpfmesh.layout import U32, U64
from ebpfmesh.maps import SkStorage, SockHash, SockMap, Update
from ebpfmesh.spec import MapType, ObjectSpec
from ebpfmesh.testing import NetNs
from ebpfmesh.testing.compile import compile_bpf

pytestmark = pytest.mark.kernel
SO_COOKIE = 57  # include/uapi/asm-generic/socket.h

STORAGE = r"""
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct state { __u64 since; __u32 flags; __u8 name[4]; };
struct { __uint(type, BPF_MAP_TYPE_SK_STORAGE); __uint(map_flags, BPF_F_NO_PREALLOC);
         __type(key, int); __type(value, struct state); } states SEC(".maps");
SEC("license") const char licence[] = "GPL";
"""


@pytest.fixture
def pair(netns: NetNs) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a TCP connection over the private namespace's loopback."""
    with netns.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with netns.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
            client.connect(listener.getsockname())
            server, _ = listener.accept()
            with server:
                yield client, server


def cookie(sock: socket.socket) -> int:
    return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8), "little")


def test_a_sockhash_takes_sockets_and_gives_cookies(pair: tuple[socket.socket, socket.socket]) -> None:
    client, server = pair
    with maps.create(MapType.SOCKHASH, key=U64, value_size=8, max_entries=2, name="socks") as made:
        assert isinstance(made, SockHash)
        made[1] = client
        made[2] = server.fileno()
        assert made[1] == cookie(client) and made[2] == cookie(server)
        assert sorted(made) == [1, 2] and made.count() == 2
        assert dict(made.items()) == {1: cookie(client), 2: cookie(server)}
        with pytest.raises(MapKeyError):
            made.update(1, client, Update.NOEXIST)
        with pytest.raises(MapFullError, match="holds 2"):
            made[3] = client
        del made[1]
        assert 1 not in made


def test_a_closed_socket_leaves_the_map_by_itself(pair: tuple[socket.socket, socket.socket]) -> None:
    client, server = pair
    with maps.create(MapType.SOCKHASH, key=U64, value_size=8, max_entries=4, name="socks") as made:
        made[1] = client
        client.close()
        server.close()
        assert 1 not in made
        assert list(made) == []


def test_a_sockmap_has_empty_slots(pair: tuple[socket.socket, socket.socket]) -> None:
    client, _ = pair
    with maps.create(MapType.SOCKMAP, key=U32, value_size=8, max_entries=4, name="slots") as made:
        assert isinstance(made, SockMap)
        made[2] = client
        assert list(made.items()) == [(2, cookie(client))]
        with pytest.raises(MapKeyError):
            made[0]


def test_values_of_four_bytes_can_be_written_and_not_read(pair: tuple[socket.socket, socket.socket]) -> None:
    client, _ = pair
    with maps.create(MapType.SOCKHASH, key=U64, value_size=4, max_entries=4, name="socks") as made:
        made[1] = client
        assert list(made) == [1]
        with pytest.raises(NotSupportedError, match="8 bytes"):
            made[1]


def test_a_socket_that_is_not_established_is_refused_with_the_reason(netns: NetNs) -> None:
    with (
        maps.create(MapType.SOCKHASH, key=U64, value_size=8, max_entries=4, name="socks") as made,
        netns.socket(socket.AF_INET, socket.SOCK_STREAM) as fresh,
    ):
        with pytest.raises(MapError, match="established"):
            made[1] = fresh
        with pytest.raises(MapTypeError, match="no open descriptor"):
            made[1] = "socket"


def test_socket_storage_is_read_and_written_by_socket(netns: NetNs) -> None:
    spec = ObjectSpec.from_bytes(compile_bpf(STORAGE), "storage")
    with objects.load(spec) as loaded, netns.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        states = loaded.maps["states"]
        assert isinstance(states, SkStorage)
        assert sock not in states and states.lookup(sock) is None
        with pytest.raises(MapKeyError, match="nothing is stored"):
            states[sock]
        states[sock] = {"since": 1 << 40, "flags": 3, "name": b"abcd"}
        value = states[sock.fileno()]
        assert (value.since, value.flags, value.name) == (1 << 40, 3, b"abcd")
        with pytest.raises(MapKeyError):
            states.update(sock, value, Update.NOEXIST)
        with pytest.raises(MapTypeError, match="states, value"):
            states[sock] = (1, 2)
        del states[sock]
        assert sock not in states
        with pytest.raises(MapKeyError):
            del states[sock]


def test_what_is_no_socket_has_no_storage(netns: NetNs, tmp_path: object) -> None:
    spec = ObjectSpec.from_bytes(compile_bpf(STORAGE), "storage")
    with objects.load(spec) as loaded:
        states = loaded.maps["states"]
        with open(f"{tmp_path}/file", "w") as file, pytest.raises(MapError, match="no open socket"):  # noqa: PTH123
            states[file] = (1, 2, b"abcd")
        closed = netns.socket(socket.AF_INET, socket.SOCK_STREAM)
        closed.close()
        with pytest.raises((MapError, MapTypeError)):
            states[closed]
    with pytest.raises(ClosedError):
        states[0]


def test_storage_ends_with_its_socket(netns: NetNs) -> None:
    spec = ObjectSpec.from_bytes(compile_bpf(STORAGE), "storage")
    with objects.load(spec) as loaded:
        states = loaded.maps["states"]
        sock = netns.socket(socket.AF_INET, socket.SOCK_STREAM)
        states[sock] = (1, 2, b"abcd")
        number = sock.fileno()
        sock.close()
        with netns.socket(socket.AF_INET, socket.SOCK_STREAM) as other:
            assert other.fileno() == number, "the descriptor's number is reused"
            assert other not in states
