"""Bytes that leave, or try to, before or without enrolment: none reaches the server; with fail_open all do, counted."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from l7_bypass import ADDRESS, EVIL, GOOD, OK, BypassSite

from ebpfmesh.mesh import Mesh
from ebpfmesh.policy.model import Capacity
from ebpfmesh.testing import NetNs, PrivateCgroup, eventually
from ebpfmesh.tiers.l7.behaviour.site import Site, Verdict

pytestmark = pytest.mark.kernel(feature="sockhash")

TCP_FASTOPEN_CONNECT, TCP_ULP = 30, 31  # include/uapi/linux/tcp.h
POLICIES = ("fail_closed", "fail_open")


@pytest.fixture
def site(cgroup: PrivateCgroup, netns: NetNs, bpffs: Path, tmp_path: Path) -> Iterator[BypassSite]:
    netns.call(lambda: Path("/proc/sys/net/ipv4/tcp_fastopen").write_text("3"))  # clients and servers
    with BypassSite(cgroup, netns, bpffs, tmp_path) as made:
        yield made


def ends(one: socket.socket, mesh: Mesh) -> bool:
    """Whether the socket is ended soon, by the agent's round, rather than left to time out."""
    assert mesh.l7 is not None
    one.settimeout(0.05)
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        mesh.l7.collect()
        try:
            if not one.recv(1):
                return True
        except TimeoutError:
            continue
        except OSError as error:
            assert error.errno in (errno.ECONNABORTED, errno.ECONNRESET, errno.ETIMEDOUT), error
            return True
    return False


def judge(site: BypassSite, mesh: Mesh, one: socket.socket, unjudged: str, counter: str) -> None:
    """What must have become of EVIL, sent on ``one`` without being judged."""
    if unjudged == "fail_closed":
        assert ends(one, mesh)
        assert b"/admin" not in site.witness.everything()
    else:
        assert eventually(lambda: site.witness.evil() == [b"/admin/xx"])
        assert one.recv(1000) == OK
    assert site.counters()[counter] >= 1


# --- sent while the socket connects ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("unjudged", POLICIES)
def test_a_send_that_waits_for_the_connection(site, unjudged):
    """Non-blocking connect(), blocking send(): it begins in SYN_SENT, in TCP's own function, and goes on when connected."""
    witness = site.bring(backlog=0)
    witness.accepting.clear()
    time.sleep(0.05)
    mesh = site.start(unjudged=unjudged)
    fillers = [site.netns.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(2)]
    for filler in fillers:  # outside of the cgroup; they fill the accept queue, so that further SYNs wait
        filler.setblocking(False)
        filler.connect_ex(("127.0.0.1", witness.port))
    time.sleep(0.05)
    one = site.socket()
    one.setblocking(False)
    assert one.connect_ex(ADDRESS) == errno.EINPROGRESS
    one.setblocking(True)
    results: list[object] = []

    def send() -> None:
        try:
            results.append(one.send(EVIL))
        except OSError as error:
            results.append(error.errno)

    sending = threading.Thread(target=send, daemon=True)
    sending.start()
    time.sleep(0.1)
    assert results == []  # it waits
    witness.accepting.set()
    sending.join(5)
    for filler in fillers:
        filler.close()
    assert results and not sending.is_alive()
    if unjudged == "fail_open":
        one.settimeout(3)
    judge(site, mesh, one, unjudged, "unjudged_packets")


def fast_open(one: socket.socket) -> None:
    one.setblocking(True)
    assert one.sendto(EVIL, socket.MSG_FASTOPEN, ADDRESS) == len(EVIL)
    one.settimeout(3)


def fast_open_at_once(one: socket.socket) -> None:
    one.setblocking(False)
    try:
        one.sendto(EVIL, socket.MSG_FASTOPEN, ADDRESS)
    except BlockingIOError:
        time.sleep(0.05)
        one.send(EVIL)
    one.settimeout(3)


def fast_open_connect(one: socket.socket) -> None:
    one.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
    one.connect(ADDRESS)
    one.send(EVIL)


@pytest.mark.parametrize("way", [fast_open, fast_open_at_once, fast_open_connect])
@pytest.mark.parametrize("unjudged", POLICIES)
def test_data_in_the_syn(site, unjudged, way: Callable[[socket.socket], None]):
    mesh = site.start(unjudged=unjudged)
    # a cookie for the server's address, which somebody else got
    with site.netns.socket(socket.AF_INET, socket.SOCK_STREAM) as first:
        first.sendto(GOOD, socket.MSG_FASTOPEN, ("127.0.0.1", site.witness.port))
        assert first.recv(1000) == OK
    for _ in range(2):
        one = site.socket()
        try:
            way(one)
        except OSError as error:  # it was refused at once: as good
            assert unjudged == "fail_closed"
            assert error.errno in (errno.EACCES, errno.EPIPE), error
        if unjudged == "fail_closed":
            time.sleep(0.1)
            assert b"/admin" not in site.witness.everything()
            one.close()
        else:
            # in the SYN nobody judges it; behind it, it is judged and answered
            assert one.recv(1000).split(b" ")[1] in (b"200", b"403")
    counted = site.counters()
    assert counted.get("unjudged_packets", 0) + counted.get("denied", 0) + counted.get("out_of_step", 0) >= 1
    assert mesh.status().l7 is not None


# --- enrolment that fails -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unjudged", POLICIES)
def test_a_full_sockhash(site, unjudged):
    mesh = site.start(unjudged=unjudged, capacity=Capacity(l7_connections=1))
    first = site.connect()
    first.sendall(GOOD)
    assert first.recv(1000) == OK
    one = site.connect()
    try:
        one.send(EVIL)
    except OSError as error:
        assert unjudged == "fail_closed"
        assert error.errno in (errno.EACCES, errno.EPIPE, errno.ECONNABORTED), error
    judge(site, mesh, one, unjudged, "unenrolled")
    first.sendall(GOOD)  # the one that was enrolled is none the worse
    assert first.recv(1000) == OK


@pytest.mark.parametrize("unjudged", POLICIES)
def test_a_socket_that_another_owner_has(site, unjudged):
    """A sockmap with other programs has it first: the kernel answers EBUSY."""
    inner = site.cgroup.child("inner")  # whose programs run before those of the cgroup above
    mesh = site.start(unjudged=unjudged)
    with Site(inner.fd, capacity=16) as foreign:
        foreign.says(Verdict.FORWARDS)
        one = site.socket(cgroup=inner)
        one.connect(ADDRESS)
        assert foreign.count("enrolled") == 1
        one.send(EVIL)
        judge(site, mesh, one, unjudged, "unenrolled")
        one.close()


@pytest.mark.kernel(feature="ktls")
@pytest.mark.parametrize("unjudged", POLICIES)
def test_a_socket_with_an_upper_layer(site, unjudged):
    """TLS in the kernel is set on established sockets only: between ESTABLISHED and our enrolment there is no time."""
    mesh = site.start(unjudged=unjudged)
    one = site.socket()
    with pytest.raises(OSError):
        one.setsockopt(socket.IPPROTO_TCP, TCP_ULP, b"tls")
    one.connect(ADDRESS)
    with pytest.raises(OSError):  # sockmap and ULP exclude one another
        one.setsockopt(socket.IPPROTO_TCP, TCP_ULP, b"tls")
    one.send(EVIL)
    assert one.recv(1000).startswith(b"HTTP/1.1 403 ")
    assert b"/admin" not in site.witness.everything()
    assert mesh.status().l7 is not None
