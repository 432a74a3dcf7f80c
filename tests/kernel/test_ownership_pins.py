"""Taking over, refusing and removing pins on the real kernel: what is ours goes, what is not stays."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import ebpfmesh.errors
from ebpfmesh.errors import ConfigError, EbpfMeshError, HeldError, HostError, LayoutError, OwnershipError
from ebpfmesh.lowlevel.libbpf import call, ffi
from ebpfmesh.ownership import Ownership, PinDirectory, cleanup, names
from ebpfmesh.ownership.mount import mounts, unmount
from ebpfmesh.ownership.pinned import identify, pin
from ebpfmesh.testing import PrivateCgroup, private_cgroup

pytestmark = pytest.mark.kernel

# a child process imports what this one does, installed or not
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(ebpfmesh.errors.__file__).parents[1])}

LAYOUT = "ab" * 32
CONNECT4, CONNECT6 = 10, 11  # enum bpf_attach_type


class Descriptor:
    """A BPF object by its descriptor, closed at the end of the test."""

    def __init__(self, fd: int) -> None:
        self.fd = fd


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "run"
    for mount in mounts("bpf"):  # a test that failed must not leave our own bpffs
        if mount.point.is_relative_to(tmp_path):
            unmount(mount.point)


@pytest.fixture
def made(_leaks_fail: None) -> Iterator[list[int]]:
    """Descriptors to close at the end."""
    descriptors: list[int] = []
    yield descriptors
    for descriptor in descriptors:
        os.close(descriptor)


def new_map(made: list[int]) -> Descriptor:
    fd = call("bpf_map_create", 1, ffi.new("char[]", b"m"), 4, 4, 4, ffi.NULL)
    made.append(fd)
    return Descriptor(fd)


def new_link(made: list[int], cgroup_fd: int, attach_type: int = CONNECT4) -> Descriptor:
    """A program that refuses every connect(), attached by a link."""
    program = load_refusing(attach_type)
    made.append(program)
    fd = call("bpf_link_create", program, cgroup_fd, attach_type, ffi.NULL)
    made.append(fd)
    return Descriptor(fd)


def load_refusing(attach_type: int) -> int:
    """r0 = 0; exit, as a cgroup/sock_addr program, by raw bpf(2) (BPF_PROG_LOAD)."""
    from ebpfmesh.lowlevel.bpf import bpf

    code = ffi.new("char[]", struct.pack("<BBhi", 0xB7, 0, 0, 0) + struct.pack("<BBhi", 0x95, 0, 0, 0))
    license = ffi.new("char[]", b"GPL")
    address = [int(ffi.cast("uintptr_t", pointer)) for pointer in (code, license)]
    attributes = bytearray(120)
    struct.pack_into("<IIQQ", attributes, 0, 18, 2, *address)  # type CGROUP_SOCK_ADDR, 2 instructions
    struct.pack_into("<I", attributes, 68, attach_type)
    return bpf(5, attributes, what="load")[0]


def reachable(cgroup: PrivateCgroup) -> bool:
    """Whether a connect() from inside the cgroup reaches a listener on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server, cgroup.enter(), socket.socket() as client:
        try:
            client.connect(server.getsockname())
        except PermissionError:
            return False
        return True


def close_all(made: list[int]) -> None:
    while made:
        os.close(made.pop())


def start(cgroup: PrivateCgroup, root: Path, bpffs: Path) -> Ownership:
    return Ownership.acquire("demo", cgroup=cgroup.path, run_root=root, bpffs=bpffs)


def everything(directory: Path) -> list[str]:
    return sorted(
        str(path.relative_to(directory))
        for path in directory.rglob("*")
        if "." not in path.name or directory.name == "run"
    )


# --- life ---------------------------------------------------------------------------------------------------


def test_release_detaches_and_leaves_nothing(
    cgroup: PrivateCgroup, root: Path, bpffs: Path, made: list[int]
) -> None:
    ownership = start(cgroup, root, bpffs)
    ownership.pins.pin_map("services", new_map(made), LAYOUT)
    ownership.pins.pin_link("connect4", new_link(made, cgroup.fd))
    ownership.write_record({"connect": "00"})
    close_all(made)
    assert not reachable(cgroup)
    assert (root / "demo" / "owner.json").exists()
    assert ownership.release() == []
    assert reachable(cgroup)
    assert not root.exists()
    assert everything(bpffs) == []


def test_keep_leaves_the_data_path_and_the_next_agent_takes_it_over(
    cgroup: PrivateCgroup, root: Path, bpffs: Path, made: list[int]
) -> None:
    ownership = start(cgroup, root, bpffs)
    ownership.pins.pin_map("services", new_map(made), LAYOUT)
    ownership.pins.pin_link("connect4", new_link(made, cgroup.fd))
    ownership.write_record({"connect": "00"})
    close_all(made)
    ownership.release(keep=True)
    assert not reachable(cgroup)

    with start(cgroup, root, bpffs) as second:
        assert second.previous is not None
        assert second.previous.state == "kept"
        assert second.previous.objects == {"connect": "00"}
        assert second.notices == []
        assert list(second.pins.maps()) == ["services"]
        assert list(second.pins.links()) == ["connect4"]
        assert not reachable(cgroup), "the take-over opened a gap"
    assert reachable(cgroup)


def test_a_killed_agent_is_taken_over(cgroup: PrivateCgroup, root: Path, bpffs: Path) -> None:
    script = (
        "import os, sys\nsys.path.insert(0, sys.argv[4])\nfrom test_ownership_pins import *\n"
        "o = Ownership.acquire('demo', cgroup=sys.argv[1], run_root=sys.argv[2], bpffs=sys.argv[3])\n"
        "o.pins.pin_map('services', new_map([]), LAYOUT)\no.pins.pin_link('connect4', new_link([], o.cgroup.fd))\n"
        "o.write_record({'connect': '00'})\nos.kill(os.getpid(), 9)"
    )
    arguments = [str(cgroup.path), str(root), str(bpffs), str(Path(__file__).parent)]
    child = subprocess.Popen([sys.executable, "-c", script, *arguments], env=ENVIRONMENT)
    assert child.wait() == -9
    assert not reachable(cgroup), "the data path ended with the agent"
    with start(cgroup, root, bpffs) as second:
        assert second.previous is not None
        assert second.previous.pid == child.pid
        assert not second.previous.alive
        assert list(second.pins.links()) == ["connect4"]
    assert reachable(cgroup)


def test_a_second_agent_is_refused_and_changes_nothing(
    cgroup: PrivateCgroup, root: Path, bpffs: Path, made: list[int]
) -> None:
    with start(cgroup, root, bpffs) as first:
        first.pins.pin_map("services", new_map(made), LAYOUT)
        first.write_record()
        before = everything(bpffs), everything(root)
        with pytest.raises(HeldError) as caught:
            start(cgroup, root, bpffs)
        assert caught.value.pid == os.getpid()
        with pytest.raises(HeldError, match=f"process {os.getpid()}"):
            cleanup("demo", root, bpffs)
        assert (everything(bpffs), everything(root)) == before


def test_a_replaced_map_is_pinned_in_the_place_of_the_old_one(
    cgroup: PrivateCgroup, root: Path, bpffs: Path, made: list[int]
) -> None:
    with start(cgroup, root, bpffs) as ownership:
        ownership.pins.pin_map("services", new_map(made), LAYOUT)
        ownership.pins.pin_map("services", new_map(made), "cd" * 32)
        ownership.pins.check_layouts({"services": "cd" * 32})
        assert ownership.pins.survey().foreign == {}


def test_pins_are_readable_by_their_owner_alone(
    cgroup: PrivateCgroup, root: Path, bpffs: Path, made: list[int]
) -> None:
    with start(cgroup, root, bpffs) as ownership:
        ownership.pins.pin_map("services", new_map(made), LAYOUT)
        path = ownership.pins.path
        modes = {
            entry.name: entry.stat().st_mode & 0o777
            for entry in (path, path / "maps", path / "maps/services", path / "layout")
        }
        assert modes == {"demo": 0o700, "maps": 0o700, "services": 0o600, "layout": 0o600}


# --- what is not ours ---------------------------------------------------------------------------------------


def test_a_map_pinned_by_somebody_else_is_refused_by_name_and_left(
    cgroup: PrivateCgroup, root: Path, bpffs: Path, made: list[int]
) -> None:
    first = start(cgroup, root, bpffs)
    first.pins.pin_map("services", new_map(made), LAYOUT)
    first.write_record({"connect": "00"})
    foreign = new_map(made)
    pin(foreign.fd, first.pins.map_path("theirs"))
    first.release(keep=True)
    path, number = first.pins.map_path("theirs"), identify(first.pins.map_path("theirs")).id
    with pytest.raises(OwnershipError, match=f"{path}.*no layout entry"):
        start(cgroup, root, bpffs)
    assert names(root) == ["demo"], "the refused start took the record away"
    removed = cleanup("demo", root, bpffs)
    assert removed.maps == ["services"]
    assert len(removed.left) == 1
    assert str(path) in removed.left[0]
    assert identify(path).id == number


def test_a_map_put_in_the_place_of_ours_is_recognised_by_its_id(
    cgroup: PrivateCgroup, root: Path, bpffs: Path, made: list[int]
) -> None:
    first = start(cgroup, root, bpffs)
    first.pins.pin_map("services", new_map(made), LAYOUT)
    first.pins.map_path("services").unlink()
    pin(new_map(made).fd, first.pins.map_path("services"))
    with pytest.raises(OwnershipError, match="not ours"):
        first.pins.pin_map("services", new_map(made), LAYOUT)
    first.release(keep=True)
    with pytest.raises(OwnershipError, match="where we pinned the map with id"):
        start(cgroup, root, bpffs)


def test_a_link_of_another_hook_at_our_path_is_refused_and_stays_attached(
    cgroup: PrivateCgroup, root: Path, bpffs: Path, made: list[int]
) -> None:
    first = start(cgroup, root, bpffs)
    first.pins.pin_link("connect4", new_link(made, cgroup.fd, CONNECT6))
    first.pins.link_path("connect4").unlink()
    close_all(made)
    pin(new_link(made, cgroup.fd, CONNECT4).fd, first.pins.link_path("connect4"))
    close_all(made)
    first.release(keep=True)
    with pytest.raises(OwnershipError, match=r"cgroup link \(id \d+, attach type 10\)"):
        start(cgroup, root, bpffs)
    assert cleanup("demo", root, bpffs).links == []
    assert not reachable(cgroup), "a link that is not ours was detached"
    first.pins.link_path("connect4").unlink()


def test_a_directory_where_a_pin_belongs_is_refused_and_left(
    cgroup: PrivateCgroup, root: Path, bpffs: Path
) -> None:
    start(cgroup, root, bpffs).release(keep=True)
    directory = bpffs / "ebpfmesh/demo/maps/services"
    directory.mkdir()
    with pytest.raises(OwnershipError, match=f"{directory}.*a directory"):
        start(cgroup, root, bpffs)
    cleanup("demo", root, bpffs)
    assert directory.is_dir()


def test_a_pin_in_the_place_of_our_directory_is_refused_and_left(
    cgroup: PrivateCgroup, root: Path, bpffs: Path, made: list[int]
) -> None:
    (bpffs / "ebpfmesh").mkdir()
    pin(new_map(made).fd, bpffs / "ebpfmesh/demo")
    with pytest.raises(OwnershipError, match="where our directory belongs"):
        start(cgroup, root, bpffs)
    assert cleanup("demo", root, bpffs).maps == []
    assert identify(bpffs / "ebpfmesh/demo").kind == "map"
    assert not root.exists(), "the refused start left a run directory"


def test_another_map_in_the_place_of_the_layout_map_is_refused_and_left(
    cgroup: PrivateCgroup, root: Path, bpffs: Path, made: list[int]
) -> None:
    (bpffs / "ebpfmesh/demo").mkdir(parents=True)
    pin(new_map(made).fd, bpffs / "ebpfmesh/demo/layout")
    with pytest.raises(OwnershipError, match="where our layout map belongs"):
        start(cgroup, root, bpffs)
    with pytest.raises(OwnershipError, match="where our layout map belongs"):
        cleanup("demo", root, bpffs)
    assert identify(bpffs / "ebpfmesh/demo/layout").kind == "map"


def test_other_agents_and_other_pins_are_not_touched(
    cgroup: PrivateCgroup, root: Path, bpffs: Path, made: list[int]
) -> None:
    pin(new_map(made).fd, bpffs / "theirs")
    other = Ownership.acquire("other", cgroup=cgroup.path, run_root=root, bpffs=bpffs)
    other.pins.pin_map("services", new_map(made), LAYOUT)
    start(cgroup, root, bpffs).release()
    assert identify(bpffs / "theirs").kind == "map"
    assert list(other.pins.maps()) == ["services"]
    other.release()


# --- layouts ------------------------------------------------------------------------------------------------


def test_another_layout_of_a_map_is_refused_by_name_with_the_remedy(
    cgroup: PrivateCgroup, root: Path, bpffs: Path, made: list[int]
) -> None:
    with start(cgroup, root, bpffs) as ownership:
        ownership.pins.pin_map("services", new_map(made), LAYOUT)
        ownership.pins.check_layouts({"services": LAYOUT, "not-there": "00" * 32})
        with pytest.raises(LayoutError, match=r"map .*maps/services.*ebpfmesh cleanup demo"):
            ownership.pins.check_layouts({"services": "cd" * 32})


def test_an_agent_of_another_layout_version_is_refused(
    cgroup: PrivateCgroup, root: Path, bpffs: Path, made: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = start(cgroup, root, bpffs)
    first.pins.pin_map("services", new_map(made), LAYOUT)
    first.write_record({"connect": "00"})
    first.release(keep=True)
    monkeypatch.setattr("ebpfmesh.ownership.layout.LAYOUT_VERSION", 2)
    with pytest.raises(LayoutError, match=r"layout version 1, this one writes 2 .*ebpfmesh cleanup demo"):
        start(cgroup, root, bpffs)
    assert cleanup("demo", root, bpffs).maps == ["services"], "the remedy does not work"


# --- the world changed meanwhile ----------------------------------------------------------------------------


def test_links_of_a_removed_cgroup_are_collected(root: Path, bpffs: Path, made: list[int]) -> None:
    with private_cgroup() as old:
        first = start(old, root, bpffs)
        first.pins.pin_map("services", new_map(made), LAYOUT)
        first.pins.pin_link("connect4", new_link(made, old.fd))
        first.write_record({"connect": "00"})
        close_all(made)
        first.release(keep=True)
        path = old.path
    with private_cgroup(path.name) as recreated, start(recreated, root, bpffs) as second:
        assert second.pins.links() == {}
        assert list(second.pins.maps()) == ["services"]
        assert "removed since" in " ".join(second.notices)


def test_an_agent_of_another_cgroup_gives_up_the_links_of_the_old_one(
    cgroup: PrivateCgroup, root: Path, bpffs: Path, made: list[int]
) -> None:
    first = start(cgroup, root, bpffs)
    first.pins.pin_link("connect4", new_link(made, cgroup.fd))
    first.write_record({"connect": "00"})
    close_all(made)
    first.release(keep=True)
    with private_cgroup() as other, start(other, root, bpffs) as second:
        assert str(cgroup.path) in " ".join(second.notices)
        assert second.pins.links() == {}
        assert reachable(cgroup)


def test_an_emptied_bpffs_is_a_fresh_start_with_a_notice(
    cgroup: PrivateCgroup, root: Path, bpffs: Path, made: list[int]
) -> None:
    first = start(cgroup, root, bpffs)
    first.pins.pin_map("services", new_map(made), LAYOUT)
    first.write_record({"connect": "00"})
    first.release(keep=True)
    shutil.rmtree(bpffs / "ebpfmesh")
    with start(cgroup, root, bpffs) as second:
        assert second.previous is None
        assert "was emptied" in " ".join(second.notices)


def test_a_lost_map_is_a_fresh_start_because_running_programs_still_use_it(
    cgroup: PrivateCgroup, root: Path, bpffs: Path, made: list[int]
) -> None:
    first = start(cgroup, root, bpffs)
    for name in ("services", "backends"):
        first.pins.pin_map(name, new_map(made), LAYOUT)
    first.pins.pin_link("connect4", new_link(made, cgroup.fd))
    close_all(made)
    first.release(keep=True)
    first.pins.map_path("backends").unlink()
    with start(cgroup, root, bpffs) as second:
        assert "maps/backends" in " ".join(second.notices)
        assert second.pins.survey() == ({}, {}, ())
        assert reachable(cgroup)


def test_a_lost_link_leaves_the_maps_for_the_take_over(
    cgroup: PrivateCgroup, root: Path, bpffs: Path, made: list[int]
) -> None:
    first = start(cgroup, root, bpffs)
    first.pins.pin_map("services", new_map(made), LAYOUT)
    first.pins.pin_link("connect4", new_link(made, cgroup.fd))
    first.write_record({"connect": "00"})
    close_all(made)
    first.release(keep=True)
    first.pins.link_path("connect4").unlink()
    with start(cgroup, root, bpffs) as second:
        assert "links/connect4" in " ".join(second.notices)
        assert list(second.pins.maps()) == ["services"]


def test_a_record_of_another_boot_counts_as_none(cgroup: PrivateCgroup, root: Path, bpffs: Path) -> None:
    first = start(cgroup, root, bpffs)
    record = first.write_record({"connect": "00"})
    other = msgspec.structs.replace(record.process, boot_id="other")
    msgspec.structs.replace(record, process=other).write(first.run_directory.owner_file)
    first.release(keep=True)
    (root / "demo/owner.json").write_bytes(
        (root / "demo/owner.json").read_bytes().replace(record.process.boot_id.encode(), b"other")
    )
    with start(cgroup, root, bpffs) as second:
        assert second.previous is None
        assert "another boot" in " ".join(second.notices)


def test_a_broken_record_is_told_and_the_pins_decide(
    cgroup: PrivateCgroup, root: Path, bpffs: Path, made: list[int]
) -> None:
    first = start(cgroup, root, bpffs)
    first.pins.pin_map("services", new_map(made), LAYOUT)
    first.pins.pin_link("connect4", new_link(made, cgroup.fd))
    close_all(made)
    first.release(keep=True)
    (root / "demo/owner.json").write_text("{half")
    with start(cgroup, root, bpffs) as second:
        assert "cannot be read" in " ".join(second.notices)
        assert list(second.pins.maps()) == ["services"]


def test_maps_of_a_start_that_was_killed_before_it_attached_are_collected(
    cgroup: PrivateCgroup, root: Path, bpffs: Path, made: list[int]
) -> None:
    first = start(cgroup, root, bpffs)
    first.pins.pin_map("services", new_map(made), LAYOUT)
    first.release(keep=True)
    with start(cgroup, root, bpffs) as second:
        assert "not finished" in " ".join(second.notices)
        assert second.pins.survey() == ({}, {}, ())


# --- bpffs and cgroup ---------------------------------------------------------------------------------------


def own_mounts(root: Path) -> list[Path]:
    return [mount.point for mount in mounts("bpf") if mount.point.is_relative_to(root)]


@pytest.mark.skipif(
    Path("/sys/fs/bpf") in [mount.point for mount in mounts("bpf")], reason="the host has a bpffs"
)
def test_without_a_bpffs_our_own_is_mounted_shared_and_removed_with_the_last_agent(
    cgroup: PrivateCgroup, root: Path
) -> None:
    one = Ownership.acquire("one", cgroup=cgroup.path, run_root=root)
    two = Ownership.acquire("two", cgroup=cgroup.path, run_root=root)
    try:
        assert one.pins.bpffs == two.pins.bpffs == root / "bpffs"
        assert own_mounts(root) == [root / "bpffs"]
    finally:
        one.release()
        assert own_mounts(root) == [root / "bpffs"]
        two.release()
    assert own_mounts(root) == []
    assert not root.exists()


@pytest.mark.skipif(
    Path("/sys/fs/bpf") in [mount.point for mount in mounts("bpf")], reason="the host has a bpffs"
)
def test_cleanup_finds_the_pins_in_our_own_bpffs_even_without_a_record(
    cgroup: PrivateCgroup, root: Path, made: list[int]
) -> None:
    ownership = Ownership.acquire("demo", cgroup=cgroup.path, run_root=root)
    ownership.pins.pin_map("services", new_map(made), LAYOUT)
    ownership.release(keep=True)
    shutil.rmtree(root / "demo")
    assert cleanup("demo", root).maps == ["services"]
    assert own_mounts(root) == []
    assert not root.exists()


@pytest.mark.skipif(
    Path("/sys/fs/bpf") in [mount.point for mount in mounts("bpf")], reason="the host has a bpffs"
)
def test_agents_that_come_and_go_at_once_never_lose_the_bpffs_under_each_other(
    cgroup: PrivateCgroup, root: Path
) -> None:
    script = (
        "import sys\nfrom ebpfmesh.ownership import Ownership\n"
        "for _ in range(40):\n"
        " with Ownership.acquire(sys.argv[1], cgroup=sys.argv[2], run_root=sys.argv[3]) as one:\n"
        "  one.pins.survey(); assert one.pins.layout_path.exists()\n"
    )
    agents = [
        subprocess.Popen([sys.executable, "-c", script, name, str(cgroup.path), str(root)], env=ENVIRONMENT)
        for name in ("one", "two", "three")
    ]
    assert [agent.wait() for agent in agents] == [0, 0, 0]
    assert own_mounts(root) == []
    assert not root.exists()


def test_a_plain_directory_in_place_of_a_bpffs_is_refused_with_the_remedy(
    cgroup: PrivateCgroup, root: Path, tmp_path: Path
) -> None:
    with pytest.raises(HostError, match=f"mount -t bpf bpf {tmp_path}"):
        Ownership.acquire("demo", cgroup=cgroup.path, run_root=root, bpffs=tmp_path)
    assert not root.exists()


def test_cleanup_of_a_name_that_nobody_used_finds_nothing(root: Path, bpffs: Path) -> None:
    assert not cleanup("demo", root, bpffs).found
    assert not root.exists()


@pytest.mark.parametrize(
    ("path", "message"),
    [("/no/such/cgroup", "there is no cgroup"), ("/tmp", "not a cgroup of version 2"), ("/", "root cgroup")],
)
def test_a_wrong_cgroup_is_refused_before_anything_is_made(
    path: str, message: str, root: Path, bpffs: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        Ownership.acquire("demo", cgroup=path, run_root=root, bpffs=bpffs)
    assert not root.exists()
    assert everything(bpffs) == []


def test_a_cgroup_may_be_named_below_the_mount(cgroup: PrivateCgroup, root: Path, bpffs: Path) -> None:
    for name in (cgroup.path.name, f"/{cgroup.path.name}"):
        with Ownership.acquire("demo", cgroup=name, run_root=root, bpffs=bpffs) as ownership:
            assert ownership.cgroup.path == cgroup.path
            assert ownership.cgroup.id == cgroup.id


def test_without_privileges_the_error_is_ours_and_says_what_to_do(cgroup: PrivateCgroup, bpffs: Path) -> None:
    script = (
        "import sys, os\nfrom ebpfmesh.ownership import Ownership\nfrom ebpfmesh.errors import EbpfMeshError\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try:\n  Ownership.acquire('demo', cgroup=sys.argv[1], run_root='/run/ebpfmesh-nobody', bpffs=sys.argv[2])\n"
        "except EbpfMeshError as error:\n  print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(cgroup.path), str(bpffs)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "run as root" in done.stdout


def test_every_refusal_is_one_line(cgroup: PrivateCgroup, root: Path, bpffs: Path) -> None:
    with start(cgroup, root, bpffs):
        with pytest.raises(EbpfMeshError) as caught:
            start(cgroup, root, bpffs)
        assert "\n" not in str(caught.value)


def test_a_pin_directory_of_nobody_is_empty(bpffs: Path) -> None:
    assert PinDirectory(bpffs, "demo").survey() == ({}, {}, ())
