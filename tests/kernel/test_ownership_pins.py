"""Taking over, refusing and removing pins on the real kernel: what is ours goes, what is not stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pinning import (
    CONNECT4,
    CONNECT6,
    ENVIRONMENT,
    LAYOUT,
    close_all,
    everything,
    new_link,
    new_map,
    reachable,
    start,
)

from ebpfmesh.errors import HeldError, OwnershipError
from ebpfmesh.ownership import Ownership, cleanup, names
from ebpfmesh.ownership.pinned import identify, pin
from ebpfmesh.testing import PrivateCgroup

pytestmark = pytest.mark.kernel


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
        "import os, sys\nsys.path.insert(0, sys.argv[4])\nfrom pinning import *\n"
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
