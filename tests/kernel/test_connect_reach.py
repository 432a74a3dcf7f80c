"""Every way to reach a service: protocol, family of the address, and what the client does with its socket."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import select
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from connect_peers import Site, greeting

from ebpfmesh.policy.model import Service

pytestmark = pytest.mark.kernel

V4, V6, MAPPED = "10.96.0.1", "fd00::1", "::ffff:10.96.0.1"
FAMILIES = {V4: socket.AF_INET, V6: socket.AF_INET6, MAPPED: socket.AF_INET6}
SOURCES = {V4: "127.0.0.1", V6: "::1", MAPPED: "::ffff:127.0.0.1"}
TCPI_OPT_SYN_DATA = 32
TCP_FASTOPEN_CONNECT = 30  # include/uapi/linux/tcp.h

ways = pytest.mark.parametrize("address", [V4, V6, MAPPED], ids=["v4", "v6", "mapped"])


@pytest.fixture
def tcp(site: Site) -> Site:
    backends = (*site.servers.many(2), *site.servers.many(2, family=6))
    site.mesh(Service("web", "tcp", (f"{V4}:80", f"[{V6}]:80"), backends))
    return site


@pytest.fixture
def udp(site: Site) -> Site:
    backends = (*site.servers.many(2, kind="udp"), *site.servers.many(2, kind="udp", family=6))
    site.mesh(Service("dns", "udp", (f"{V4}:53", f"[{V6}]:53"), backends))
    return site


# --- TCP -------------------------------------------------------------------------------------------------------------


def blocking(one: socket.socket, to: tuple[str, int]) -> None:
    one.connect(to)


def polled(one: socket.socket, to: tuple[str, int]) -> None:
    one.setblocking(False)
    number = one.connect_ex(to)
    assert number in (0, errno.EINPROGRESS)
    poll = select.poll()
    poll.register(one, select.POLLOUT)
    assert poll.poll(5000)
    assert one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    one.settimeout(5)


def fast_open(one: socket.socket, to: tuple[str, int]) -> None:
    one.setblocking(True)  # without a cookie it waits for the connection
    assert one.sendto(b"early", socket.MSG_FASTOPEN, to) == 5
    one.settimeout(5)


def fast_open_connect(one: socket.socket, to: tuple[str, int]) -> None:
    one.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
    one.connect(to)
    one.send(b"early")


def bound(one: socket.socket, to: tuple[str, int]) -> None:
    one.bind((SOURCES[to[0]], 0))
    one.connect(to)


def bound_to_a_port(one: socket.socket, to: tuple[str, int]) -> None:
    one.bind(("", 0))
    one.connect(to)


def with_asyncio(one: socket.socket, to: tuple[str, int]) -> None:
    one.setblocking(False)

    async def go() -> None:
        await asyncio.wait_for(asyncio.get_running_loop().sock_connect(one, to), 5)

    asyncio.run(go())
    one.settimeout(5)


@pytest.mark.parametrize(
    "way", [blocking, polled, fast_open, fast_open_connect, bound, bound_to_a_port, with_asyncio]
)
@ways
def test_tcp_reaches_a_backend_however_it_connects(tcp: Site, address: str, way: Callable[..., None]) -> None:
    for _ in range(2):  # the second has a Fast Open cookie
        with tcp.client(FAMILIES[address]) as one:
            way(one, (address, 80))
            backend = greeting(one)
            assert one.getpeername()[:2] == (address, 80)
            one.send(b"echo")
            said = b""
            while not said.endswith(b"echo"):
                said += one.recv(100)
            assert said in (b"echo", b"earlyecho")
            assert backend.startswith("127.0.0.1:") or address == V6


@pytest.mark.parametrize("way", [fast_open, fast_open_connect])
@ways
def test_data_in_the_first_packet_reaches_a_backend(
    tcp: Site, address: str, way: Callable[..., None]
) -> None:
    tcp.netns.call(lambda: Path("/proc/sys/net/ipv4/tcp_fastopen").write_text("3"))  # the namespace's own
    in_the_first = []
    for _ in range(3):
        with tcp.client(FAMILIES[address]) as one:
            way(one, (address, 80))
            greeting(one)
            assert one.recv(5) == b"early"
            assert one.getpeername()[:2] == (address, 80)
            in_the_first.append(
                one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 16)[5] & TCPI_OPT_SYN_DATA
            )
    assert in_the_first[0] == 0, "there was no cookie yet"
    assert any(in_the_first[1:]), "the cookie is the server's, whatever address it was asked for by"


@ways
def test_a_closed_port_behind_the_service_is_refused_to_every_kind_of_connect(
    site: Site, address: str
) -> None:
    with site.netns.socket(socket.AF_INET) as closed, site.netns.socket(socket.AF_INET6) as closed6:
        closed.bind(("127.0.0.1", 0))
        closed6.bind(("::1", 0))
        backends = (f"127.0.0.1:{closed.getsockname()[1]}", f"[::1]:{closed6.getsockname()[1]}")
        site.mesh(Service("web", "tcp", (f"{V4}:80", f"[{V6}]:80"), backends))
        for way in (blocking, bound):
            with site.client(FAMILIES[address]) as one, pytest.raises(ConnectionRefusedError):
                way(one, (address, 80))


# --- UDP -------------------------------------------------------------------------------------------------------------


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Message(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_size_t),
        ("vector", ctypes.POINTER(_Iovec)),
        ("vectors", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_size_t),
        ("sent", ctypes.c_size_t),
    )


def _sockaddr(host: str, port: int) -> bytes:
    if ":" in host:
        return (
            b"\x0a\0"
            + port.to_bytes(2, "big")
            + bytes(4)
            + socket.inet_pton(socket.AF_INET6, host)
            + bytes(4)
        )
    return b"\x02\0" + port.to_bytes(2, "big") + socket.inet_pton(socket.AF_INET, host) + bytes(8)


def send_many(one: socket.socket, to: tuple[str, int]) -> None:
    """sendmmsg(2) of three datagrams, each with the address."""
    name = ctypes.create_string_buffer(_sockaddr(*to), len(_sockaddr(*to)))
    data = ctypes.create_string_buffer(b"query", 5)
    vector = _Iovec(ctypes.addressof(data), 5)
    message = (ctypes.addressof(name), len(name), ctypes.pointer(vector), 1, None, 0, 0, 0)
    messages = (_Message * 3)(*([message] * 3))
    assert ctypes.CDLL(None, use_errno=True).sendmmsg(one.fileno(), messages, 3, 0) == 3, ctypes.get_errno()


def send_to(one: socket.socket, to: tuple[str, int]) -> None:
    one.sendto(b"query", to)


def send_to_bound(one: socket.socket, to: tuple[str, int]) -> None:
    one.bind((SOURCES[to[0]], 0))
    one.sendto(b"query", to)


def send_to_without_waiting(one: socket.socket, to: tuple[str, int]) -> None:
    one.setblocking(False)
    one.sendto(b"query", to)
    assert select.select([one], [], [], 5)[0]


def send_message(one: socket.socket, to: tuple[str, int]) -> None:
    one.sendmsg([b"que", b"ry"], [], 0, to)


def connected(one: socket.socket, to: tuple[str, int]) -> None:
    one.connect(to)
    one.send(b"query")
    assert one.getpeername()[:2] == to


def connected_bound(one: socket.socket, to: tuple[str, int]) -> None:
    one.bind((SOURCES[to[0]], 0))
    connected(one, to)


def connected_anew(one: socket.socket, to: tuple[str, int]) -> None:
    one.connect(to)
    connected(one, to)


UDP_WAYS = [
    send_to, send_to_bound, send_to_without_waiting, send_message, send_many, connected, connected_bound, connected_anew
]  # fmt: skip


def recvfrom(one: socket.socket) -> tuple[bytes, tuple[str, int]]:
    return one.recvfrom(100)


def recvmsg(one: socket.socket) -> tuple[bytes, tuple[str, int]]:
    data, _, _, source = one.recvmsg(100)
    return data, source


def recvfrom_into(one: socket.socket) -> tuple[bytes, tuple[str, int]]:
    buffer = bytearray(100)
    length, source = one.recvfrom_into(buffer)
    return bytes(buffer[:length]), source


def peek(one: socket.socket) -> tuple[bytes, tuple[str, int]]:
    looked = one.recvfrom(100, socket.MSG_PEEK)
    assert one.recvfrom(100) == looked
    return looked


@pytest.mark.parametrize("way", UDP_WAYS)
@ways
def test_a_udp_reply_comes_from_the_service(udp: Site, address: str, way: Callable[..., None]) -> None:
    for receive in (recvfrom, recvmsg, recvfrom_into, peek):
        with udp.client(FAMILIES[address], socket.SOCK_DGRAM) as one:
            way(one, (address, 53))
            data, source = receive(one)
            assert source[:2] == (address, 53)
            assert data.endswith(b"\nquery")
            assert data.startswith(b"[::1]:" if address == V6 else b"127.0.0.1:")


@ways
def test_udp_through_asyncio_sees_the_service_only(udp: Site, address: str) -> None:
    answers: list[tuple[bytes, tuple[str, int]]] = []

    class Asks(asyncio.DatagramProtocol):
        def __init__(self, done: asyncio.Event) -> None:
            self.done = done

        def datagram_received(self, data: bytes, source: tuple[str, int]) -> None:
            answers.append((data, source))
            self.done.set()

    async def ask(one: socket.socket) -> None:
        done = asyncio.Event()
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: Asks(done), sock=one)
        try:
            transport.sendto(b"query", (address, 53))
            await asyncio.wait_for(done.wait(), 5)
        finally:
            transport.close()

    one = udp.client(FAMILIES[address], socket.SOCK_DGRAM)
    one.setblocking(False)
    if address != MAPPED:  # asyncio compares the address with getpeername() itself
        one.connect((address, 53))
    asyncio.run(ask(one))
    assert [source[:2] for _, source in answers] == [(address, 53)]


def test_one_socket_asks_several_services_and_knows_the_answers_apart(site: Site) -> None:
    backend = site.servers.udp()
    site.mesh(
        Service("one", "udp", ("10.96.0.1:53",), (backend,)),
        Service("two", "udp", ("10.96.0.2:53",), tuple(site.servers.many(1, kind="udp"))),
    )
    with site.client(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(b"1", ("10.96.0.1", 53))
        one.sendto(b"2", ("10.96.0.2", 53))
        answers = {data[-1:]: source for data, source in (one.recvfrom(100) for _ in range(2))}
        assert answers == {b"1": ("10.96.0.1", 53), b"2": ("10.96.0.2", 53)}


def test_a_connected_udp_socket_can_still_send_to_another_service(site: Site) -> None:
    first, second = site.servers.many(2, kind="udp")
    mesh = site.mesh(
        Service("one", "udp", ("10.96.0.1:53",), (first,)),
        Service("two", "udp", ("10.96.0.2:53",), (second,)),
    )
    with site.connect("10.96.0.1:53", socket.SOCK_DGRAM) as one:
        one.sendto(b"2", ("10.96.0.2", 53))  # its answer is dropped: the socket is connected to somebody else
        one.send(b"1")
        assert one.recvfrom(100) == (f"{first}\n1".encode(), ("10.96.0.1", 53))
    assert {one.name: one.datagrams for one in mesh.status().services} == {"one": 0, "two": 1}


# --- what is not a service -----------------------------------------------------------------------------------------------


def test_what_is_no_service_is_left_alone(tcp: Site) -> None:
    direct = tcp.servers.tcp()
    assert tcp.backend_of(direct) == direct
    datagrams = tcp.servers.udp()
    with tcp.connect(datagrams, socket.SOCK_DGRAM) as one:
        one.send(b"x")
        assert one.recvfrom(100) == (
            f"{datagrams}\nx".encode(),
            ("127.0.0.1", int(datagrams.rpartition(":")[2])),
        )
    with tcp.client(socket.AF_INET, socket.SOCK_DGRAM) as one, pytest.raises(OSError, match="unreachable"):
        one.connect((V4, 80))  # the service is TCP


def test_a_process_outside_of_the_cgroup_is_no_client(tcp: Site) -> None:
    with tcp.netns.socket(socket.AF_INET) as one, pytest.raises(OSError, match="unreachable"):
        one.connect((V4, 80))


# --- families ------------------------------------------------------------------------------------------------------------


def families(site: Site, prepare: Callable[[socket.socket], None]) -> set[bool]:
    """Whether the backends that eight sockets reach over the IPv6 address are IPv6."""
    reached = set()
    for _ in range(8):
        with site.client(socket.AF_INET6) as one:
            prepare(one)
            one.connect((V6, 80))
            reached.add(greeting(one).startswith("["))
    return reached


def test_a_dual_stack_tcp_socket_reaches_both_families(tcp: Site) -> None:
    assert families(tcp, lambda one: None) == {True, False}
    assert families(tcp, lambda one: one.bind(("::", 0))) == {True, False}


def test_an_ipv6_only_socket_reaches_ipv6_backends_only(tcp: Site) -> None:
    assert families(tcp, lambda one: one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)) == {True}


def test_a_socket_bound_to_an_ipv6_address_reaches_ipv6_backends_only(tcp: Site) -> None:
    assert families(tcp, lambda one: one.bind(("::1", 0))) == {True}


def test_ipv6_only_sockets_of_a_service_with_ipv4_backends_alone_are_refused(site: Site) -> None:
    site.mesh(Service("web", "tcp", (f"[{V6}]:80",), (site.servers.tcp(),), no_backend="EHOSTUNREACH"))
    assert families(site, lambda one: None) == {False}
    with site.client(socket.AF_INET6) as one:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        assert one.connect_ex((V6, 80)) == errno.EHOSTUNREACH
