"""Names, run directories, locks, records: the part of ownership that needs no kernel object."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

import ebpfmesh.errors
from ebpfmesh.errors import ConfigError, HeldError, OwnershipError
from ebpfmesh.lowlevel.mount import mounts
from ebpfmesh.ownership import Lock, OwnerRecord, RunDirectory, holder, names
from ebpfmesh.ownership.name import check_name
from ebpfmesh.ownership.process import Process, start_time

# a child process imports what this one does, installed or not
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(ebpfmesh.errors.__file__).parents[1])}

AGENT = """
import sys, time
from ebpfmesh.ownership import Lock, RunDirectory
lock = Lock.take(RunDirectory("demo", sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""

ASKING = """
import sys
from ebpfmesh.ownership import RunDirectory, holder
while True:
    holder(RunDirectory("demo", sys.argv[1]))
"""

TAKING = """
import sys
from ebpfmesh.errors import HeldError
from ebpfmesh.ownership import Lock, RunDirectory
for _ in range(300):
    try:
        Lock.take(RunDirectory("demo", sys.argv[1])).release(remove=True)
    except HeldError:
        pass
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "run"


def agent(root: Path) -> subprocess.Popen[str]:
    """Another process that holds the lock of demo."""
    child = subprocess.Popen(
        [sys.executable, "-c", AGENT, str(root)], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    return child


def end(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.wait()
    if child.stdout:
        child.stdout.close()


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/etc", "a.b", "-x", "a b", "a\n", "x" * 64, "ä", "bpffs"]
)
def test_a_name_that_is_no_plain_path_component_is_refused(name: str, root: Path) -> None:
    with pytest.raises(ConfigError):
        RunDirectory(name, root)
    assert not root.exists()


@pytest.mark.parametrize("name", ["demo", "A", "a-b_c", "0", "x" * 63])
def test_a_plain_name_is_accepted(name: str) -> None:
    assert check_name(name) == name


def test_the_run_directory_and_its_files_are_private(root: Path) -> None:
    directory = RunDirectory("demo", root)
    lock = Lock.take(directory)
    record().write(directory.owner_file)
    modes = {
        path.name: path.stat().st_mode & 0o777 for path in (root, directory.path, *directory.path.iterdir())
    }
    lock.release(remove=False)
    assert modes == {"run": 0o700, "demo": 0o700, "lock": 0o600, "owner.json": 0o600}


def test_a_run_directory_that_everybody_may_write_is_refused(root: Path) -> None:
    root.mkdir()
    root.chmod(0o777)
    with pytest.raises(OwnershipError, match="writable by everybody"):
        Lock.take(RunDirectory("demo", root))


def test_a_file_in_place_of_the_run_directory_is_refused_and_left(root: Path) -> None:
    root.mkdir(mode=0o700)
    (root / "demo").write_text("mine")
    with pytest.raises(OwnershipError, match="not a directory"):
        Lock.take(RunDirectory("demo", root))
    assert (root / "demo").read_text() == "mine"


def test_a_symbolic_link_in_place_of_the_run_directory_is_refused(root: Path, tmp_path: Path) -> None:
    root.mkdir(mode=0o700)
    (tmp_path / "elsewhere").mkdir()
    (root / "demo").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OwnershipError, match="not a directory"):
        Lock.take(RunDirectory("demo", root))


def test_a_second_agent_is_told_who_holds_the_name(root: Path) -> None:
    child = agent(root)
    try:
        with pytest.raises(HeldError) as caught:
            Lock.take(RunDirectory("demo", root))
        assert caught.value.pid == child.pid
        text = str(caught.value)
        assert f"process {child.pid} holds it since 20" in text
        assert sys.executable in text
        assert "ebpfmesh stop demo" in text
    finally:
        end(child)


def test_the_lock_of_a_killed_agent_is_free(root: Path) -> None:
    child = agent(root)
    child.send_signal(signal.SIGKILL)
    end(child)
    assert holder(RunDirectory("demo", root)) is None
    Lock.take(RunDirectory("demo", root)).release(remove=True)


def test_two_locks_in_one_process_exclude_each_other(root: Path) -> None:
    first = Lock.take(RunDirectory("demo", root))
    with pytest.raises(HeldError) as caught:
        Lock.take(RunDirectory("demo", root))
    assert caught.value.pid == os.getpid()
    first.release(remove=True)


def test_other_names_do_not_exclude_each_other(root: Path) -> None:
    locks = [Lock.take(RunDirectory(name, root)) for name in ("one", "two")]
    assert names(root) == ["one", "two"]
    for lock in locks:
        lock.release(remove=True)
    assert not root.exists()


def test_asking_who_holds_a_lock_never_makes_a_starting_agent_fail(root: Path) -> None:
    Lock.take(RunDirectory("demo", root)).release(remove=False)
    asking = subprocess.Popen([sys.executable, "-c", ASKING, str(root)], env=ENVIRONMENT)
    try:
        for _ in range(200):
            Lock.take(RunDirectory("demo", root)).release(remove=False)
    finally:
        asking.kill()
        asking.wait()


def test_a_lock_whose_file_was_removed_by_the_holder_before_is_taken_anew(root: Path) -> None:
    """The open descriptor of a removed lock file must not count: nobody else would see that lock."""
    other = subprocess.Popen([sys.executable, "-c", TAKING, str(root)], env=ENVIRONMENT)
    taken = 0
    while other.poll() is None:
        try:
            lock = Lock.take(RunDirectory("demo", root))
        except HeldError:
            continue
        assert lock.directory.lock_file.exists()
        taken += 1
        lock.release(remove=True)
    assert other.returncode == 0
    assert taken > 0


def test_a_program_that_the_agent_starts_does_not_hold_the_lock(root: Path) -> None:
    lock = Lock.take(RunDirectory("demo", root))
    child = subprocess.Popen(["sleep", "30"], close_fds=False)
    lock.release(remove=False)
    try:
        assert holder(RunDirectory("demo", root)) is None
    finally:
        child.kill()
        child.wait()


def record(process: Process | None = None) -> OwnerRecord:
    return OwnerRecord(
        layout_version=1, version="0", process=process or Process.current(), cgroup="/c", cgroup_id=1, bpffs="/b",
        pins="/b/ebpfmesh/demo", started="2026-01-01T00:00:00+00:00",
    )  # fmt: skip


def test_the_record_reads_back_as_written(tmp_path: Path) -> None:
    written = msgspec.structs.replace(record(), objects={"connect": "ab"}, state="kept")
    written.write(tmp_path / "owner.json")
    assert OwnerRecord.read(tmp_path / "owner.json") == written
    assert sorted(path.name for path in tmp_path.iterdir()) == ["owner.json"]


def test_an_absent_or_broken_record_reads_as_none(tmp_path: Path) -> None:
    assert OwnerRecord.read(tmp_path / "none") is None
    for content in (b"", b"{", b'{"pid": 1}', b"\xff"):
        (tmp_path / "owner.json").write_bytes(content)
        assert OwnerRecord.read(tmp_path / "owner.json") is None


def test_a_record_of_a_later_version_with_more_fields_still_reads(tmp_path: Path) -> None:
    content = msgspec.json.decode(msgspec.json.encode(record()))
    (tmp_path / "owner.json").write_bytes(
        msgspec.json.encode({**content, "layout_version": 99, "colour": "blue"})
    )
    read = OwnerRecord.read(tmp_path / "owner.json")
    assert read is not None
    assert read.layout_version == 99


def test_this_process_is_alive_and_the_record_says_so() -> None:
    assert record().alive
    assert record().pid == os.getpid()


@pytest.mark.parametrize("change", [{"start_time": 1}, {"boot_id": "other"}, {"pid_namespace": 1}])
def test_a_reused_pid_another_boot_or_another_pid_namespace_is_not_the_owner(
    change: dict[str, object],
) -> None:
    assert not record(msgspec.structs.replace(Process.current(), **change)).alive


def test_a_record_of_another_boot_is_known_as_such() -> None:
    assert record().this_boot
    assert not record(msgspec.structs.replace(Process.current(), boot_id="other")).this_boot


def test_stop_ends_exactly_the_recorded_process() -> None:
    child = subprocess.Popen(["sleep", "30"])
    started = start_time(child.pid)
    assert started is not None
    process = msgspec.structs.replace(Process.current(), pid=child.pid, start_time=started)
    reused = msgspec.structs.replace(process, start_time=started - 1)
    assert reused.stop(1)
    assert child.poll() is None, "a process that only has the same pid was signalled"
    assert process.stop(5)
    assert child.wait() == -signal.SIGTERM
    assert process.stop(1), "a process that is gone is stopped"


def test_stop_says_when_the_process_does_not_end() -> None:
    script = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(30)"
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    child.stdout.readline()
    process = msgspec.structs.replace(Process.current(), pid=child.pid, start_time=start_time(child.pid) or 0)
    try:
        assert not process.stop(0.2)
    finally:
        end(child)


def test_a_zombie_counts_as_gone() -> None:
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert start_time(child.pid) is None
    child.wait()


def test_the_mount_table_is_read_with_optional_fields_and_escaped_blanks(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(
        "36 35 98:0 / / rw shared:1 master:2 - ext4 /dev/root rw\n"
        "40 36 0:30 / /sys/fs/bpf rw,nosuid shared:9 - bpf bpf rw,mode=700\n"
        "41 36 0:31 /sub /mnt/a\\040b rw - bpf none rw\n"
        "42 36 0:32 / /cg rw - cgroup2 cgroup2 rw\n"
    )
    found = [(mount.device, mount.root, str(mount.point)) for mount in mounts("bpf", table)]
    assert found == [("0:30", "/", "/sys/fs/bpf"), ("0:31", "/sub", "/mnt/a b")]
