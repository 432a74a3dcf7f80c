"""The order at a cgroup hook, observed by what runs first; foreign programs; replacing."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import pytest

from ebpfmesh import features, hooks
from ebpfmesh.errors import AttachError, NotSupportedError
from ebpfmesh.hooks import Anchor
from ebpfmesh.lowlevel import attach as raw
from ebpfmesh.objects import Objects
from ebpfmesh.objects.program import Program
from ebpfmesh.testing import NetNs, PrivateCgroup

pytestmark = pytest.mark.kernel

SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
const volatile __u32 tag;
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 17); __type(key, __u32); __type(value, __u32); } order
SEC(".maps");
SEC("cgroup/connect4") int append(struct bpf_sock_addr *ctx)
{
	__u32 zero = 0, *count = bpf_map_lookup_elem(&order, &zero), own = tag;
	if (count && *count < 16) {
		__u32 next = ++*count;
		bpf_map_update_elem(&order, &next, &own, BPF_ANY);
	}
	return 1;
}
SEC("cgroup/connect6") int other(struct bpf_sock_addr *ctx) { return 1; }
"""


class Tagged:
    """Programs that write their letter into one shared list when they run."""

    def __init__(self, load: Callable[..., Objects], cgroup: PrivateCgroup, netns: NetNs) -> None:
        self.load, self.cgroup, self.netns = load, cgroup, netns
        self.order = None
        self.names: dict[int, str] = {}

    def program(self, letter: str) -> Program:
        reuse = {"order": self.order} if self.order else {}
        loaded = self.load(SOURCE, constants={"tag": ord(letter)}, programs=["append"], reuse=reuse)
        self.order = self.order or loaded.maps["order"]
        program = loaded.programs["append"]
        self.names[program.id] = letter
        return program

    def ran(self) -> str:
        self.order[0] = 0
        with self.cgroup.enter():
            client = self.netns.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with client:
            client.connect(("127.0.0.1", 9))
        return "".join(chr(self.order[index]) for index in range(1, self.order[0] + 1))

    def listed(self) -> str:
        return "".join(self.names[one.program_id] for one in hooks.CONNECT4.attached(self.cgroup.path))


@pytest.fixture
def tagged(load, cgroup, netns) -> Tagged:
    return Tagged(load, cgroup, netns)


@pytest.mark.kernel(feature="cgroup_anchors")
@pytest.mark.parametrize("mechanism", ["link", "legacy"])
def test_programs_run_where_their_anchors_put_them(tagged: Tagged, mechanism: str):
    a, b, c, d, e = (tagged.program(letter) for letter in "abcde")
    attach = hooks.CONNECT4.attach
    links = [attach(a, tagged.cgroup.path, mechanism=mechanism)]
    links.append(attach(b, tagged.cgroup.path, mechanism=mechanism, anchor=Anchor.first()))
    links.append(attach(c, tagged.cgroup.path, mechanism=mechanism, anchor=Anchor.before(a)))
    links.append(attach(d, tagged.cgroup.path, mechanism=mechanism, anchor=Anchor.after(links[1])))
    links.append(attach(e, tagged.cgroup.path, mechanism=mechanism, anchor=Anchor.last()))
    assert tagged.ran() == tagged.listed() == "bdcae"
    for link in links:
        link.detach()
    assert tagged.ran() == ""


def test_the_default_and_last_are_the_end_on_every_kernel(tagged: Tagged):
    a, b, c = (tagged.program(letter) for letter in "abc")
    attach, path = hooks.CONNECT4.attach, tagged.cgroup.path
    with attach(a, path), attach(b, path, mechanism="legacy", anchor=Anchor.last()), attach(c, path):
        assert tagged.ran() == tagged.listed() == "abc"


@pytest.mark.kernel(feature="cgroup_anchors")
def test_an_anchor_may_be_a_program_id_or_a_listed_attachment(tagged: Tagged):
    a, b, c = (tagged.program(letter) for letter in "abc")
    attach, path = hooks.CONNECT4.attach, tagged.cgroup.path
    with attach(a, path), attach(b, path, anchor=Anchor.before(a.id)):
        (first, _) = hooks.CONNECT4.attached(path)
        with attach(c, path, anchor=Anchor.after(first)):
            assert tagged.ran() == "bca"


@pytest.mark.kernel(feature="cgroup_anchors")
def test_next_to_a_legacy_program_the_legacy_mechanism_is_taken(tagged: Tagged):
    a, b = tagged.program("a"), tagged.program("b")
    attach, path = hooks.CONNECT4.attach, tagged.cgroup.path
    with attach(a, path, mechanism="legacy") as foreign:
        with pytest.raises(NotSupportedError, match="links among links"):
            attach(b, path, mechanism="link", anchor=Anchor.before(foreign))
        with attach(b, path, anchor=Anchor.before(foreign)) as link:
            assert link.mechanism == "legacy"
            assert tagged.ran() == "ba"


@pytest.mark.kernel(feature="cgroup_anchors")
def test_first_is_first_whatever_is_there(tagged: Tagged):
    a, b = tagged.program("a"), tagged.program("b")
    attach, path = hooks.CONNECT4.attach, tagged.cgroup.path
    with attach(a, path, mechanism="legacy"), attach(b, path, mechanism="link", anchor=Anchor.first()):
        assert tagged.ran() == tagged.listed() == "ba"


@pytest.mark.kernel(feature="cgroup_anchors")
def test_an_anchor_that_is_not_attached_is_named(tagged: Tagged):
    a, b = tagged.program("a"), tagged.program("b")
    with pytest.raises(AttachError, match=r"not attached there.*ENOENT") as caught:
        hooks.CONNECT4.attach(a, tagged.cgroup.path, anchor=Anchor.before(b))
    assert str(tagged.cgroup.path) in str(caught.value)


def test_a_legacy_program_is_replaced_in_its_place(tagged: Tagged):
    a, b, c = (tagged.program(letter) for letter in "abc")
    attach, path = hooks.CONNECT4.attach, tagged.cgroup.path
    foreign = attach(a, path, mechanism="legacy")
    with attach(b, path), attach(c, path, anchor=Anchor.replace(a)) as link:
        assert tagged.ran() == "cb"
        assert link.mechanism == "legacy"
        assert not foreign.info().attached
        with pytest.raises(AttachError, match="somebody else"):
            foreign.detach()
        assert tagged.ran() == "cb"
    foreign.close()


def test_a_links_program_is_replaced_by_its_link_only(tagged: Tagged):
    a, b = tagged.program("a"), tagged.program("b")
    with hooks.CONNECT4.attach(a, tagged.cgroup.path):
        with pytest.raises(NotSupportedError, match=r"Link\.update"):
            hooks.CONNECT4.attach(b, tagged.cgroup.path, anchor=Anchor.replace(a))
        (listed,) = hooks.CONNECT4.attached(tagged.cgroup.path)
        with listed.open() as link:
            link.update(b)
            assert tagged.ran() == "b"
        assert tagged.ran() == "b"


def test_foreign_programs_keep_running_when_ours_go(tagged: Tagged):
    ours, theirs, others = (tagged.program(letter) for letter in "otx")
    fd, kind = tagged.cgroup.fd, hooks.CONNECT4.attach_type
    raw.prog_attach(theirs.fd, fd, kind, raw.ALLOW_MULTI, what="a foreign program")
    foreign_link = raw.link_create(others.fd, fd, kind, what="a foreign link")
    try:
        link = hooks.CONNECT4.attach(ours, tagged.cgroup.path)
        assert tagged.ran() == "txo"
        listed = hooks.CONNECT4.attached(tagged.cgroup.path)
        assert [(one.mechanism, bool(one.link_id)) for one in listed] == [
            ("legacy", False),
            ("link", True),
            ("link", True),
        ]
        assert {one.program_name for one in listed} == {"append"}
        assert all(os.getpid() in one.pids for one in listed)
        link.detach()
        assert tagged.ran() == "tx"
    finally:
        os.close(foreign_link)
        raw.prog_detach(theirs.fd, fd, kind, what="the foreign program")


def test_a_program_of_an_ancestor_is_listed_as_effective_only(tagged: Tagged):
    a, b = tagged.program("a"), tagged.program("b")
    below = tagged.cgroup.child("below")
    try:
        with hooks.CONNECT4.attach(a, tagged.cgroup.path), hooks.CONNECT4.attach(b, below.path):
            own = hooks.CONNECT4.attached(below.path)
            effective = hooks.CONNECT4.attached(below.path, effective=True)
        assert [one.program_id for one in own] == [b.id]
        assert [one.program_id for one in effective] == [b.id, a.id]
    finally:
        os.close(below.fd)


@pytest.mark.parametrize("mechanism", ["link", "legacy"])
def test_an_order_is_kept_where_the_kernel_has_one_and_else_refused_with_the_version_that_has(
    tagged: Tagged, mechanism: str
):
    a, b = tagged.program("a"), tagged.program("b")
    attach, path = hooks.CONNECT4.attach, tagged.cgroup.path
    with attach(a, path, mechanism=mechanism):
        for anchor in (Anchor.first(), Anchor.before(a)):
            if features.supported("cgroup_anchors"):
                with attach(b, path, mechanism=mechanism, anchor=anchor):
                    assert tagged.ran() == "ba"
                continue
            with pytest.raises(NotSupportedError, match=r"Linux 6\.17"):
                attach(b, path, mechanism=mechanism, anchor=anchor)
            assert tagged.ran() == "a"
