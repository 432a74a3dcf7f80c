"""Programs that know nothing of the mesh: curl, Python's own clients, nginx, MPTCP sockets, io_uring."""

from __future__ import annotations

import asyncio
import ctypes
import http.client
import mmap
import os
import platform
import shutil
import socket
import struct
import subprocess
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from connect_peers import PATIENCE, Site, eventually, greeting, idle, service_status, split

from ebpfmesh.policy.model import Service

pytestmark = pytest.mark.kernel

V4, V6 = "10.96.0.1", "fd00::1"

NGINX = """
daemon off; master_process off; pid {root}/pid; error_log {root}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {root}/body; proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
    {servers}
}}
"""
ANSWERS = 'server {{ listen {address}; location / {{ return 200 "{address}\\n"; }} }}'


def start_nginx(site: Site, root: Path, servers: str, *, client: bool = False) -> subprocess.Popen[bytes]:
    """nginx in the namespace; as a client it is in the cgroup too."""
    root.mkdir()
    (root / "conf").write_text(NGINX.format(root=root, servers=servers))
    command = ["nginx", "-p", str(root), "-e", str(root / "error.log"), "-c", str(root / "conf")]
    return site.call(lambda: subprocess.Popen(command)) if client else site.netns.popen(command)


def listening(site: Site, address: tuple[str, int]) -> bool:
    with site.netns.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET) as probe:
        return probe.connect_ex(address) == 0


@pytest.fixture
def web(site: Site, tmp_path: Path) -> Iterator[tuple[Site, list[str]]]:
    """Two nginx servers behind the service on port 80."""
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not installed")
    backends = ["127.0.0.1:8001", "127.0.0.1:8002"]
    start_nginx(site, tmp_path / "nginx", "\n".join(ANSWERS.format(address=one) for one in backends))
    eventually(lambda: listening(site, ("127.0.0.1", 8002)), "nginx listens")
    site.mesh(Service("web", "tcp", (f"{V4}:80", f"[{V6}]:80"), tuple(backends)))
    yield site, backends


@pytest.mark.parametrize("url", [f"http://{V4}/", f"http://[{V6}]/", f"http://[::ffff:{V4}]/"])
def test_curl_is_spread_over_nginx_backends(web: tuple[Site, list[str]], url: str) -> None:
    site, backends = web
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    command = ["curl", "-sS", "--noproxy", "*", "--max-time", "10", url]
    done = site.call(
        lambda: [subprocess.run(command, capture_output=True, text=True, check=False) for _ in range(6)]
    )
    assert [(one.returncode, one.stderr) for one in done] == [(0, "")] * 6
    assert Counter(one.stdout.strip() for one in done) == dict.fromkeys(backends, 3)


def test_curl_keeps_one_connection_for_several_requests(web: tuple[Site, list[str]]) -> None:
    site, _ = web
    urls = [f"http://{V4}/{number}" for number in range(5)]
    command = ["curl", "-sS", "--noproxy", "*", "-w", "%{remote_ip}:%{remote_port} %{num_connects}\n", *urls]
    done = site.call(lambda: subprocess.run(command, capture_output=True, text=True, timeout=30, check=True))
    lines = done.stdout.split("\n")
    assert len(set(lines[0:10:2])) == 1, "all from one backend"
    assert lines[1:10:2] == [f"{V4}:80 1"] + [f"{V4}:80 0"] * 4, (
        "and curl believes that it talks to the service"
    )


def test_pythons_http_clients(web: tuple[Site, list[str]]) -> None:
    site, backends = web

    def go() -> list[str]:
        connection = http.client.HTTPConnection(V4, 80, timeout=PATIENCE)
        answers = []
        for _ in range(4):
            connection.request("GET", "/")
            answers.append(connection.getresponse().read().decode().strip())
        connection.close()
        assert len(set(answers)) == 1, "one connection has one backend"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for _ in range(4):
            with opener.open(f"http://[{V6}]/", timeout=PATIENCE) as answer:
                answers.append(answer.read().decode().strip())
        return answers

    assert Counter(site.call(go)[4:]) == dict.fromkeys(backends, 2)


def test_asyncio_streams(site: Site) -> None:
    backends = site.servers.many(2)
    site.mesh(Service("web", "tcp", (f"{V4}:80",), tuple(backends)))

    async def ask() -> tuple[str, bytes, tuple[str, int]]:
        reader, writer = await asyncio.open_connection(V4, 80)
        try:
            name = (await reader.readline()).decode().strip()
            writer.write(b"ping")
            return name, await reader.readexactly(4), writer.get_extra_info("peername")
        finally:
            writer.close()
            await writer.wait_closed()

    async def many() -> list[tuple[str, bytes, tuple[str, int]]]:
        return await asyncio.wait_for(asyncio.gather(*(ask() for _ in range(20))), PATIENCE)

    answers = site.call(lambda: asyncio.run(many()))
    assert Counter(name for name, _, _ in answers) == dict.fromkeys(backends, 10)
    assert {(data, peer) for _, data, peer in answers} == {(b"ping", (V4, 80))}


def test_a_proxy_is_a_client_as_any_other(web: tuple[Site, list[str]], tmp_path: Path) -> None:
    """nginx in the cgroup passes requests on to the service's address."""
    site, backends = web
    proxied = f"server {{ listen 127.0.0.1:8100; location / {{ proxy_pass http://{V4}:80; }} }}"
    proxy = start_nginx(site, tmp_path / "proxy", proxied, client=True)
    try:
        eventually(lambda: listening(site, ("127.0.0.1", 8100)), "the proxy listens")

        def ask() -> str:
            connection = http.client.HTTPConnection("127.0.0.1", 8100, timeout=PATIENCE)
            connection.request("GET", "/")
            answer = connection.getresponse().read().decode().strip()
            connection.close()
            return answer

        assert Counter(site.netns.call(lambda: [ask() for _ in range(6)])) == dict.fromkeys(backends, 3)
    finally:
        proxy.kill()
        proxy.wait()


def test_backends_may_be_in_the_cgroup_themselves(site: Site) -> None:
    """What servers send and receive is theirs: only clients are turned and counted."""
    with site.cgroup.enter():
        tcp, udp = site.servers.many(2), site.servers.many(2, kind="udp")
    mesh = site.mesh(
        Service("web", "tcp", (f"{V4}:80",), tuple(tcp)), Service("dns", "udp", (f"{V4}:53",), tuple(udp))
    )
    assert Counter(site.backends_of(f"{V4}:80", 10)) == dict.fromkeys(tcp, 5)
    one = site.client(socket.AF_INET, socket.SOCK_DGRAM)
    for _ in range(10):
        one.sendto(b"?", (V4, 53))
        assert one.recvfrom(100)[1] == (V4, 53)
    web, dns = idle(mesh, "web"), idle(mesh, "dns")
    assert (web.opened, web.closed, dns.datagrams, dns.opened, dns.reply_misses) == (10, 10, 10, 0, 0)


def test_a_backend_that_is_a_client_of_its_own_service_may_reach_itself(site: Site) -> None:
    with site.cgroup.enter():
        only = site.servers.tcp()
    site.mesh(Service("web", "tcp", (f"{V4}:80",), (only,)))
    assert site.backend_of(f"{V4}:80") == only


def test_an_ipv6_udp_socket_given_an_ipv4_address_structure(site: Site) -> None:
    """struct sockaddr_in on an AF_INET6 socket, which Python's socket does not offer."""
    backend = site.servers.udp()
    site.mesh(Service("dns", "udp", (f"{V4}:53",), (backend,)))
    name = socket_address(socket.AF_INET, V4, 53)
    shown = (f"::ffff:{V4}", 53)
    libc = ctypes.CDLL(None, use_errno=True)
    one = site.client(socket.AF_INET6, socket.SOCK_DGRAM)
    assert libc.sendto(one.fileno(), b"?", 1, 0, name, len(name)) == 1, os.strerror(ctypes.get_errno())
    assert one.recvfrom(100)[1][:2] == shown
    assert libc.connect(one.fileno(), name, len(name)) == 0, os.strerror(ctypes.get_errno())
    assert one.getpeername()[:2] == shown
    one.send(b"?")
    assert one.recvfrom(100)[1][:2] == shown


# --- MPTCP -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["v4", "v6"])
def test_an_mptcp_socket_reaches_a_backend(site: Site, family: int) -> None:
    backends = [site.servers.tcp(), site.servers.tcp(family=6)]
    mesh = site.mesh(Service("web", "tcp", (f"{V4}:80", f"[{V6}]:80"), tuple(backends)))
    try:
        one = site.client(family, socket.SOCK_STREAM, socket.IPPROTO_MPTCP)
    except OSError as error:
        pytest.skip(f"this kernel has no MPTCP: {error}")
    to = (V4, 80) if family == socket.AF_INET else (V6, 80)
    one.connect(to)
    backend = greeting(one)
    assert backend in (backends if family == socket.AF_INET6 else backends[:1])
    one.send(b"ping")
    assert one.recv(4) == b"ping"
    # programs see the first subflow at connect(), the MPTCP socket at getpeername(): it has no record, the backend shows
    assert one.getpeername()[:2] == (
        ("" if family == socket.AF_INET else "::ffff:") + "127.0.0.1",
        split(backend)[1],
    )
    assert service_status(mesh, "web").opened == 1
    one.close()
    assert idle(mesh, "web").closed == 1


# --- io_uring ----------------------------------------------------------------------------------------------------------

_SETUP, _ENTER = 425, 426  # the same on every architecture: include/uapi/asm-generic/unistd.h
_OP_CONNECT, _OP_SENDMSG = 16, 9
_GETEVENTS = 1
_SQ_RING, _CQ_RING, _SQES = 0, 0x8000000, 0x10000000


class Ring:
    """As much of io_uring as one operation at a time needs; there is no liburing for Python."""

    def __init__(self) -> None:
        self.libc = ctypes.CDLL(None, use_errno=True)
        parameters = ctypes.create_string_buffer(120)
        self.fd = self.libc.syscall(_SETUP, 4, parameters)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        raw = bytes(parameters)
        entries, cq_entries = struct.unpack_from("II", raw)
        self.sq = struct.unpack_from("10I", raw, 40)  # head, tail, mask, entries, flags, dropped, array, …
        self.cq = struct.unpack_from("10I", raw, 80)  # head, tail, mask, entries, overflow, cqes, …
        self.sq_ring = mmap.mmap(self.fd, self.sq[6] + entries * 4, offset=_SQ_RING)
        self.cq_ring = mmap.mmap(self.fd, self.cq[5] + cq_entries * 16, offset=_CQ_RING)
        self.sqes = mmap.mmap(self.fd, entries * 64, offset=_SQES)

    def submit(self, opcode: int, fd: int, address: int, offset: int, length: int = 0) -> int:
        """The result of one operation, waited for."""
        tail = struct.unpack_from("I", self.sq_ring, self.sq[1])[0]
        slot = tail & struct.unpack_from("I", self.sq_ring, self.sq[2])[0]
        struct.pack_into("BBHiQQII", self.sqes, slot * 64, opcode, 0, 0, fd, offset, address, length, 0)
        struct.pack_into("I", self.sq_ring, self.sq[6] + slot * 4, slot)
        struct.pack_into("I", self.sq_ring, self.sq[1], tail + 1)
        assert self.libc.syscall(_ENTER, self.fd, 1, 1, _GETEVENTS, None, 0) == 1, os.strerror(
            ctypes.get_errno()
        )
        head = struct.unpack_from("I", self.cq_ring, self.cq[0])[0]
        at = self.cq[5] + (head & struct.unpack_from("I", self.cq_ring, self.cq[2])[0]) * 16
        result = struct.unpack_from("i", self.cq_ring, at + 8)[0]
        struct.pack_into("I", self.cq_ring, self.cq[0], head + 1)
        return int(result)

    def close(self) -> None:
        for one in (self.sq_ring, self.cq_ring, self.sqes):
            one.close()
        os.close(self.fd)


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "aarch64"), reason="the numbers of io_uring's system calls"
)
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["v4", "v6"])
def test_connect_through_io_uring(site: Site, family: int) -> None:
    backends = [site.servers.tcp(), site.servers.tcp(family=6)]
    mesh = site.mesh(Service("web", "tcp", (f"{V4}:80", f"[{V6}]:80"), tuple(backends)))
    try:
        ring = Ring()
    except OSError as error:
        pytest.skip(f"this kernel has no io_uring for us: {error}")
    host = V4 if family == socket.AF_INET else V6
    name = socket_address(family, host, 80)
    try:
        for number in range(1, 4):
            one = site.client(family)
            one.setblocking(True)
            assert ring.submit(_OP_CONNECT, one.fileno(), ctypes.addressof(name), len(name)) == 0
            one.settimeout(PATIENCE)
            assert greeting(one) in backends
            assert one.getpeername()[:2] == (host, 80)
            assert service_status(mesh, "web").opened == number
            one.close()
        mesh.put(Service("web", "tcp", (f"{V4}:80", f"[{V6}]:80"), (), no_backend="EHOSTUNREACH"))
        one = site.client(family)
        one.setblocking(True)
        assert ring.submit(_OP_CONNECT, one.fileno(), ctypes.addressof(name), len(name)) == -113
    finally:
        ring.close()


def socket_address(family: int, host: str, port: int) -> ctypes.Array[ctypes.c_char]:
    """A struct sockaddr_in or sockaddr_in6."""
    raw = struct.pack("=H", family) + port.to_bytes(2, "big")
    packed = socket.inet_pton(family, host)
    raw += packed + bytes(8) if family == socket.AF_INET else bytes(4) + packed + bytes(4)
    return ctypes.create_string_buffer(raw, len(raw))
