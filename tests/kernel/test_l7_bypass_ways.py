"""Ways to send that are not send(): every one is judged, whoever holds the socket, and however often it was connected."""

from __future__ import annotations

import array
import ctypes
import errno
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress

import pytest
from connect_peers import disconnect
from l7_bypass import ADDRESS, EVIL, GOOD, OK, BypassSite
from l7_ways import WAYS, ZeroCopy
from test_connect_clients import Ring

pytestmark = pytest.mark.kernel(feature="sockhash")
SITE = BypassSite

# include/uapi/linux/io_uring.h
_OP_WRITEV, _OP_SENDMSG, _OP_WRITE, _OP_SEND, _OP_SEND_ZC = 2, 9, 23, 26, 47
# include/uapi/linux/tcp.h
TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ = 19, 20, 21
RECEIVE_QUEUE, SEND_QUEUE = 1, 2
DENIED = b"HTTP/1.1 403 "


def refused(site: BypassSite, one: socket.socket) -> None:
    """The client has the refusal, and nothing reached the server; what is allowed does, on the same connection."""
    assert one.recv(1000).startswith(DENIED)
    assert b"/admin" not in site.witness.everything()
    one.sendall(GOOD)
    assert one.recv(1000) == OK
    assert site.witness.everything() == GOOD


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_send_is_judged(site, way):
    site.start()
    one = site.connect()
    with WAYS[way](EVIL) as giving:
        while not giving.done:
            giving.give(one)
        if isinstance(giving, ZeroCopy):
            giving.all_given_back(one)
        if way == "more":  # a part of the head has gone on: the refusal ends the connection
            assert one.recv(1000).startswith(DENIED)
            assert site.witness.evil() == []
        else:
            refused(site, one)


def write(one: socket.socket) -> int:
    return os.write(one.fileno(), EVIL)


def writev(one: socket.socket) -> int:
    return os.writev(one.fileno(), [EVIL[:3], b"", EVIL[3:7], EVIL[7:]])


def urgent(one: socket.socket) -> int:
    return one.send(EVIL, socket.MSG_OOB)


def end_of_record(one: socket.socket) -> int:
    return one.send(EVIL, 0x80)  # MSG_EOR


def to_an_address(one: socket.socket) -> int:
    return one.sendto(EVIL, 0, ADDRESS)


@pytest.mark.parametrize("call", [write, writev, urgent, end_of_record, to_an_address])
def test_every_call_is_judged(site, call: Callable[[socket.socket], int]):
    site.start()
    one = site.connect()
    assert call(one) == len(EVIL)
    refused(site, one)


def test_sendmmsg_is_judged(site):
    site.start()
    one = site.connect()
    text = ctypes.create_string_buffer(EVIL, len(EVIL))
    vectors = (ctypes.c_uint64 * 4)(
        ctypes.addressof(text), 10, ctypes.addressof(text) + 10, len(EVIL) - 10
    )  # two struct iovec
    messages = ctypes.create_string_buffer(128)  # two struct mmsghdr of 64 bytes
    for number in range(2):
        struct.pack_into("QI4xQQ", messages, number * 64, 0, 0, ctypes.addressof(vectors) + 16 * number, 1)
    assert ctypes.CDLL(None, use_errno=True).sendmmsg(one.fileno(), messages, 2, 0) == 2
    # the first was a part of a head, which may have gone on: the refusal then ends the connection
    assert one.recv(1000).startswith(DENIED)
    assert site.witness.evil() == []


@pytest.mark.parametrize("operation", [_OP_SEND, _OP_SENDMSG, _OP_SEND_ZC, _OP_WRITE, _OP_WRITEV], ids=str)
def test_io_uring_is_judged(site, operation):
    site.start()
    try:
        ring = Ring()
    except OSError as error:
        pytest.skip(f"this kernel has no io_uring for us: {error}")
    try:
        one = site.connect()
        one.setblocking(True)
        text = ctypes.create_string_buffer(EVIL, len(EVIL))
        vector = (ctypes.c_uint64 * 2)(ctypes.addressof(text), len(EVIL))
        header = ctypes.create_string_buffer(56)  # struct msghdr
        struct.pack_into("QI4xQQ", header, 0, 0, 0, ctypes.addressof(vector), 1)
        address, length = {
            _OP_SENDMSG: (ctypes.addressof(header), 1),
            _OP_WRITEV: (ctypes.addressof(vector), 1),
        }.get(operation, (ctypes.addressof(text), len(EVIL)))
        result = ring.submit(operation, one.fileno(), address, 0, length)
        if operation == _OP_SEND_ZC and result == -errno.EOPNOTSUPP:
            assert site.witness.everything() == b""  # sockets of a sockmap have no such send
            return
        assert result == len(EVIL)
        one.settimeout(3)
        refused(site, one)
    finally:
        ring.close()


# --- whoever holds it -----------------------------------------------------------------------------------------------------

_SENDER = """
import socket, sys
one = socket.socket(fileno=int(sys.argv[1]))
one.setblocking(True)
one.sendall(sys.argv[2].encode("latin-1"))
"""


def test_a_socket_that_a_process_elsewhere_inherited_is_judged(site):
    """The child is in no cgroup of the mesh; the socket is."""
    site.start()
    one = site.connect()
    words = [sys.executable, "-S", "-c", _SENDER, str(one.fileno()), EVIL.decode()]
    subprocess.run(words, pass_fds=(one.fileno(),), check=True, timeout=10)
    one.settimeout(3)
    refused(site, one)


def test_a_socket_that_was_passed_on_is_judged(site):
    site.start()
    one = site.connect()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [one.fileno()]))])
        _, ancillary, _, _ = theirs.recvmsg(1, socket.CMSG_SPACE(4))
    (number,) = struct.unpack("i", ancillary[0][2][:4])
    with socket.socket(fileno=number) as copy:
        copy.sendall(EVIL)
    refused(site, one)


# --- connected again ------------------------------------------------------------------------------------------------------


def test_a_socket_that_is_connected_again_is_judged(site):
    """connect() to AF_UNSPEC takes it out of the sockmap."""
    site.start()
    one = site.connect()
    one.sendall(GOOD)
    assert one.recv(1000) == OK
    for _ in range(3):
        disconnect(one)
        one.connect(ADDRESS)
        one.sendall(EVIL)
        assert one.recv(1000).startswith(DENIED)
        one.sendall(GOOD)
        assert one.recv(1000) == OK
    assert set(site.witness.everything().split(b"|")) == {GOOD}


def test_a_connect_that_failed_first_changes_nothing(site):
    site.start()
    one = site.socket()
    one.setblocking(True)  # a non-blocking one tells the failure again
    with site.netns.socket(socket.AF_INET, socket.SOCK_STREAM) as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = closed.getsockname()
    with pytest.raises(ConnectionRefusedError):
        one.connect(nobody)
    one.connect(ADDRESS)
    one.settimeout(3)
    one.sendall(EVIL)
    refused(site, one)


# --- TCP_REPAIR, for who has CAP_NET_ADMIN --------------------------------------------------------------------------------


def sequence(one: socket.socket, queue: int) -> int:
    one.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, queue)
    return int(struct.unpack("I", one.getsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ, 4))[0])


def test_what_is_sent_under_repair_is_judged(site):
    site.start()
    one = site.connect()
    one.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    one.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, SEND_QUEUE)
    with pytest.raises(OSError):  # the numbers of a connection that is open cannot be changed
        one.setsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ, struct.pack("I", 1))
    try:
        one.send(EVIL)
    except OSError as error:
        assert error.errno in (errno.EACCES, errno.EPERM)
    one.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 0)
    one.settimeout(0.3)
    with suppress(OSError):
        assert one.recv(1000)[:13] in (DENIED, b"")
    assert b"/admin" not in site.witness.everything()


@pytest.mark.parametrize("shift", [0, -len(EVIL), 1, -1, 1 << 31])
def test_a_connection_that_was_rebuilt_by_repair_is_judged(site, shift):
    """Closed without a FIN, and made again at the same numbers, or others: as a restored checkpoint does."""
    site.start()
    first = site.connect()
    first.sendall(GOOD)
    assert first.recv(1000) == OK
    first.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    sent, received = sequence(first, SEND_QUEUE), sequence(first, RECEIVE_QUEUE)
    name = first.getsockname()
    first.close()
    one = site.socket()
    one.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    for queue, number in ((SEND_QUEUE, sent + shift), (RECEIVE_QUEUE, received)):
        one.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, queue)
        one.setsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ, struct.pack("I", number & 0xFFFFFFFF))
    one.bind(name)
    one.settimeout(0.3)
    with suppress(OSError):
        one.connect(ADDRESS)
        one.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 0)
        for _ in range(3):
            one.send(EVIL)
        one.recv(1000)
    assert b"/admin" not in site.witness.everything()
