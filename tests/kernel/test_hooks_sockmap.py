"""sk_msg, sk_skb and sk_lookup on real connections: what is sent, received and listened to."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ebpfmesh import features, hooks
from ebpfmesh.errors import AttachError, ClosedError, NotSupportedError, OccupiedError
from ebpfmesh.hooks import Anchor
from ebpfmesh.lowlevel.libbpf import call, ffi
from ebpfmesh.objects import Objects
from ebpfmesh.testing import NetNs, eventually, private_netns

pytestmark = pytest.mark.kernel

SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_SOCKMAP); __uint(max_entries, 8); __type(key, __u32); __type(value, __u64); } socks
SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __type(key, __u32); __type(value, __u32); } seen
SEC(".maps");
static __always_inline void count(__u32 index)
{
	__u32 *value = bpf_map_lookup_elem(&seen, &index);
	if (value)
		__sync_fetch_and_add(value, 1);
}

SEC("sk_msg") int sending(struct sk_msg_md *msg)
{
	char *data = msg->data;
	count(0);
	if ((void *)(data + 1) > msg->data_end)
		return SK_PASS;
	return *data == 'X' ? SK_DROP : SK_PASS;
}
SEC("sk_msg") int pass(struct sk_msg_md *msg) { return SK_PASS; }

static __always_inline int receive(struct __sk_buff *skb)
{
	char first = 0;
	count(1);
	bpf_skb_load_bytes(skb, 0, &first, 1);
	return first == 'X' ? SK_DROP : SK_PASS;
}
SEC("sk_skb") int receiving(struct __sk_buff *skb) { return receive(skb); }
/* a message is four bytes long; its bytes are not at offset 0 of the skb, so the second one is told by counting */
SEC("sk_skb/stream_verdict") int message(struct __sk_buff *skb)
{
	__u32 one = 1, *value = bpf_map_lookup_elem(&seen, &one);
	return value && ++*value == 2 ? SK_DROP : SK_PASS;
}
SEC("sk_skb/stream_parser") int parser(struct __sk_buff *skb) { return 4; }

SEC("sk_lookup") int choose(struct bpf_sk_lookup *ctx)
{
	__u32 zero = 0;
	struct bpf_sock *sk;
	long result;
	if (ctx->local_port != 9)
		return SK_PASS;
	sk = bpf_map_lookup_elem(&socks, &zero);
	if (!sk)
		return SK_DROP;
	result = bpf_sk_assign(ctx, sk, 0);
	bpf_sk_release(sk);
	return result ? SK_DROP : SK_PASS;
}
SEC("sk_lookup") int refuse(struct bpf_sk_lookup *ctx) { return ctx->local_port == 10 ? SK_DROP : SK_PASS; }
char LICENSE[] SEC("license") = "Dual BSD/GPL";
"""
LINK = pytest.param("link", marks=pytest.mark.kernel(feature="sockmap_link"))
MECHANISMS = [LINK, "prog_attach"]


@pytest.fixture
def loaded(load: Callable[..., Objects]) -> Objects:
    return load(SOURCE)


@pytest.fixture
def connected(netns: NetNs) -> Iterator[tuple[socket.socket, socket.socket]]:
    with netns.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client = netns.socket(socket.AF_INET, socket.SOCK_STREAM)
        client.connect(listener.getsockname())
        server = listener.accept()[0]
    for one in (client, server):
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        one.settimeout(3)
    with client, server:
        yield client, server


def enrol(loaded: Objects, one: socket.socket, index: int = 0) -> None:
    key, value = ffi.new("__u32 *", index), ffi.new("__u64 *", one.fileno())
    call("bpf_map_update_elem", loaded.maps["socks"].fd, key, value, 0, what="enrolling a socket")


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_sk_msg_judges_what_an_enrolled_socket_sends(loaded, connected, mechanism):
    client, server = connected
    with hooks.SK_MSG.attach(loaded.programs["sending"], loaded.maps["socks"], mechanism=mechanism) as link:
        assert link.mechanism == mechanism
        enrol(loaded, client)
        client.send(b"hello")
        assert server.recv(16) == b"hello"
        with pytest.raises(PermissionError):
            client.send(b"Xnot this")
        assert loaded.maps["seen"][0] == 2
        (listed,) = hooks.SK_MSG.attached(loaded.maps["socks"])
        assert (listed.program_name, listed.mechanism, bool(listed.link_id)) == (
            "sending",
            mechanism,
            mechanism == "link",
        )
        assert os.getpid() in listed.pids
        assert link.info().attached
        assert link.info().target_id == loaded.maps["socks"].id
    assert eventually(lambda: hooks.SK_MSG.attached(loaded.maps["socks"]) == [])


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_sk_skb_verdict_judges_what_an_enrolled_socket_receives(loaded, connected, mechanism):
    client, server = connected
    with hooks.SK_SKB_VERDICT.attach(loaded.programs["receiving"], loaded.maps["socks"], mechanism=mechanism):
        enrol(loaded, server)
        client.send(b"Xdropped")
        client.send(b"kept")
        assert server.recv(16) == b"kept"
        assert loaded.maps["seen"][1] >= 2


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_parser_cuts_the_stream_into_messages_for_the_verdict(loaded, connected, mechanism):
    client, server = connected
    socks = loaded.maps["socks"]
    with (
        hooks.SK_SKB_PARSER.attach(loaded.programs["parser"], socks, mechanism=mechanism),
        hooks.SK_SKB_STREAM_VERDICT.attach(loaded.programs["message"], socks, mechanism=mechanism),
    ):
        enrol(loaded, server)
        client.send(b"one.two.thr.")
        received = b""
        while len(received) < 8:
            received += server.recv(16)
        assert received == b"one.thr."
        assert loaded.maps["seen"][1] == 3


@pytest.mark.parametrize("second", MECHANISMS)
@pytest.mark.parametrize("first", MECHANISMS)
def test_an_occupied_sockmap_names_its_owner_and_keeps_its_program(loaded, connected, first, second):
    socks = loaded.maps["socks"]
    with hooks.SK_MSG.attach(loaded.programs["sending"], socks, mechanism=first):
        with pytest.raises(OccupiedError, match=r"replace=True") as caught:
            hooks.SK_MSG.attach(loaded.programs["pass"], socks, mechanism=second)
        assert f"program sending (id {loaded.programs['sending'].id}" in caught.value.owner
        assert str(os.getpid()) in caught.value.owner
        enrol(loaded, connected[0])
        with pytest.raises(PermissionError):
            connected[0].send(b"X")


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_replacing_takes_the_place_of_the_program(loaded, connected, mechanism):
    socks = loaded.maps["socks"]
    with hooks.SK_MSG.attach(loaded.programs["sending"], socks, mechanism=mechanism) as first:
        with hooks.SK_MSG.attach(loaded.programs["pass"], socks, replace=True) as second:
            assert second.mechanism == mechanism
            (listed,) = hooks.SK_MSG.attached(socks)
            assert listed.program_id == loaded.programs["pass"].id
            enrol(loaded, connected[0])
            connected[0].send(b"X")
        assert first.info().id == second_id(mechanism, first)
        if mechanism == "link":  # the same link, shared: its first owner still holds it
            assert [one.program_name for one in hooks.SK_MSG.attached(socks)] == ["pass"]
        else:
            assert hooks.SK_MSG.attached(socks) == []
            assert not first.info().attached


def second_id(mechanism: str, link: Any) -> int | None:
    return link.info().id if mechanism == "link" else None


@pytest.mark.kernel(feature="sockmap_link")
def test_a_replacement_by_the_other_mechanism_is_refused(loaded):
    socks = loaded.maps["socks"]
    with (
        hooks.SK_MSG.attach(loaded.programs["sending"], socks, mechanism="link"),
        pytest.raises(NotSupportedError, match="mechanism='link'"),
    ):
        hooks.SK_MSG.attach(loaded.programs["pass"], socks, mechanism="prog_attach", replace=True)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_an_update_reaches_sockets_that_are_enrolled_after_it(loaded, connected, mechanism):
    client, server = connected
    with hooks.SK_MSG.attach(loaded.programs["sending"], loaded.maps["socks"], mechanism=mechanism) as link:
        link.update(loaded.programs["pass"], expected=loaded.programs["sending"])
        enrol(loaded, client)
        client.send(b"Xyz")
        assert server.recv(16) == b"Xyz"
        with pytest.raises(AttachError, match="EPERM"):
            link.update(loaded.programs["sending"], expected=loaded.programs["sending"])


def test_a_sockmap_keeps_no_order(loaded):
    with pytest.raises(NotSupportedError, match=r"Anchor\.default"):
        hooks.SK_MSG.attach(loaded.programs["sending"], loaded.maps["socks"], anchor=Anchor.first())


def test_a_map_of_another_type_is_refused(loaded):
    with pytest.raises(AttachError, match="sockmap or sockhash"):
        hooks.SK_MSG.attach(loaded.programs["sending"], loaded.maps["seen"])


def test_an_attachment_at_a_sockmap_is_taken_over(loaded):
    socks = loaded.maps["socks"]
    hooks.SK_MSG.attach(loaded.programs["sending"], socks, mechanism="prog_attach").close(keep=True)
    (listed,) = hooks.SK_MSG.attached(socks)
    listed.open().detach()
    assert hooks.SK_MSG.attached(socks) == []


@pytest.mark.kernel(feature="sockmap_link")
def test_a_pinned_sockmap_link_keeps_enforcing(loaded, connected, bpffs):
    link = hooks.SK_MSG.attach(loaded.programs["sending"], loaded.maps["socks"])
    link.pin(bpffs / "sending")
    link.close()
    enrol(loaded, connected[0])
    with pytest.raises(PermissionError):
        connected[0].send(b"X")
    hooks.Link.open_pinned(bpffs / "sending").detach()
    assert hooks.SK_MSG.attached(loaded.maps["socks"]) == []


def test_a_sockmap_with_a_closed_link_says_so(loaded):
    link = hooks.SK_MSG.attach(loaded.programs["pass"], loaded.maps["socks"], mechanism="prog_attach")
    link.close()
    with pytest.raises(ClosedError):
        link.info()


def test_sk_lookup_gives_a_connection_to_the_chosen_listener(loaded, netns):
    with netns.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(1)
        enrol(loaded, listener)
        with hooks.SK_LOOKUP.attach(loaded.programs["choose"], netns.path) as link:
            assert link.info().target_id == netns.inode
            with netns.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
                client.connect(("127.0.0.1", 9))
                listener.accept()[0].close()
        with (
            netns.socket(socket.AF_INET, socket.SOCK_STREAM) as client,
            pytest.raises(ConnectionRefusedError),
        ):
            client.connect(("127.0.0.1", 9))


def test_sk_lookup_programs_are_listed_in_the_order_of_their_attaching(loaded, netns, netns_b):
    first, second = loaded.programs["refuse"], loaded.programs["choose"]
    with hooks.SK_LOOKUP.attach(first, netns), hooks.SK_LOOKUP.attach(second, netns):
        listed = hooks.SK_LOOKUP.attached(netns)
        assert [(one.program_id, one.mechanism) for one in listed] == [
            (first.id, "link"),
            (second.id, "link"),
        ]
        assert all(one.link_id for one in listed)
        assert hooks.SK_LOOKUP.attached(netns_b) == []


def test_a_namespace_that_ended_leaves_its_link_detached(loaded):
    with private_netns() as short:
        link = hooks.SK_LOOKUP.attach(loaded.programs["refuse"], short)
    assert eventually(lambda: not link.info().attached)  # the kernel ends a namespace from a work queue
    with pytest.raises(AttachError, match="attach again"):
        link.update(loaded.programs["choose"])
    link.detach()


def test_the_link_is_taken_where_the_kernel_has_it_and_else_refused_with_the_version_that_has(loaded):
    socks, program = loaded.maps["socks"], loaded.programs["pass"]
    if features.supported("sockmap_link"):
        with hooks.SK_MSG.attach(program, socks) as link:
            assert link.mechanism == "link"
        return
    with hooks.SK_MSG.attach(program, socks) as link:
        assert link.mechanism == "prog_attach"
    with pytest.raises(NotSupportedError, match=r"Linux 6\.10"):
        hooks.SK_MSG.attach(program, socks, mechanism="link")
    assert hooks.SK_MSG.attached(socks) == []
