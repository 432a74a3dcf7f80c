"""TC and XDP on a veth pair: packets dropped, orders observed, foreign programs and qdiscs left alone."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from ebpfmesh import features, hooks
from ebpfmesh.errors import AttachError, NotSupportedError, OccupiedError
from ebpfmesh.hooks import Anchor, Interface, Link
from ebpfmesh.hooks.clsact import choose_priority
from ebpfmesh.lowlevel.netlink import Netlink
from ebpfmesh.objects import Objects
from ebpfmesh.objects.program import Program
from ebpfmesh.testing import NetNs, veth_pair

pytestmark = pytest.mark.kernel

TCX = pytest.param("tcx", marks=pytest.mark.kernel(feature="tcx"))
SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
const volatile __u32 tag;
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 17); __type(key, __u32); __type(value, __u32); } order
SEC(".maps");
static __always_inline int marked(void *data, void *end, __u8 mark)
{
	__u8 *packet = data; /* Ethernet 14, IPv4 20, UDP 8 */
	return (void *)(packet + 43) <= end && packet[12] == 8 && packet[13] == 0 && packet[23] == 17 && packet[42] == mark;
}
SEC("tc") int drop(struct __sk_buff *skb)
{
	bpf_skb_pull_data(skb, 43);
	return marked((void *)(long)skb->data, (void *)(long)skb->data_end, 'X') ? 2 /* TC_ACT_SHOT */ : -1;
}
SEC("tc") int append(struct __sk_buff *skb)
{
	__u32 zero = 0, *count = bpf_map_lookup_elem(&order, &zero), own = tag;
	bpf_skb_pull_data(skb, 43);
	if (marked((void *)(long)skb->data, (void *)(long)skb->data_end, 'O') && count && *count < 16) {
		__u32 next = ++*count;
		bpf_map_update_elem(&order, &next, &own, BPF_ANY);
	}
	return -1; /* TCX_NEXT, TC_ACT_UNSPEC: on to the next */
}
SEC("xdp") int early(struct xdp_md *ctx)
{
	return marked((void *)(long)ctx->data, (void *)(long)ctx->data_end, 'X') ? XDP_DROP : XDP_PASS;
}
SEC("xdp") int late(struct xdp_md *ctx)
{
	return marked((void *)(long)ctx->data, (void *)(long)ctx->data_end, 'Y') ? XDP_DROP : XDP_PASS;
}
char LICENSE[] SEC("license") = "Dual BSD/GPL";
"""


class Wire:
    """Two namespaces on a veth pair; datagrams from `a` to `b`."""

    def __init__(self, a: NetNs, b: NetNs) -> None:
        names = veth_pair(a, b, "10.1.0.1/24", "10.1.0.2/24")
        self.a, self.b = Interface(names[0], a), Interface(names[1], b)
        self.client = a.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.server = b.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.server.bind(("10.1.0.2", 7000))
        self.server.settimeout(0.1)
        self.wait()
        self.server.settimeout(3)

    def wait(self) -> None:
        """Until the first packet: carrier and neighbour discovery take a moment, longer on a busy machine."""
        for _ in range(100):
            self.client.sendto(b"?", ("10.1.0.2", 7000))
            try:
                self.server.recv(64)
                break
            except TimeoutError:
                continue
        self.server.setblocking(False)
        with suppress(BlockingIOError):
            while self.server.recv(64):
                pass

    def arrives(self, *data: bytes) -> bytes:
        """Send each; what of them arrived, until the last one, which must."""
        for one in data:
            self.client.sendto(one, ("10.1.0.2", 7000))
        received = [self.server.recv(64)]
        while received[-1] != data[-1]:
            received.append(self.server.recv(64))
        return b"".join(received)

    def close(self) -> None:
        self.client.close()
        self.server.close()


@pytest.fixture
def wire(netns: NetNs, netns_b: NetNs) -> Iterator[Wire]:
    made = Wire(netns, netns_b)
    yield made
    made.close()


@pytest.fixture
def program(load: Callable[..., Objects]) -> Callable[[str], Program]:
    return lambda name: load(SOURCE, programs=[name]).programs[name]


def clsact(interface: Interface) -> bool:
    with Netlink(interface.netns.fd) as route:
        return route.has_clsact(route.interface_index(str(interface.interface)))


@pytest.mark.parametrize("mechanism", [TCX, "clsact"])
@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_tc_drops_packets_until_it_is_detached(wire: Wire, program, direction, mechanism):
    hook = hooks.TC_INGRESS if direction == "ingress" else hooks.TC_EGRESS
    target = wire.b if direction == "ingress" else wire.a
    assert wire.arrives(b"X1", b"end") == b"X1end"
    link = hook.attach(program("drop"), target, mechanism=mechanism)
    assert wire.arrives(b"X1", b"end") == b"end"
    info = link.info()
    assert (info.mechanism, info.hook, info.attached) == (mechanism, f"tc_{direction}", True)
    (listed,) = hook.attached(target)
    assert (listed.program_id, listed.mechanism) == (info.program_id, mechanism)
    link.detach()
    assert wire.arrives(b"X1", b"end") == b"X1end"
    assert hook.attached(target) == []
    assert not clsact(target)


class Ordered:
    def __init__(self, wire: Wire, load: Callable[..., Objects]) -> None:
        self.wire, self.load, self.order = wire, load, None
        self.names: dict[int, str] = {}

    def program(self, letter: str) -> Program:
        reuse = {"order": self.order} if self.order else {}
        loaded = self.load(SOURCE, constants={"tag": ord(letter)}, programs=["append"], reuse=reuse)
        self.order = self.order or loaded.maps["order"]
        self.names[loaded.programs["append"].id] = letter
        return loaded.programs["append"]

    def attach(self, letter: str, **options: object) -> Link:
        return hooks.TC_INGRESS.attach(self.program(letter), self.wire.b, **options)

    def ran(self) -> str:
        self.order[0] = 0
        self.wire.arrives(b"O")
        return "".join(chr(self.order[index]) for index in range(1, self.order[0] + 1))

    def listed(self) -> str:
        return "".join(self.names[one.program_id] for one in hooks.TC_INGRESS.attached(self.wire.b))


@pytest.fixture
def ordered(wire: Wire, load) -> Ordered:
    return Ordered(wire, load)


@pytest.mark.parametrize("mechanism", [TCX, "clsact"])
def test_tc_programs_run_where_their_anchors_put_them(ordered: Ordered, mechanism):
    links = [ordered.attach("a", mechanism=mechanism)]
    links.append(ordered.attach("b", mechanism=mechanism))
    links.append(ordered.attach("c", mechanism=mechanism, anchor=Anchor.first()))
    links.append(ordered.attach("d", mechanism=mechanism, anchor=Anchor.before(links[1])))
    links.append(ordered.attach("e", mechanism=mechanism, anchor=Anchor.after(links[2])))
    links.append(ordered.attach("f", mechanism=mechanism, anchor=Anchor.last()))
    assert ordered.ran() == ordered.listed() == "ceadbf"
    for link in links:
        link.detach()
    assert ordered.ran() == ""


@pytest.mark.kernel(feature="tcx")
def test_tcx_runs_before_clsact_and_anchors_stay_within_one_mechanism(ordered: Ordered):
    with ordered.attach("a", mechanism="clsact") as old, ordered.attach("b", mechanism="tcx"):
        assert ordered.ran() == ordered.listed() == "ba"
        with pytest.raises(NotSupportedError, match="ordered apart"):
            ordered.attach("c", mechanism="tcx", anchor=Anchor.before(old))
        with ordered.attach("c", anchor=Anchor.before(old)) as link:
            assert link.mechanism == "clsact"
            assert ordered.ran() == "bca"


def test_a_clsact_program_is_replaced_in_its_place(ordered: Ordered):
    with ordered.attach("a", mechanism="clsact") as first, ordered.attach("b", mechanism="clsact"):
        link = ordered.attach("c", anchor=Anchor.replace(first))
        assert ordered.ran() == "cb"
        assert not first.info().attached
        with pytest.raises(AttachError, match="not our"):
            first.detach()
        assert ordered.ran() == "cb"
        link.close()
        assert ordered.ran() == "b"
        first.close()


@pytest.mark.parametrize("mechanism", [TCX, "clsact"])
def test_a_tc_link_is_updated_in_place(ordered: Ordered, mechanism):
    with ordered.attach("a", mechanism=mechanism) as first, ordered.attach("b", mechanism=mechanism):
        first.update(ordered.program("c"))
        assert ordered.ran() == "cb"


def test_clsact_leaves_a_foreign_qdisc_and_its_filters(ordered: Ordered, wire: Wire):
    namespace, name = wire.b.netns, str(wire.b.interface)
    namespace.run(["tc", "qdisc", "add", "dev", name, "clsact"], check=True)
    foreign = ["tc", "filter", "add", "dev", name, "ingress", "prio", "7", "u32", "match", "u32", "0", "0"]
    namespace.run(foreign, check=True)
    link = ordered.attach("a", mechanism="clsact")
    listed = hooks.TC_INGRESS.attached(wire.b)
    assert [one.program_name for one in listed][-1] == "append"
    assert "u32" in [one.program_name for one in listed]
    link.detach()
    left = hooks.TC_INGRESS.attached(wire.b)
    assert {one.priority for one in left} == {7}
    assert clsact(wire.b)


def test_the_qdisc_we_made_stays_while_a_foreign_filter_uses_it(ordered: Ordered, wire: Wire):
    link = ordered.attach("a", mechanism="clsact")
    command = ["tc", "filter", "add", "dev", str(wire.b.interface), "egress", "u32", "match", "u32", "0", "0"]
    wire.b.netns.run(command, check=True)
    link.detach()
    assert clsact(wire.b)
    assert hooks.TC_EGRESS.attached(wire.b)


def test_a_filter_that_holds_a_foreign_program_is_left_alone(ordered: Ordered, wire: Wire):
    first = ordered.attach("a", mechanism="clsact")
    thief = ordered.attach("b", anchor=Anchor.replace(first))
    with pytest.raises(AttachError, match="it was left as it is"):
        first.detach()
    with pytest.raises(AttachError, match="not our"):
        first.update(ordered.program("c"))
    assert ordered.ran() == "b"
    thief.detach()
    with pytest.raises(AttachError, match="somebody else removed"):
        first.detach()
    assert first.closed


def test_a_kept_clsact_filter_is_taken_over(ordered: Ordered, wire: Wire):
    ordered.attach("a", mechanism="clsact").close(keep=True)
    assert ordered.ran() == "a"
    (listed,) = hooks.TC_INGRESS.attached(wire.b)
    listed.open().detach()
    assert ordered.ran() == ""


@pytest.mark.parametrize(
    ("low", "high", "chosen"),
    [
        (0, 0x10000, 0x8000),
        (0x8000, 0x10000, 0x8040),
        (0, 0x8000, 0x7FC0),
        (5, 9, 7),
        (0xFFFE, 0x10000, 0xFFFF),
        (0, 2, 1),
    ],
)
def test_a_clsact_priority_lies_between_its_neighbours(low, high, chosen):
    assert choose_priority(low, high) == chosen
    assert low < chosen < high


def test_no_room_between_clsact_priorities_is_said():
    with pytest.raises(AttachError, match="no priority is free"):
        choose_priority(7, 8)


@pytest.mark.parametrize("mode", ["native", "generic"])
@pytest.mark.parametrize("mechanism", ["link", "netlink"])
def test_xdp_drops_packets_until_it_is_detached(wire: Wire, program, mechanism, mode):
    link = hooks.XDP.attach(program("early"), wire.b, mechanism=mechanism, mode=mode)
    assert wire.arrives(b"X1", b"end") == b"end"
    assert hooks.XDP.mode(wire.b) == mode
    assert (link.mechanism, link.info().attached, link.info().hook) == (mechanism, True, "xdp")
    link.detach()
    assert wire.arrives(b"X1", b"end") == b"X1end"
    assert hooks.XDP.attached(wire.b) == []


@pytest.mark.parametrize("second", ["link", "netlink"])
@pytest.mark.parametrize("first", ["link", "netlink"])
def test_an_occupied_interface_names_its_owner(wire: Wire, program, first, second):
    early = program("early")
    with hooks.XDP.attach(early, wire.b, mechanism=first):
        with pytest.raises(OccupiedError, match="replace=True") as caught:
            hooks.XDP.attach(program("late"), wire.b, mechanism=second)
        assert f"program early (id {early.id}" in caught.value.owner
        assert str(os.getpid()) in caught.value.owner
        assert wire.arrives(b"X1", b"end") == b"end"


@pytest.mark.parametrize("mechanism", ["link", "netlink"])
def test_xdp_is_replaced_by_the_mechanism_it_came_with(wire: Wire, program, mechanism):
    with hooks.XDP.attach(program("early"), wire.b, mechanism=mechanism) as first:
        with hooks.XDP.attach(program("late"), wire.b, replace=True) as second:
            assert second.mechanism == mechanism
            assert wire.arrives(b"X1", b"Y1", b"end") == b"X1end"
        if mechanism == "netlink":
            assert not first.info().attached
            assert hooks.XDP.attached(wire.b) == []


@pytest.mark.parametrize("mechanism", ["link", "netlink"])
def test_xdp_is_updated_only_if_the_expected_program_is_there(wire: Wire, program, mechanism):
    early, late = program("early"), program("late")
    with hooks.XDP.attach(early, wire.b, mechanism=mechanism) as link:
        with pytest.raises(AttachError, match="EPERM"):
            link.update(late, expected=late)
        link.update(late, expected=early)
        assert wire.arrives(b"X1", b"Y1", b"end") == b"X1end"


def test_an_xdp_program_that_took_our_place_is_left_alone(wire: Wire, program):
    early, late = program("early"), program("late")
    ours = hooks.XDP.attach(early, wire.b, mechanism="netlink")
    theirs = hooks.XDP.attach(late, wire.b, replace=True)
    with pytest.raises(AttachError, match="what is there was left"):
        ours.detach()
    with pytest.raises(AttachError, match="EEXIST"):
        ours.update(early)
    ours.close()
    assert wire.arrives(b"Y1", b"end") == b"end"
    theirs.detach()


@pytest.mark.parametrize(
    ("hook", "name", "mechanism"),
    [
        pytest.param(hooks.TC_INGRESS, "drop", "tcx", marks=pytest.mark.kernel(feature="tcx")),
        (hooks.TC_INGRESS, "drop", "clsact"),
        (hooks.XDP, "early", "link"),
        (hooks.XDP, "early", "netlink"),
    ],
)
def test_an_interface_removed_under_a_link_leaves_it_detached(wire: Wire, program, hook, name, mechanism):
    link = hook.attach(program(name), wire.b, mechanism=mechanism)
    wire.b.netns.run(["ip", "link", "delete", str(wire.b.interface)], check=True)
    assert not link.info().attached
    with pytest.raises(AttachError):
        link.update(program(name))
    link.detach()
    assert link.closed


def test_interfaces_of_the_same_index_in_two_namespaces_are_told_apart(netns, netns_b, program):
    here, there = Interface(1, netns), Interface(1, netns_b)
    with hooks.XDP.attach(program("early"), here, mode="generic"):
        assert len(hooks.XDP.attached(here)) == 1
        assert hooks.XDP.attached(there) == []
    with hooks.TC_INGRESS.attach(program("drop"), here):
        assert len(hooks.TC_INGRESS.attached(here)) == 1
        assert hooks.TC_INGRESS.attached(there) == []


def test_an_interface_of_the_callers_namespace_needs_no_more_than_its_name(wire: Wire, program):
    namespace, name = wire.b.netns, str(wire.b.interface)
    link = namespace.call(lambda: hooks.TC_INGRESS.attach(program("drop"), name, mechanism="clsact"))
    assert wire.arrives(b"X1", b"end") == b"end"
    link.detach()  # from this thread, in another namespace
    assert wire.arrives(b"X1", b"end") == b"X1end"


def test_what_is_no_kernel_link_cannot_be_pinned(wire: Wire, program, bpffs):
    for hook, name, mechanism in ((hooks.TC_INGRESS, "drop", "clsact"), (hooks.XDP, "early", "netlink")):
        link = hook.attach(program(name), wire.b, mechanism=mechanism)
        with link, pytest.raises(NotSupportedError, match="keep=True"):
            link.pin(bpffs / "x")


@pytest.mark.parametrize(
    ("hook", "name"),
    [
        pytest.param(hooks.TC_INGRESS, "drop", marks=pytest.mark.kernel(feature="tcx")),
        (hooks.XDP, "early"),
    ],
)
def test_a_pinned_interface_link_stays(wire: Wire, program, bpffs, hook, name):
    link = hook.attach(program(name), wire.b)
    link.pin(bpffs / "kept")
    link.close()
    assert wire.arrives(b"X1", b"end") == b"end"
    Link.open_pinned(bpffs / "kept").detach()
    assert wire.arrives(b"X1", b"end") == b"X1end"


def test_an_xdp_mode_that_does_not_exist_is_refused(wire: Wire, program):
    with pytest.raises(NotSupportedError, match="native, generic"):
        hooks.XDP.attach(program("early"), wire.b, mode="fast")


def test_tcx_is_taken_where_the_kernel_has_it_and_else_refused_with_the_version_that_has(wire: Wire, program):
    drop = program("drop")
    if features.supported("tcx"):
        with hooks.TC_INGRESS.attach(drop, wire.b) as link:
            assert link.mechanism == "tcx"
        return
    with hooks.TC_INGRESS.attach(drop, wire.b) as link:
        assert link.mechanism == "clsact"
        assert wire.arrives(b"X1", b"end") == b"end"
    with pytest.raises(NotSupportedError, match=r"Linux 6\.6 .*clsact"):
        hooks.TC_INGRESS.attach(drop, wire.b, mechanism="tcx")
    assert hooks.TC_INGRESS.attached(wire.b) == []
