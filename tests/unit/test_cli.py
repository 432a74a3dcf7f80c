"""The command line without root: what a newcomer types first, and types wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ebpfmesh.errors
from ebpfmesh.cli.main import COMMANDS, main, one_line
from ebpfmesh.cli.output import plural, size, table
from ebpfmesh.errors import ConfigError
from ebpfmesh.ownership import Lock, RunDirectory

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(ebpfmesh.errors.__file__).parents[1])}

GOOD = """
name = "demo"
cgroup = "/demo"

[[services]]
name = "web"
addresses = ["10.96.0.10:80"]
backends = ["127.0.0.1:8001", { address = "127.0.0.1:8002", weight = 3 }]
"""

WRONG = """
name = "demo"
cgroup = "/demo"

[[services]]
name = "web"
addresses = ["10.96.0.10:99999"]
backends = ["127.0.0.1"]
"""


@pytest.fixture
def good(tmp_path: Path) -> Path:
    file = tmp_path / "mesh.toml"
    file.write_text(GOOD)
    return file


@pytest.fixture
def empty(tmp_path: Path) -> list[str]:
    """Options under which no mesh of this host is seen."""
    return ["--run-root", str(tmp_path / "run")]


def ebpfmesh(*words: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ebpfmesh", *map(str, words)],
        env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=60, **options,
    )  # type: ignore[call-overload, no-any-return]  # fmt: skip


# --- usage ---------------------------------------------------------------------------------------------------


def test_help_names_every_command_and_loads_none_of_them() -> None:
    script = (
        "import sys\nfrom ebpfmesh.cli.main import main\n"
        "try:\n main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'msgspec', 'structlog', 'elftools', 'ebpfmesh.lowlevel.libbpf', 'asyncio'} & set(sys.modules)\n"
        "print('heavy', sorted(heavy))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    for command in COMMANDS:
        assert f"    {command} " in done.stdout
    assert "heavy []" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_its_own_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert f"usage: ebpfmesh {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["frobnicate"],
        ["run"],
        ["check"],
        ["check", "a", "b"],
        ["status", "--colour"],
        ["stop", "--timeout", "x"],
        ["stop", "--timeout", "nan"],
        ["stop", "--timeout", "-1"],
    ],
)
def test_wrong_usage_is_exit_status_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert "usage: ebpfmesh" in capsys.readouterr().err


def test_the_version_names_libbpf_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("ebpfmesh ")


def test_common_options_are_taken_before_and_after_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (
        ["--run-root", str(tmp_path / "x"), "status", "demo"],
        ["status", "demo", "--run-root", str(tmp_path / "x")],
    ):
        assert main(words) == 1
        assert str(tmp_path / "x") in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error(good: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m ebpfmesh check --json {good} | true; echo ${{PIPESTATUS[0]}}",
        shell=True, executable="/bin/bash", env=ENVIRONMENT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "0"
    assert done.stderr == ""


# --- errors --------------------------------------------------------------------------------------------------


def test_an_error_is_one_line_without_a_traceback(tmp_path: Path) -> None:
    done = ebpfmesh("plan", tmp_path / "absent.toml")
    assert done.returncode == 1
    assert done.stderr.startswith("ebpfmesh: error: ")
    assert str(tmp_path / "absent.toml") in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_debug_shows_where_an_error_comes_from(tmp_path: Path) -> None:
    done = ebpfmesh("--debug", "plan", tmp_path / "absent.toml")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("ebpfmesh: error: ")


def test_an_error_of_several_lines_is_printed_as_one() -> None:
    assert one_line(ConfigError("two\nlines", where="a\tb")) == "a b: two lines"


# --- check ---------------------------------------------------------------------------------------------------


def test_a_good_file_is_good(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(good)]) == 0
    output = capsys.readouterr()
    assert "good; 1 service, 2 backends; at most " in output.out
    assert output.err == ""


def test_check_reports_every_problem_with_its_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mesh.toml").write_text(WRONG)
    assert main(["check", str(tmp_path / "mesh.toml")]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert any("$.services[0].addresses[0]" in line for line in lines)
    assert any("$.services[0].backends[0]" in line for line in lines)
    assert lines[-1].endswith("2 problems")


def test_check_as_json_is_one_object(tmp_path: Path, good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--json", str(good)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    assert 0 < report["memory"] <= report["budget"]
    good.write_text(WRONG)
    assert main(["check", "--json", str(good)]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False
    assert [sorted(problem) for problem in report["problems"]] == [["remedy", "what", "where"]] * 2


def test_check_holds_the_memory_against_the_budget(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good.write_text('memory_budget = "1KiB"\n' + GOOD)
    assert main(["check", str(good)]) == 1
    assert "$.memory_budget" in capsys.readouterr().err


def test_check_tells_what_a_schedule_rounds(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good.write_text(
        GOOD.replace(
            '{ address = "127.0.0.1:8002", weight = 3 }', '{ address = "127.0.0.1:8002", weight = 65521 }'
        )
        + 'balance = "weighted-round-robin"\n'
    )
    assert main(["check", str(good)]) == 0
    assert "note: $.services[0].balance" in capsys.readouterr().out


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"name = ",
        b"\xff\xfe",
        b"\0",
        b"[[services]]",
        b'name = "demo"\ncgroup = "/x"\ncolour = 3',
        b'name = 3\ncgroup = "/x"',
    ],
)
def test_a_wrong_file_is_one_clear_problem(
    content: bytes, good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good.write_bytes(content)
    assert main(["check", str(good)]) == 1
    error = capsys.readouterr().err
    assert str(good) in error
    assert "Traceback" not in error
    assert len(error.splitlines()) == 2


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b'name = "demo"\n\nx = = 1\n', ":3:5: it is no TOML: "),
        (b'name = "demo"\n\xff\n', ":2: it is not UTF-8"),
    ],
)
@pytest.mark.parametrize("command", ["check", "plan", "run", "explain"])
def test_what_cannot_be_read_is_named_with_its_line(
    command: str, content: bytes, place: str, good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good.write_bytes(content)
    assert main([command, str(good), *(["--service", "web"] if command == "explain" else [])]) == 1
    first = capsys.readouterr().err.splitlines()[0]
    assert first.removeprefix("ebpfmesh: error: ").startswith(f"{good}{place}")


@pytest.mark.parametrize("command", ["plan", "run", "explain"])
def test_the_first_of_several_problems_says_where_the_others_are(
    command: str, good: Path, empty: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    good.write_text(WRONG)
    assert main([command, str(good), *empty, *(["--service", "web"] if command == "explain" else [])]) == 1
    [error] = capsys.readouterr().err.splitlines()
    assert error.startswith(f"ebpfmesh: error: {good}: $.services[0].addresses[0]: ")
    assert error.endswith(f"one of 2 problems, which `ebpfmesh check {good}` lists)")


def test_explain_asks_for_what_is_missing(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, missing in (([str(good), "GET", "/x"], "give --service: "), ([], "give FILE and --service, ")):
        with pytest.raises(SystemExit):
            main(["explain", *words])
        assert missing in capsys.readouterr().err


def test_a_directory_and_an_absent_file_are_problems(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        assert main(["check", str(path)]) == 1
        assert str(path) in capsys.readouterr().err


# --- meshes by name ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["status", "stop", "cleanup"])
def test_without_a_mesh_there_is_nothing_to_name(
    command: str, empty: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, *empty]) == 1
    assert "there is no mesh on this host" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["status", "stop", "cleanup"])
@pytest.mark.parametrize("name", ["../etc", "/", "a/b", ".."])
def test_a_name_that_would_leave_the_directory_is_refused(
    command: str, name: str, empty: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, name, *empty]) == 1
    assert "is no name of an agent" in capsys.readouterr().err


def test_several_meshes_have_to_be_named(
    tmp_path: Path, empty: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    locks = [Lock.take(RunDirectory(name, tmp_path / "run")) for name in ("one", "two")]
    with pytest.raises(SystemExit) as caught:
        main(["status", *empty])
    assert caught.value.code == 2
    assert "name one: one, two" in capsys.readouterr().err
    for lock in locks:
        lock.release(remove=True)


def test_plan_of_a_mesh_that_does_not_run_says_all_is_new(
    good: Path, empty: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(good), *empty]) == 0
    output = capsys.readouterr()
    assert "all of it would be new" in output.err
    assert "web" in output.out


def test_plan_as_json_is_one_object(good: Path, empty: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--json", str(good), *empty]) == 0
    assert isinstance(json.loads(capsys.readouterr().out), dict)


def test_plan_of_a_wrong_file_is_refused(
    good: Path, empty: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    good.write_text(WRONG)
    assert main(["plan", str(good), *empty]) == 1
    assert "$.services[0]" in capsys.readouterr().err


# --- without root --------------------------------------------------------------------------------------------


# a user that owns nothing and may do nothing but read: the interpreter may be in root's home
NOBODY = [
    "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all,+dac_read_search",
    "--ambient-caps=-all,+dac_read_search", "--bounding-set=-all,+dac_read_search",
]  # fmt: skip


def as_nobody(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """The command as an unprivileged user."""
    become = NOBODY if os.geteuid() == 0 else []
    return subprocess.run(
        [*become, sys.executable, "-m", "ebpfmesh", *map(str, words)],
        env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_run_without_root_is_one_clear_error(good: Path) -> None:
    good.write_text(GOOD.replace('"/demo"', '"/"').replace("cgroup =", "allow_root_cgroup = true\ncgroup ="))
    done = as_nobody("run", good, "--run-root", "/run/ebpfmesh-nobody")
    assert done.returncode == 1
    assert done.stderr.startswith("ebpfmesh: error: ")
    assert done.stderr.count("\n") == 1
    assert "run as root" in done.stderr


def test_doctor_without_root_says_what_is_missing_and_to_run_it_as_root() -> None:
    done = as_nobody("doctor")
    assert done.returncode == 1
    assert "missing CAP_BPF" in done.stdout
    assert "run as root" in done.stdout
    assert "a mesh cannot run here as it is" in done.stdout
    assert done.stderr == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="the run directory must be root's")
@pytest.mark.parametrize("command", ["status", "stop", "cleanup"])
def test_root_s_mesh_without_root_is_one_clear_error(command: str, tmp_path: Path) -> None:
    lock = Lock.take(RunDirectory("demo", tmp_path / "run"))
    done = as_nobody(command, "demo", "--run-root", tmp_path / "run")
    lock.release(remove=True)
    assert done.returncode == 1
    assert done.stderr.startswith("ebpfmesh: error: ")
    assert done.stderr.count("\n") == 1


def test_doctor_without_libbpf_says_which_package_to_install() -> None:
    script = (
        "import sys\nfrom ebpfmesh.lowlevel import libbpf\nlibbpf._LIBBPF = 'libbpf.so.99'\n"
        "from ebpfmesh.cli.main import main\nsys.exit(main(['doctor']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "missing libbpf" in done.stdout
    assert "apt-get install libbpf1" in done.stdout
    assert done.stderr == ""


# --- output --------------------------------------------------------------------------------------------------


def test_a_table_aligns_text_left_and_numbers_right() -> None:
    assert (
        table(["NAME", "N"], [["a", 5], ["long-name", 12345]])
        == "NAME           N\na              5\nlong-name  12345"
    )


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 << 20, "5.0 MiB"), (3 << 40, "3072.0 GiB")],
)
def test_sizes_are_readable(count: int, text: str) -> None:
    assert size(count) == text


def test_one_is_singular() -> None:
    assert (plural(1, "map"), plural(0, "map"), plural(2, "map")) == ("1 map", "0 maps", "2 maps")
