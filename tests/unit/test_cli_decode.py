"""`ebpfmesh decode`: what is shown, found, refused; streams, pipes and terminals."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ebpfmesh.errors
from ebpfmesh.cli.decode import _text
from ebpfmesh.cli.main import main

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(ebpfmesh.errors.__file__).parents[1])}
COMMAND = [sys.executable, "-m", "ebpfmesh", "decode"]

REQUESTS = (
    b"GET /a?b HTTP/1.1\r\nHost: x\r\nX-Tenant: blue sky\r\n\r\n"
    b"POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nhel"
)
RESPONSES = b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\x1b\n"

File = Callable[[bytes], str]


@pytest.fixture
def file(tmp_path: Path) -> File:
    """Writes bytes to a file; its name."""

    def write(data: bytes) -> str:
        path = tmp_path / f"recording-{len(list(tmp_path.iterdir()))}"
        path.write_bytes(data)
        return str(path)

    return write


def decoded(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> list[str]:
    """The lines of standard output."""
    assert main(["decode", *words]) == status
    return capsys.readouterr().out.splitlines()


def objects(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> list[dict[str, Any]]:
    return [json.loads(line) for line in decoded(capsys, "--json", *words, status=status)]


def test_each_event_is_a_line_with_its_position(file: File, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line.split() for line in decoded(capsys, file(REQUESTS))]
    assert [line[:3] for line in lines] == [
        ["50", "request", "request"], ["50", "request", "end"],
        ["98", "request", "request"], ["98", "request", "data"], ["101", "request", "end"],
    ]  # fmt: skip
    assert {"stream=1", "method=GET", "target=/a?b", "path=/a", "host=x"} <= set(lines[0])
    assert lines[3][3:] == ["stream=2", "data=hel", "(3", "bytes)"]


def test_json_is_one_object_a_line_and_bytes_are_base64(
    file: File, capsys: pytest.CaptureFixture[str]
) -> None:
    first, *_, data, end = objects(
        capsys, file(REQUESTS), "--all-headers", "--header", "X-Tenant", "--key", "0" * 32
    )
    assert (first["event"], first["direction"], first["position"], first["method"]) == (
        "request",
        "request",
        50,
        "GET",
    )
    assert first["registered"] == {"x-tenant": "blue sky"}
    assert ["x-tenant", "blue sky"] in first["headers"]
    assert data == {"event": "data", "direction": "request", "position": 98, "stream": 2, "data": "aGVs"}
    assert end == {"event": "end", "direction": "request", "position": 101, "stream": 2}


def test_two_files_are_the_two_directions(file: File, capsys: pytest.CaptureFixture[str]) -> None:
    events = objects(capsys, file(REQUESTS), file(RESPONSES))
    assert [(one["direction"], one["event"], one["stream"]) for one in events] == [
        ("request", "request", 1), ("request", "end", 1), ("response", "response", 1), ("response", "end", 1),
        ("request", "request", 2), ("request", "data", 2), ("request", "end", 2),
        ("response", "response", 2), ("response", "data", 2), ("response", "end", 2),
    ]  # fmt: skip
    assert objects(capsys, file(RESPONSES), file(REQUESTS)) == events  # the first bytes say whose they are
    assert (
        objects(capsys, file(RESPONSES), file(REQUESTS), "--direction", "response", "--protocol", "http1")
        == events
    )


def test_the_direction_is_found_or_given(file: File, capsys: pytest.CaptureFixture[str]) -> None:
    assert {one["direction"] for one in objects(capsys, file(RESPONSES))} == {"response"}
    assert {one["direction"] for one in objects(capsys, file(RESPONSES), "--protocol", "http1")} == {
        "response"
    }
    [error] = objects(capsys, file(RESPONSES), "--protocol", "http1", "--direction", "request", status=1)
    assert (error["event"], error["direction"]) == ("error", "request")


@pytest.mark.parametrize(
    ("splits", "pieces"), [("99", [1, 2]), ("10,99,100,1000", [1, 1, 1]), ("every", [1, 1, 1])]
)
def test_bytes_are_split_where_asked(
    splits: str, pieces: list[int], file: File, capsys: pytest.CaptureFixture[str]
) -> None:
    events = objects(capsys, file(REQUESTS), "--splits", splits)
    assert [len(b64decode(one["data"])) for one in events if one["event"] == "data"] == pieces
    without = [one for one in events if one["event"] != "data"]
    assert without == [one for one in objects(capsys, file(REQUESTS)) if one["event"] != "data"]


def test_splits_that_are_not_in_order_are_refused(file: File, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        main(["decode", file(REQUESTS), "--splits", "5,3"])
    assert exit.value.code == 2
    assert capsys.readouterr().err.endswith("argument --splits: the offsets 5,3 are not in order\n")


@pytest.mark.parametrize("count", [1, 1000])  # it fails at the end; and in the middle
def test_a_full_disk_is_one_line(count: int, file: File) -> None:
    with Path("/dev/full").open("w") as full:
        words = [*COMMAND, file(REQUESTS[:50] * count)]
        ran = subprocess.run(
            words, stdout=full, stderr=subprocess.PIPE, env=ENVIRONMENT, timeout=60, check=False
        )
    assert (ran.returncode, ran.stderr) == (
        1,
        b"ebpfmesh: error: standard output: No space left on device\n",
    )


def test_an_error_has_its_offset_and_what_came_before_it(
    file: File, capsys: pytest.CaptureFixture[str]
) -> None:
    name = file(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\nHost: x\r\n\r\n")
    assert main(["decode", name]) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    assert err == "ebpfmesh: error: http1 request at byte 41: bare lf\n"
    *events, error = objects(capsys, name, status=1)
    assert len(events) == 2
    assert error == {
        "event": "error",
        "direction": "request",
        "position": 41,
        "code": 21,
        "reason": "bare_lf",
    }
    assert len(decoded(capsys, name, "--lenient", "bare_lf")) == 4


def test_what_cannot_be_followed_is_shown_and_not_success(
    file: File, capsys: pytest.CaptureFixture[str]
) -> None:
    name = file(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n\x16\x03\x01")
    answer = file(b"")
    assert main(["decode", name, answer, "--protocol", "http1"]) == 1
    out, err = capsys.readouterr()
    assert "undecodable" in out.splitlines()[-1]
    assert "reason=before_answer" in out.splitlines()[-1]
    assert err == f"ebpfmesh: {name}: not decoded to the end\n"


def test_bytes_that_nobody_knows_are_one_clear_problem(
    file: File, capsys: pytest.CaptureFixture[str]
) -> None:
    name = file(b"\0\1\2 hello")
    assert main(["decode", name]) == 1
    said = capsys.readouterr().err
    assert said.startswith(
        f"ebpfmesh: error: {name}: no parser knows its first bytes (name one with --protocol: dns,"
    )
    assert main(["decode", file(b"")]) == 1


@pytest.mark.parametrize("words", [
    [], ["a", "b", "c"], ["-", "-"], ["a", "--protocol", "nonsense"], ["a", "--splits", "x"], ["a", "--splits", "-1"],
    ["a", "--splits", ""], ["a", "--direction", "up"], ["a", "--engine", "gpu"], ["a", "--key", "zz"], ["a", "--port", "x"],
    ["a", "--protocol", "http1", "--lenient", "nonsense"], ["a", "--protocol", "http1", "--header", "a b"],
])  # fmt: skip
def test_wrong_usage_is_exit_status_2(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_bytes(REQUESTS)
    with pytest.raises(SystemExit) as caught:
        main(["decode", *words])
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("usage: ebpfmesh")
    assert re.search(r"^ebpfmesh( decode)?: error: \S", said, flags=re.MULTILINE)


def test_a_file_that_cannot_be_read_is_one_clear_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path, reason in ((tmp_path / "absent", "No such file or directory"), (tmp_path, "Is a directory")):
        assert main(["decode", str(path)]) == 1
        assert capsys.readouterr().err == f"ebpfmesh: error: {path}: {reason}\n"


def test_the_kernel_cannot_run_a_parser_in_python(tmp_path: Path) -> None:
    (tmp_path / "acme.py").write_text(
        "from ebpfmesh import l7\nclass Acme(l7.PythonParser):\n    name = 'acme'\n"
        "    def parse(self, direction, data, end):\n        return l7.Pass(len(data)) if data else l7.More()\n"
    )
    info = tmp_path / "acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ebpfmesh.parsers]\nacme = acme:Acme\n")
    (tmp_path / "bytes").write_bytes(b"abc")
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{ENVIRONMENT['PYTHONPATH']}:{tmp_path}"}
    words = [*COMMAND, "--protocol", "acme", str(tmp_path / "bytes")]
    assert subprocess.run(words, env=environment, check=True, capture_output=True).stdout == b""
    done = subprocess.run(
        [*words, "--engine", "kernel"], env=environment, check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "ebpfmesh: error: parser acme: is written in Python: the kernel cannot run it\n"


# --- streams ----------------------------------------------------------------------------------------------------------


def test_standard_input_is_decoded_as_it_comes() -> None:
    with subprocess.Popen(
        [*COMMAND, "-"], env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(REQUESTS[:60])
        process.stdin.flush()
        assert process.stdout.readline().split()[:3] == [
            b"50",
            b"request",
            b"request",
        ]  # the pipe is still open
        process.stdin.write(REQUESTS[60:])
        process.stdin.close()
        assert len(process.stdout.readlines()) == 4
        assert process.wait(30) == 0


def test_a_reader_that_goes_away_is_no_error() -> None:
    many = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 20000
    with subprocess.Popen(
        [*COMMAND, "-"],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        process.stdin.write(many[: 1 << 16])
        process.stdin.flush()
        process.stdout.readline()
        process.stdout.close()
        try:
            process.stdin.write(many)
            process.stdin.close()
        except BrokenPipeError:  # it has ended already
            pass
        assert process.stderr.read() == b""
        assert process.wait(30) == 0


def test_an_interrupt_ends_it_at_once() -> None:
    with subprocess.Popen([*COMMAND, "-"], env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:  # fmt: skip
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        process.stdin.write(REQUESTS[:60])
        process.stdin.flush()
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == -signal.SIGINT
        assert process.stderr.read() == b""


def test_a_long_input_takes_little_memory() -> None:
    script = (
        "import re, sys\nfrom pathlib import Path\nfrom ebpfmesh.cli.main import main\n"
        "status = main(['decode', '-'])\n"
        # not ru_maxrss: that begins with what the process was before exec(), the test's own
        "peak = re.search(r'VmHWM:\\s*(\\d+) kB', Path('/proc/self/status').read_text())[1]\n"
        "print(status, peak, file=sys.stderr)"
    )
    size = 200 << 20
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
    with subprocess.Popen(
        [sys.executable, "-c", script], env=ENVIRONMENT,
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin is not None and process.stderr is not None
        process.stdin.write(head)
        for _ in range(size >> 20):
            process.stdin.write(bytes(1 << 20))
        process.stdin.close()
        status, kilobytes = process.stderr.read().split()
        process.wait(30)
    assert status == b"0"
    assert int(kilobytes) < 120_000


@pytest.mark.parametrize(("value", "shown"), [
    ("plain/text?a=b", "plain/text?a=b"), ("", '""'), ("a b", '"a b"'), ('"', '"\\""'), ("\x1b[2J\n", '"\\x1b[2J\\n"'),
    ("\\", '"\\\\"'), ("\xe9\u2028", '"\\xe9\\u2028"'), (5, "5"), (True, "yes"), (False, "no"), ([1, "a b"], '1,"a b"'),
    (b"", '"" (0 bytes)'), (b"\x9b1m", '"\\x9b1m" (3 bytes)'), (b"a", "a (1 byte)"),
    (b"x" * 100, f"{'x' * 48}… (100 bytes)"),
])  # fmt: skip
def test_nothing_that_was_sent_steers_the_terminal(value: Any, shown: str) -> None:
    assert _text(value) == shown
