"""Network namespaces of one test, and a veth pair between two of them."""

from __future__ import annotations

import array
import fcntl
import itertools
import os
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from ebpfmesh.lowlevel import netns

T = TypeVar("T")

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1  # include/uapi/linux/sockios.h, if.h

_numbers = itertools.count(1)


class NetNs:
    """A network namespace with ``lo`` up, which lives as long as `fd` is open.

    `path` (``/proc/PID/fd/N``) can be opened by any process with the rights, as ``nsenter --net=PATH`` does,
    and leaves nothing behind however this process ends. `name` is a label only. `inode` is what netns links
    report.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.fd = netns.create()
        self.path = f"/proc/{os.getpid()}/fd/{self.fd}"
        self.inode = os.fstat(self.fd).st_ino
        self._children: list[subprocess.Popen[Any]] = []
        self.call(lambda: set_up("lo"))

    def __repr__(self) -> str:
        return f"NetNs({self.name!r}, path={self.path!r})"

    def call(self, function: Callable[[], T]) -> T:
        """Run ``function`` in a thread inside the namespace; sockets that it makes stay of the namespace."""
        return netns.inside(self.fd, function)

    def socket(self, *arguments: int) -> socket.socket:
        """A socket of this namespace; ``arguments`` are those of `socket.socket`."""
        return self.call(lambda: socket.socket(*arguments))

    def popen(self, args: Sequence[str | os.PathLike[str]], **options: Any) -> subprocess.Popen[Any]:
        """Start ``args`` inside the namespace; ended with SIGKILL by `close` if it still runs."""
        child: subprocess.Popen[Any] = self.call(lambda: subprocess.Popen(list(args), **options))
        self._children.append(child)
        return child

    def run(self, args: Sequence[str | os.PathLike[str]], **options: Any) -> subprocess.CompletedProcess[Any]:
        """Run ``args`` inside the namespace to its end; ``options`` are those of `subprocess.run`."""
        check = options.pop("check", False)
        return self.call(lambda: subprocess.run(list(args), check=check, **options))

    def close(self) -> None:
        """End the children of `popen` and give up the namespace; it ends with its last socket."""
        for child in self._children:
            if child.poll() is None:
                child.kill()
            child.wait()
            for stream in (child.stdin, child.stdout, child.stderr):
                if stream is not None:
                    stream.close()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@contextmanager
def private_netns(name: str | None = None) -> Iterator[NetNs]:
    """A new network namespace, given up at the end. Needs CAP_SYS_ADMIN."""
    namespace = NetNs(name or f"test-{next(_numbers)}")
    try:
        yield namespace
    finally:
        namespace.close()


def veth_pair(a: NetNs, b: NetNs, address_a: str, address_b: str) -> tuple[str, str]:
    """Connect two namespaces; the interfaces' names in ``a`` and ``b``.

    Addresses are ``ADDRESS/PREFIX``, IPv4 or IPv6. The pair goes away with either namespace. Needs iproute2.
    """
    number = next(_numbers)
    names = f"va{number}", f"vb{number}"
    _ip(a, "link", "add", names[0], "type", "veth", "peer", "name", names[1], "netns", b.path)
    for namespace, name, address in ((a, names[0], address_a), (b, names[1], address_b)):
        # nodad: a tentative IPv6 address takes a second before anything can bind to it
        _ip(namespace, "address", "add", address, "dev", name, *(["nodad"] if ":" in address else []))
        _ip(namespace, "link", "set", name, "up")
    return names


def set_up(interface: str) -> None:
    """Set ``interface`` of the calling thread's namespace up (SIOCSIFFLAGS)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = array.array("B", struct.pack("16sH22x", interface.encode(), 0))
        fcntl.ioctl(probe, _SIOCGIFFLAGS, request, True)
        _, flags = struct.unpack("16sH22x", request.tobytes())
        fcntl.ioctl(probe, _SIOCSIFFLAGS, struct.pack("16sH22x", interface.encode(), flags | _IFF_UP))


def _ip(namespace: NetNs, *arguments: str) -> None:
    namespace.run(["ip", *arguments], check=True, stdin=subprocess.DEVNULL)
