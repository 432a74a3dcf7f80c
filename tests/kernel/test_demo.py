"""The demo, run as a person runs it: what it says it saw, and what it leaves behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ebpfmesh.lowlevel.mount import cgroup2_mount

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "examples" / "demo.py"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src")}

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any], float]:
    """One performance for all tests that only look: its output, its account, and how long it took."""
    account = tmp_path_factory.mktemp("demo") / "account.json"
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(DEMO), "--account", str(account)],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    took = time.monotonic() - begin
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert done.stderr == ""
    return done.stdout, json.loads(account.read_text()), took


def test_it_ends_by_itself_in_under_thirty_seconds(played: tuple[str, dict[str, Any], float]) -> None:
    assert played[2] < 30


def test_every_finding_holds_and_is_printed(played: tuple[str, dict[str, Any], float]) -> None:
    output, account, _ = played
    assert [name for name, finding in account.items() if not finding["holds"]] == []
    for finding in account.values():
        assert f"ok      {finding['text']}\n" in output
    assert "FAILED" not in output


def test_the_account_is_of_real_work(played: tuple[str, dict[str, Any], float]) -> None:
    _, account, _ = played
    assert account["attached"]["value"] == 10
    assert account["spread"]["value"] == 42
    assert account["requests"]["value"] > 500
    assert account["orphaned"]["value"] > 50  # answered while no agent ran
    assert account["returned"]["value"] > 50
    assert account["kept"]["value"] > 100
    assert account["removed"]["value"] == 0
    assert account["left"]["value"] == 0


def test_policies_are_enforced_by_the_kernel_with_an_agent_and_without(
    played: tuple[str, dict[str, Any], float],
) -> None:
    output, account, _ = played
    assert account["denied"]["value"] == 0  # of the denied requests, those that a server saw
    assert "what the servers saw: GET /cups, GET /cups\n" in output
    assert 0 < account["limited"]["value"] <= 8
    assert account["traced"]["value"] == 4
    assert account["enforced"]["value"] >= 2
    assert len(re.findall(r"^  crawler .*\b429\b.*  Retry-After: \d+$", output, re.M)) == 2
    assert re.search(r"^    \| rule no-admin denies the request; the client is told 403$", output, re.M)


def test_decisions_are_shown_as_the_log_tells_them(played: tuple[str, dict[str, Any], float]) -> None:
    told = re.findall(r"^    \| [\d:.]+ denied +(\S+) -> (\S+) GET (\S+): (.*)$", played[0], re.M)
    assert ("shopper", "web", "/admin/users", "rule no-admin, 403") in told
    assert ("shopper", "stock", "/cups", "no rule allows it, 403") in told
    assert any(why.startswith("limit slow-crawler, 429, again in ") for *_, why in told)


def test_a_trace_has_one_id_and_each_service_a_span_of_its_own(
    played: tuple[str, dict[str, Any], float],
) -> None:
    received = re.findall(r"^    (\w+).* receives +00-(\w{32})-(\w{16})-01$", played[0], re.M)
    assert [who for who, _, _ in received] == ["web", "stock"] * 3
    for (_, trace, span), (_, other_trace, other_span) in zip(received[::2], received[1::2], strict=True):
        assert trace == other_trace
        assert span != other_span


def test_what_was_attached_is_listed_with_hook_program_and_link(
    played: tuple[str, dict[str, Any], float],
) -> None:
    listed = re.findall(r"^ {4}(\S+) +(\S+) +program \d+, link \d+$", played[0], re.M)
    assert len(listed) == 10
    assert ("connect4", "connect4") in listed


def test_without_a_terminal_each_act_prints_its_table_once_and_no_escapes(
    played: tuple[str, dict[str, Any], float],
) -> None:
    output = played[0]
    assert "\x1b" not in output
    tables = re.findall(r"^ {4}a +.* ([\d,]+) requests", output, re.M)
    counts = [int(count.replace(",", "")) for count in tables]
    assert len(counts) == 4
    assert counts == sorted(counts)
    assert counts[0] > 0


def _start() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(DEMO)],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _until(process: subprocess.Popen[str], words: str) -> None:
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if words in line:
            return
    pytest.fail(f"the demo never said {words!r}: {''.join(said)}")


def _descendants(pid: int) -> Iterator[int]:
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that served one connection
            for child in map(int, children.read_text().split()):
                yield child
                yield from _descendants(child)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("act", ["Load:", "A denied path:", "is killed with SIGKILL"])
def test_interrupted_it_says_so_and_leaves_nothing(number: signal.Signals, act: str) -> None:
    process = _start()
    try:
        _until(process, act)
        time.sleep(0.5)
        children = {pid: _command(pid) for pid in _descendants(process.pid)}
        (directory,) = {
            word for line in children.values() for word in line.decode().split("\0") if "-bpffs-" in word
        } or {""}
        cgroups = list(cgroup2_mount().glob(f"ebpfmesh-test-{process.pid}-*"))
        assert len(children) >= 5
        assert len(cgroups) == 1
        process.send_signal(number)
        said, _ = process.communicate(timeout=20)
    finally:
        if process.poll() is None:
            process.terminate()  # killed, it would leave what it has made
            process.communicate(timeout=20)
        if process.stdout is not None:
            process.stdout.close()
    assert process.returncode == 130
    assert "interrupted" in said
    assert "Traceback" not in said
    assert [pid for pid in children if _runs(pid, children[pid])] == []
    assert not any(path.exists() for path in cgroups)
    assert not directory or not Path(directory).exists()


def _command(pid: int) -> bytes:
    """Empty if the process has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _runs(pid: int, command: bytes) -> bool:
    return command != b"" and _command(pid) == command


def test_without_root_it_says_what_is_missing_and_the_remedy() -> None:
    # Nobody, who may read the same files: this interpreter may be in root's home.
    nobody = [
        "setpriv",
        "--reuid",
        "65534",
        "--inh-caps",
        "+dac_read_search",
        "--ambient-caps",
        "+dac_read_search",
    ]
    command = [*nobody, sys.executable, "-B", str(DEMO)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert done.stderr == "demo: not root: run `sudo make demo`\n"
    assert done.stdout == ""
