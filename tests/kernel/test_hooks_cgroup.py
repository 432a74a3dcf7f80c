"""The other cgroup hooks under real traffic: sockets' lives, packets, options, connection events."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import closing

import pytest

from ebpfmesh import hooks
from ebpfmesh.objects import Objects
from ebpfmesh.testing import NetNs, PrivateCgroup

pytestmark = [pytest.mark.kernel, pytest.mark.parametrize("mechanism", ["link", "legacy"])]

SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 8); __type(key, __u32); __type(value, __u32); } seen
SEC(".maps");
static __always_inline void count(__u32 index)
{
	__u32 *value = bpf_map_lookup_elem(&seen, &index);
	if (value)
		__sync_fetch_and_add(value, 1);
}

SEC("cgroup/sock_create") int no_datagrams(struct bpf_sock *ctx) { return ctx->type != 2; }
SEC("cgroup/sock_release") int released(struct bpf_sock *ctx) { count(0); return 1; }
SEC("cgroup/post_bind4") int no_port4(struct bpf_sock *ctx) { return ctx->src_port != 7777; }
SEC("cgroup/post_bind6") int no_port6(struct bpf_sock *ctx) { return ctx->src_port != 7777; }

static __always_inline int not_marked(struct __sk_buff *skb)
{
	__u8 last = 0;
	bpf_skb_load_bytes(skb, skb->len - 1, &last, 1);
	return last != 'X';
}
SEC("cgroup_skb/ingress") int arriving(struct __sk_buff *skb) { return not_marked(skb); }
SEC("cgroup_skb/egress") int leaving(struct __sk_buff *skb) { return not_marked(skb); }

SEC("cgroup/getsockopt") int answer(struct bpf_sockopt *ctx)
{
	__u8 *value = ctx->optval;
	if (ctx->level != 0 || ctx->optname != 1 || (void *)(value + 1) > ctx->optval_end)
		return 1;
	*value = 0x1c;
	ctx->retval = 0;
	return 1;
}
SEC("cgroup/setsockopt") int refuse(struct bpf_sockopt *ctx) { return !(ctx->level == 0 && ctx->optname == 1); }

SEC("sockops") int events(struct bpf_sock_ops *ctx)
{
	if (ctx->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB)
		count(1);
	return 1;
}
char LICENSE[] SEC("license") = "Dual BSD/GPL";
"""


@pytest.fixture
def attached(cgroup: PrivateCgroup, mechanism: str, load: Callable[..., Objects]):
    """attach(hook, program name): the objects; detached at the end."""
    links = []

    def attach(hook: hooks.Hook, name: str) -> Objects:
        loaded = load(SOURCE, programs=[name])
        links.append(hook.attach(loaded.programs[name], cgroup.path, mechanism=mechanism))
        assert [one.program_id for one in hook.attached(cgroup.path)] == [loaded.programs[name].id]
        return loaded

    yield attach
    for link in links:
        link.close()


def inside(cgroup: PrivateCgroup, netns: NetNs, *kind: int) -> socket.socket:
    with cgroup.enter():
        made = netns.socket(*kind)
    made.settimeout(1)
    return made


def test_sock_create_refuses_a_kind_of_socket(attached, cgroup, netns):
    attached(hooks.SOCK_CREATE, "no_datagrams")
    with pytest.raises(PermissionError):
        inside(cgroup, netns, socket.AF_INET, socket.SOCK_DGRAM)
    inside(cgroup, netns, socket.AF_INET, socket.SOCK_STREAM).close()


def test_sock_release_runs_once_for_each_socket(attached, cgroup, netns):
    seen = attached(hooks.SOCK_RELEASE, "released").maps["seen"]
    for _ in range(3):
        inside(cgroup, netns, socket.AF_INET, socket.SOCK_DGRAM).close()
    assert seen[0] == 3


@pytest.mark.parametrize(
    ("hook", "family", "address"),
    [(hooks.POST_BIND4, socket.AF_INET, "127.0.0.1"), (hooks.POST_BIND6, socket.AF_INET6, "::1")],
    ids=["v4", "v6"],
)
def test_post_bind_takes_a_port_back(attached, cgroup, netns, *, hook, family, address):
    attached(hook, f"no_port{hook.name[-1]}")
    with inside(cgroup, netns, family, socket.SOCK_DGRAM) as one:
        with pytest.raises(PermissionError):
            one.bind((address, 7777))
        one.bind((address, 7778))


def test_ingress_drops_a_packet_that_arrives(attached, cgroup, netns):
    attached(hooks.CGROUP_SKB_INGRESS, "arriving")
    with inside(cgroup, netns, socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        with netns.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"X", server.getsockname())
            client.sendto(b"y", server.getsockname())
        assert server.recv(8) == b"y"


def test_egress_refuses_a_packet_that_leaves(attached, cgroup, netns):
    attached(hooks.CGROUP_SKB_EGRESS, "leaving")
    with netns.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.settimeout(1)
        server.bind(("127.0.0.1", 0))
        with inside(cgroup, netns, socket.AF_INET, socket.SOCK_DGRAM) as client:
            with pytest.raises(PermissionError):
                client.sendto(b"X", server.getsockname())
            client.sendto(b"y", server.getsockname())
        assert server.recv(8) == b"y"


def test_getsockopt_gets_the_programs_answer(attached, cgroup, netns):
    attached(hooks.GETSOCKOPT, "answer")
    with inside(cgroup, netns, socket.AF_INET, socket.SOCK_DGRAM) as one:
        assert one.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 0x1C
        assert one.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_DGRAM


def test_setsockopt_is_refused_by_the_program(attached, cgroup, netns):
    attached(hooks.SETSOCKOPT, "refuse")
    with inside(cgroup, netns, socket.AF_INET, socket.SOCK_DGRAM) as one:
        with pytest.raises(PermissionError):
            one.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 8)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def test_sockops_sees_each_connection(attached, cgroup, netns):
    seen = attached(hooks.SOCKOPS, "events").maps["seen"]
    with netns.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        for _ in range(4):
            with inside(cgroup, netns, socket.AF_INET, socket.SOCK_STREAM) as client:
                client.connect(server.getsockname())
                with closing(server.accept()[0]):
                    pass
    assert seen[1] == 4
