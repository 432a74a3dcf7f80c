"""Too few rights: one line that names the capability, nothing left, and what ran goes on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lifecycle import ENVIRONMENT, HERE, Agent, Place

from ebpfmesh.testing import NetNs, PrivateCgroup

pytestmark = pytest.mark.kernel

# CAP_SYS_ADMIN stands for the other three where BPF is concerned (2c78ee898d8f), so it has to go with each of them
SHORT = [
    ("CAP_SYS_ADMIN,CAP_NET_ADMIN", "needs CAP_NET_ADMIN"),
    ("CAP_SYS_ADMIN,CAP_BPF", "needs CAP_BPF"),
    ("CAP_SYS_ADMIN,CAP_PERFMON", "needs CAP_PERFMON"),
    ("none", "needs CAP_BPF"),
]


@pytest.fixture
def place(cgroup: PrivateCgroup, netns: NetNs, bpffs: Path, tmp_path: Path) -> Iterator[Place]:
    with Place(cgroup, netns, bpffs, tmp_path) as made:
        yield made


def _words(dropped: str, *words: str) -> list[str]:
    return [sys.executable, str(HERE / "with_rights.py"), dropped, sys.executable, "-m", "ebpfmesh", *words]


def _run(dropped: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _words(dropped, *words), env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize(("dropped", "message"), SHORT)
def test_a_start_without_a_capability_names_it_and_leaves_nothing(
    place: Place, dropped: str, message: str
) -> None:
    done = _run(dropped, "run", str(place.write(place.config())), *place.options)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.startswith("ebpfmesh: error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert place.left() == []
    assert place.attached() == {}


@pytest.mark.parametrize(("dropped", "message"), SHORT)
def test_a_take_over_without_a_capability_leaves_what_ran(place: Place, dropped: str, message: str) -> None:
    place.agent().kill()
    before = place.left(), place.attached()
    client = place.client()
    with client.unharmed():
        done = _run(dropped, "run", str(place.file), *place.options)
        assert done.returncode == 1
        assert message in done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
    assert (place.left(), place.attached()) == before
    with client.unharmed():
        place.agent()


def test_three_capabilities_are_enough_where_a_bpffs_is_mounted(place: Place) -> None:
    file = place.write(place.config())
    agent = Agent(place.start(_words("CAP_SYS_ADMIN", "run", str(file), *place.options)))
    agent.wait_for("ready")
    assert place.reached() in (8001, 8002)
    assert agent.end() == 0
    assert place.left() == []
    agent = Agent(place.start(_words("CAP_SYS_ADMIN", "run", str(file), *place.options)))
    agent.wait_for("ready")
    agent.kill()
    agent = Agent(place.start(_words("CAP_SYS_ADMIN", "run", str(file), *place.options)))
    agent.wait_for("ready")
    assert place.reached() in (8001, 8002)
    assert agent.end() == 0


@pytest.mark.skipif(Path("/sys/fs/bpf/maps.debug").exists(), reason="the host has a bpffs")
def test_without_a_bpffs_and_without_the_right_to_mount_one_the_remedy_is_named(place: Place) -> None:
    done = _run("CAP_SYS_ADMIN", "run", str(place.write(place.config())), "--run-root", str(place.root))
    assert done.returncode == 1
    assert "mount -t bpf bpf /sys/fs/bpf" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert place.left() == []


def test_a_cleanup_of_a_living_agent_without_rights_changes_nothing(place: Place) -> None:
    agent = place.agent()
    before = place.left(), place.attached()
    done = _run("none", "cleanup", *place.options)
    assert done.returncode == 1
    assert done.stderr.startswith("ebpfmesh: error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert agent.process.poll() is None
    assert (place.left(), place.attached()) == before
    agent.end()


def test_check_and_plan_need_no_rights(place: Place) -> None:
    file = str(place.write(place.config()))
    checked = _run("none", "check", file)
    assert checked.returncode == 0, checked.stderr
    planned = _run("none", "plan", file, *place.options)
    assert planned.returncode == 0, planned.stderr
    assert "web" in planned.stdout
