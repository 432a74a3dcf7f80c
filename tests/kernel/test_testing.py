"""The fixtures themselves: what they isolate, and that they leave nothing behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ebpfmesh.errors import HostError
from ebpfmesh.testing import compile_bpf, private_bpffs, private_cgroup, private_netns, veth_pair
from ebpfmesh.testing.cgroup import remove_stale
from ebpfmesh.testing.leaks import LeakError, no_leaks

pytestmark = pytest.mark.kernel


def own_cgroup(pid: int | str = "self") -> str:
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return next(line[3:] for line in lines if line.startswith("0::"))


def test_a_cgroup_is_entered_and_left():
    before = own_cgroup()
    with private_cgroup() as cgroup:
        with cgroup.enter():
            assert own_cgroup() == "/" + cgroup.path.name
            assert cgroup.pids() == [os.getpid()]
        assert own_cgroup() == before
    assert not cgroup.path.exists()


def test_a_child_is_in_the_cgroup_from_its_first_instruction():
    with private_cgroup() as cgroup:
        result = cgroup.run(["cat", "/proc/self/cgroup"], capture_output=True, text=True)
        assert f"0::/{cgroup.path.name}" in result.stdout.splitlines()


def test_removing_a_cgroup_ends_its_own_children():
    with private_cgroup() as cgroup:
        child = cgroup.popen(["sleep", "60"])
    assert child.returncode == -9
    assert not cgroup.path.exists()


def test_a_cgroup_below_is_removed_with_it():
    with private_cgroup() as cgroup:
        below = cgroup.child("below")
        os.close(below.fd)
    assert not below.path.exists()


def test_the_cgroups_of_a_killed_process_are_swept_and_those_of_a_living_one_left():
    script = """
import os
from ebpfmesh.testing import private_cgroup
held = private_cgroup()
held.__enter__()
print(os.getpid(), flush=True)
os._exit(9)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    killed = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    with private_cgroup() as living:
        stale = living.path.parent / f"ebpfmesh-test-{killed.stdout.strip()}-1"
        assert stale.exists()
        assert stale in remove_stale()
        assert not stale.exists()
        assert living.path.exists()


def test_a_foreign_process_in_the_cgroup_is_named_and_left_running():
    with private_cgroup() as cgroup:
        foreign = subprocess.Popen(["sleep", "60"])
        (cgroup.path / "cgroup.procs").write_text(str(foreign.pid))
        try:
            with pytest.raises(HostError, match=str(foreign.pid)):
                cgroup.remove(timeout=0.05)
            assert foreign.poll() is None
        finally:
            foreign.kill()
            foreign.wait()


def test_a_namespace_has_its_own_loopback_and_leaves_this_thread_alone():
    here = Path("/proc/self/ns/net").stat().st_ino
    with private_netns() as netns:
        assert netns.call(lambda: Path("/proc/thread-self/ns/net").stat().st_ino) == netns.inode != here
        with netns.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
            with netns.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
                client.connect(server.getsockname())
            with socket.socket() as outside, pytest.raises(ConnectionRefusedError):
                outside.connect(server.getsockname())
    assert Path("/proc/self/ns/net").stat().st_ino == here


def test_another_process_opens_a_namespace_by_its_path():
    with private_netns() as netns:
        script = "import os, sys; print(os.stat(sys.argv[1]).st_ino)"
        out = subprocess.run(
            [sys.executable, "-c", script, netns.path], capture_output=True, text=True, check=True
        )
        assert int(out.stdout) == netns.inode


def test_a_child_runs_inside_the_namespace():
    with private_netns() as netns:
        out = netns.run(["readlink", "/proc/self/ns/net"], capture_output=True, text=True)
        assert out.stdout.strip() == f"net:[{netns.inode}]"


def test_an_error_inside_a_namespace_reaches_the_caller():
    with private_netns() as netns, pytest.raises(ZeroDivisionError):
        netns.call(lambda: 1 // 0)


@pytest.mark.parametrize(("a", "b"), [("10.1.0.1/24", "10.1.0.2/24"), ("fd00::1/64", "fd00::2/64")])
def test_a_veth_pair_carries_traffic(a: str, b: str):
    family = socket.AF_INET6 if ":" in a else socket.AF_INET
    ours, theirs = (address.partition("/")[0] for address in (a, b))
    with private_netns() as one, private_netns() as two:
        veth_pair(one, two, a, b)
        with two.socket(family, socket.SOCK_DGRAM) as server, one.socket(family, socket.SOCK_DGRAM) as client:
            server.settimeout(5)
            server.bind((theirs, 7000))
            client.sendto(b"hello", (theirs, 7000))
            data, sender = server.recvfrom(16)
            assert (data, sender[0]) == (b"hello", ours)


def test_a_bpffs_is_mounted_and_gone_afterwards():
    with private_bpffs() as bpffs:
        assert any(f" {bpffs} " in line and " - bpf " in line for line in open_mountinfo())
    assert not bpffs.exists()
    assert not any(f" {bpffs} " in line for line in open_mountinfo())


def open_mountinfo() -> list[str]:
    return Path("/proc/self/mountinfo").read_text().splitlines()


def test_c_text_becomes_a_bpf_object_once():
    text = 'int answer __attribute__((section("xdp"))) = 42;'
    assert compile_bpf(text)[:4] == b"\x7fELF"
    assert compile_bpf(text) is compile_bpf(text)


def test_wrong_c_text_is_refused_with_the_compilers_words():
    with pytest.raises(HostError, match="expected"):
        compile_bpf("int x = ;")


def test_the_leak_check_sees_a_descriptor_a_cgroup_and_a_child():
    from ebpfmesh.lowlevel.libbpf import call, ffi

    with pytest.raises(LeakError, match="bpf-map map_id"), no_leaks(patience=0.05):
        fd = call("bpf_map_create", 2, b"leak", 4, 4, 1, ffi.NULL)
    os.close(fd)

    with pytest.raises(LeakError, match=r"cgroups: .*ebpfmesh-test"), no_leaks(patience=0.05):
        held = private_cgroup()
        held.__enter__()
    held.__exit__(None, None, None)

    with pytest.raises(LeakError, match="child processes"), no_leaks(patience=0.05):
        child = subprocess.Popen(["sleep", "60"])
    child.kill()
    child.wait()
