"""What an agent finds changed since the last run on the real kernel: layouts, cgroups, pins, records, mounts."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from pinning import (
    ENVIRONMENT,
    LAYOUT,
    close_all,
    everything,
    new_link,
    new_map,
    own_mounts,
    reachable,
    start,
)

from ebpfmesh.errors import ConfigError, EbpfMeshError, HostError, LayoutError
from ebpfmesh.lowlevel.mount import mounts
from ebpfmesh.ownership import Ownership, PinDirectory, cleanup
from ebpfmesh.testing import PrivateCgroup, private_cgroup

pytestmark = pytest.mark.kernel


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


def test_links_of_a_removed_cgroup_are_to_be_replaced(root: Path, bpffs: Path, made: list[int]) -> None:
    with private_cgroup() as old:
        first = start(old, root, bpffs)
        first.pins.pin_map("services", new_map(made), LAYOUT)
        first.pins.pin_link("connect4", new_link(made, old.fd))
        first.write_record({"connect": "00"})
        close_all(made)
        first.release(keep=True)
        path = old.path
    with private_cgroup(path.name) as recreated, start(recreated, root, bpffs) as second:
        assert second.elsewhere == ["links/connect4"]
        assert list(second.pins.maps()) == ["services"]
        assert "removed since" in " ".join(second.notices)


def test_links_at_another_cgroup_work_until_whoever_attaches_replaces_them(
    cgroup: PrivateCgroup, root: Path, bpffs: Path, made: list[int]
) -> None:
    first = start(cgroup, root, bpffs)
    first.pins.pin_link("connect4", new_link(made, cgroup.fd))
    first.write_record({"connect": "00"})
    close_all(made)
    first.release(keep=True)
    with private_cgroup() as other, start(other, root, bpffs) as second:
        assert str(cgroup.path) in " ".join(second.notices)
        assert second.elsewhere == ["links/connect4"]
        assert not reachable(cgroup)
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
        "import importlib, os, pkgutil, sys\nimport ebpfmesh\n"
        # all of it now: the tree may lie where nobody else may read
        "for module in pkgutil.walk_packages(ebpfmesh.__path__, 'ebpfmesh.'):\n"
        "  module.name.endswith('__main__') or importlib.import_module(module.name)\n"
        "from ebpfmesh.ownership import Ownership\nfrom ebpfmesh.errors import EbpfMeshError\n"
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
