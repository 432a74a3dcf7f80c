"""Every sock_addr hook rewrites a port of real traffic, through a link and through BPF_PROG_ATTACH."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from ebpfmesh import hooks
from ebpfmesh.objects import Objects
from ebpfmesh.testing import NetNs, PrivateCgroup

pytestmark = pytest.mark.kernel

CALLS = ("connect", "bind", "sendmsg", "recvmsg", "getpeername", "getsockname")
SHOWN = 4242  # what the programs write where no real port is needed

SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
const volatile __u16 port;
#define REWRITE(name) \\
SEC("cgroup/" #name) int name(struct bpf_sock_addr *ctx) { ctx->user_port = bpf_htons(port); return 1; }
""" + "\n".join(f"REWRITE({call}{family})" for call in CALLS for family in "46")


class Traffic:
    """One call of each kind in a namespace and a cgroup; each returns the port that it ended with."""

    def __init__(self, netns: NetNs, cgroup: PrivateCgroup, family: int) -> None:
        self.netns, self.cgroup, self.family = netns, cgroup, family
        self.address = "127.0.0.1" if family == socket.AF_INET else "::1"
        self.opened: list[socket.socket] = []
        self.tcp = self.socket(socket.SOCK_STREAM)
        self.tcp.bind((self.address, 0))
        self.tcp.listen()
        self.udp = self.socket(socket.SOCK_DGRAM)
        self.udp.bind((self.address, 0))

    def socket(self, kind: int) -> socket.socket:
        made = self.netns.socket(self.family, kind)
        made.settimeout(1)
        self.opened.append(made)
        return made

    def client(self, kind: int) -> socket.socket:
        with self.cgroup.enter():
            return self.socket(kind)

    def connect(self) -> int:
        with self.client(socket.SOCK_STREAM) as client:
            try:
                client.connect((self.address, 9))
            except ConnectionRefusedError:
                return 9
            self.tcp.accept()[0].close()
            return int(client.getpeername()[1])

    def bind(self) -> int:
        with self.client(socket.SOCK_DGRAM) as client:
            client.bind((self.address, 9))
            return int(client.getsockname()[1])

    def sendmsg(self) -> int:
        with self.client(socket.SOCK_DGRAM) as client:
            client.sendto(b"x", (self.address, 9))
            try:
                self.udp.recvfrom(8)
            except TimeoutError:
                return 9
            return int(self.udp.getsockname()[1])

    def recvmsg(self) -> int:
        with self.client(socket.SOCK_DGRAM) as client:
            client.bind((self.address, 0))
            self.udp.sendto(b"x", client.getsockname())
            return int(client.recvfrom(8)[1][1])

    def getpeername(self) -> int:
        with self.client(socket.SOCK_STREAM) as client:
            client.connect(self.tcp.getsockname())
            self.tcp.accept()[0].close()
            return int(client.getpeername()[1])

    def getsockname(self) -> int:
        with self.client(socket.SOCK_DGRAM) as client:
            client.bind((self.address, 0))
            return int(client.getsockname()[1])

    def wanted(self, call: str) -> int:
        servers = {"connect": self.tcp, "sendmsg": self.udp}
        return int(servers[call].getsockname()[1]) if call in servers else SHOWN


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["v4", "v6"])
def traffic(request: pytest.FixtureRequest, netns: NetNs, cgroup: PrivateCgroup):
    made = Traffic(netns, cgroup, request.param)
    yield made
    for one in made.opened:
        one.close()


@pytest.mark.parametrize("mechanism", ["link", "legacy"])
@pytest.mark.parametrize("call", CALLS)
def test_the_address_of_a_call_is_rewritten_until_the_program_is_detached(
    traffic: Traffic, call: str, mechanism: str, load: Callable[..., Objects]
):
    name = f"{call}{'4' if traffic.family == socket.AF_INET else '6'}"
    wanted = traffic.wanted(call)
    program = load(SOURCE, constants={"port": wanted}, programs=[name]).programs[name]
    hook = hooks.for_program(program)
    assert hook.name == name
    before = getattr(traffic, call)()
    assert before != wanted

    link = hook.attach(program, traffic.cgroup.path, mechanism=mechanism)
    assert getattr(traffic, call)() == wanted
    assert link.mechanism == link.info().mechanism == mechanism
    assert link.info().attached
    assert link.info().hook == name

    link.detach()
    assert getattr(traffic, call)() in (before, 9) or call in ("recvmsg", "getpeername", "getsockname")
    assert hook.attached(traffic.cgroup.path) == []


def test_a_program_of_one_cgroup_leaves_other_processes_alone(traffic: Traffic, load: Callable[..., Objects]):
    program = load(SOURCE, constants={"port": SHOWN}, programs=["getsockname4"]).programs["getsockname4"]
    with hooks.GETSOCKNAME4.attach(program, traffic.cgroup), traffic.netns.socket(socket.AF_INET) as outside:
        outside.bind(("127.0.0.1", 0))
        assert outside.getsockname()[1] != SHOWN
