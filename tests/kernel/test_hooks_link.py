"""A link's life: updated, pinned, detached, outliving its process or not, its cgroup removed under it."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ebpfmesh import hooks
from ebpfmesh.errors import AttachError, ClosedError, HostError, KernelError, NotSupportedError
from ebpfmesh.hooks.link import BpfLink, Link
from ebpfmesh.objects import Objects
from ebpfmesh.testing import NetNs, PrivateCgroup, compile_bpf, eventually, private_cgroup

pytestmark = pytest.mark.kernel

SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
const volatile __u16 port = 4242;
SEC("cgroup/getsockname4") int shown(struct bpf_sock_addr *ctx) { ctx->user_port = bpf_htons(port); return 1; }
SEC("cgroup/connect4") int connecting(struct bpf_sock_addr *ctx) { return 1; }
"""


@pytest.fixture
def shows(load: Callable[..., Objects]):
    """shows(port): a program that makes getsockname() show it."""
    return lambda port: load(SOURCE, constants={"port": port}, programs=["shown"]).programs["shown"]


def port_shown(cgroup: PrivateCgroup, netns: NetNs) -> int:
    with cgroup.enter():
        one = netns.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with one:
        one.bind(("127.0.0.1", 5555))
        return int(one.getsockname()[1])


@pytest.fixture
def attached(cgroup: PrivateCgroup, mechanism: str, shows: Callable[[int], object]):
    link = hooks.GETSOCKNAME4.attach(shows(1111), cgroup.path, mechanism=mechanism)
    yield link
    link.close()


both = pytest.mark.parametrize("mechanism", ["link", "legacy"])


@both
def test_an_update_replaces_the_program_in_place(attached: Link, cgroup, netns, shows):
    before = attached.info()
    attached.update(shows(2222))
    assert port_shown(cgroup, netns) == 2222
    after = attached.info()
    assert (after.id, after.target_id, after.attached) == (before.id, before.target_id, True)
    assert after.program_id != before.program_id


@both
def test_an_update_that_expects_another_program_changes_nothing(attached: Link, cgroup, netns, shows):
    with pytest.raises(AttachError) as caught:
        attached.update(shows(2222), expected=shows(3333))
    assert caught.value.errno == errno.EPERM
    assert port_shown(cgroup, netns) == 1111


@both
def test_an_update_that_expects_the_present_program_is_made(cgroup, netns, shows, mechanism):
    first = shows(1111)
    with hooks.GETSOCKNAME4.attach(first, cgroup, mechanism=mechanism) as link:
        link.update(shows(2222), expected=first)
        assert port_shown(cgroup, netns) == 2222


@both
def test_a_program_of_another_hook_does_not_update(attached: Link, load, cgroup, netns):
    other = load(SOURCE, programs=["connecting"]).programs["connecting"]
    with pytest.raises(AttachError, match="EINVAL"):
        attached.update(other)
    assert port_shown(cgroup, netns) == 1111


@both
def test_leaving_the_block_detaches(cgroup, netns, shows, mechanism):
    with hooks.GETSOCKNAME4.attach(shows(1111), cgroup, mechanism=mechanism):
        assert port_shown(cgroup, netns) == 1111
    assert eventually(lambda: port_shown(cgroup, netns) == 5555)


@both
def test_a_closed_link_says_so(attached: Link, shows):
    attached.close()
    attached.close()
    with pytest.raises(ClosedError):
        attached.info()
    with pytest.raises(ClosedError):
        attached.update(shows(1))
    with pytest.raises(ClosedError):
        attached.detach()


def test_a_pin_keeps_a_link_and_opens_it_again(cgroup, netns, bpffs: Path, shows):
    link = hooks.GETSOCKNAME4.attach(shows(1111), cgroup)
    link.pin(bpffs / "shown")
    number = link.info().id
    link.close()
    assert port_shown(cgroup, netns) == 1111

    with Link.open_pinned(bpffs / "shown") as again:
        assert again.info().id == number
        again.update(shows(2222))
        assert port_shown(cgroup, netns) == 2222
        again.unpin()
        assert not (bpffs / "shown").exists()
    assert eventually(lambda: port_shown(cgroup, netns) == 5555)


def test_detaching_takes_the_pin_away(cgroup, netns, bpffs: Path, shows):
    link = hooks.GETSOCKNAME4.attach(shows(1111), cgroup)
    link.pin(bpffs / "shown")
    link.detach()
    assert eventually(lambda: port_shown(cgroup, netns) == 5555)
    assert not (bpffs / "shown").exists()


def test_detaching_works_while_somebody_else_holds_the_link(cgroup, netns, shows):
    link = hooks.GETSOCKNAME4.attach(shows(1111), cgroup)
    with BpfLink.open_id(link.info().id) as other:
        link.detach()
        assert eventually(lambda: port_shown(cgroup, netns) == 5555)
        assert not other.info().attached
        with pytest.raises(AttachError, match="attach again") as caught:
            other.update(shows(2222))
        assert caught.value.errno == errno.ENOLINK


def test_what_is_pinned_there_must_be_a_link(bpffs: Path, load):
    load(SOURCE, programs=["shown"]).programs["shown"].pin(bpffs / "program")
    with pytest.raises(HostError, match="not a link"):
        Link.open_pinned(bpffs / "program")
    with pytest.raises(HostError, match="nothing is pinned"):
        Link.open_pinned(bpffs / "nothing")


def test_a_taken_pin_path_is_left_alone(cgroup, bpffs: Path, shows, load):
    load(SOURCE, programs=["connecting"]).programs["connecting"].pin(bpffs / "mine")
    with hooks.GETSOCKNAME4.attach(shows(1), cgroup) as link, pytest.raises(KernelError, match="taken"):
        link.pin(bpffs / "mine")
    (bpffs / "mine").unlink()


@pytest.mark.parametrize("mechanism", ["legacy"])
def test_a_legacy_attachment_cannot_be_pinned_and_says_why(attached: Link, bpffs: Path, mechanism):
    with pytest.raises(NotSupportedError, match=r"keep=True"):
        attached.pin(bpffs / "legacy")


def test_a_kernel_link_without_a_pin_cannot_be_kept(cgroup, shows):
    with (
        hooks.GETSOCKNAME4.attach(shows(1), cgroup) as link,
        pytest.raises(NotSupportedError, match=r"pin\(\) it"),
    ):
        link.close(keep=True)


def test_a_kept_legacy_attachment_is_taken_over_from_the_list(cgroup, netns, shows):
    hooks.GETSOCKNAME4.attach(shows(1111), cgroup, mechanism="legacy").close(keep=True)
    assert port_shown(cgroup, netns) == 1111
    (listed,) = hooks.GETSOCKNAME4.attached(cgroup)
    with listed.open() as link:
        assert link.mechanism == "legacy"
        link.update(shows(2222))
        assert port_shown(cgroup, netns) == 2222
    assert eventually(lambda: port_shown(cgroup, netns) == 5555)


CHILD = """
import os, signal, sys
from ebpfmesh import hooks, objects
from ebpfmesh.spec import ObjectSpec
path, cgroup, mechanism, pin = sys.argv[1:]
loaded = objects.load(ObjectSpec.from_file(path), constants={"port": 1111}, programs=["shown"])
link = hooks.GETSOCKNAME4.attach(loaded.programs["shown"], cgroup, mechanism=mechanism)
if pin:
    link.pin(pin)
os.kill(os.getpid(), signal.SIGKILL)
"""


def killed_child(tmp_path: Path, cgroup: PrivateCgroup, mechanism: str, pin: str = "") -> None:
    text = tmp_path / "test.bpf.o"
    text.write_bytes(compile_bpf(SOURCE))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", CHILD, str(text), str(cgroup.path), mechanism, pin]
    child = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert child.returncode == -9, child.stderr


def test_an_unpinned_link_ends_with_its_killed_process(cgroup, netns, tmp_path):
    killed_child(tmp_path, cgroup, "link")
    assert eventually(lambda: port_shown(cgroup, netns) == 5555)


def test_a_pinned_link_outlives_its_killed_process(cgroup, netns, bpffs, tmp_path):
    killed_child(tmp_path, cgroup, "link", str(bpffs / "kept"))
    assert port_shown(cgroup, netns) == 1111
    Link.open_pinned(bpffs / "kept").detach()
    assert eventually(lambda: port_shown(cgroup, netns) == 5555)


def test_a_legacy_attachment_outlives_its_killed_process(cgroup, netns, tmp_path):
    killed_child(tmp_path, cgroup, "legacy")
    assert port_shown(cgroup, netns) == 1111
    (listed,) = hooks.GETSOCKNAME4.attached(cgroup)
    assert listed.pids == ()
    listed.open().detach()
    assert eventually(lambda: port_shown(cgroup, netns) == 5555)


@both
def test_a_cgroup_removed_under_a_link_leaves_it_detached(shows, mechanism):
    with private_cgroup() as cgroup:
        link = hooks.GETSOCKNAME4.attach(shows(1111), cgroup.path, mechanism=mechanism)
    # the kernel lets go of a removed cgroup's programs from a work queue
    assert eventually(lambda: not link.info().attached)
    with pytest.raises(AttachError) as caught:
        link.update(shows(2222))
    assert caught.value.errno in (errno.ENOLINK, errno.ENOENT)
    link.detach()
    assert link.closed


def test_a_recreated_cgroup_is_another_one(shows):
    with private_cgroup() as first:
        link = hooks.GETSOCKNAME4.attach(shows(1111), first.path)
    with private_cgroup(first.path.name) as second:
        assert hooks.GETSOCKNAME4.attached(second.path) == []
        link.close()
        with hooks.GETSOCKNAME4.attach(shows(1111), second.path) as again:
            assert again.info().target_id == second.id
