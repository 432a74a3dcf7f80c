"""``ebpfmesh inspect``: the answer for people and for machines, and the error for what is no object."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from spec_objects import HEADER, LICENSE, compile_object, sample

from ebpfmesh.cli.main import main


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "sample.bpf.o"
    found.write_bytes(sample())
    return found


def test_people_see_programs_maps_and_variables(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{path}: {path.stat().st_size} bytes, licence GPL"
    text = "\n".join(" ".join(line.split()) for line in lines)
    assert "refuse cgroup/connect4 CGROUP_SOCK_ADDR CGROUP_INET4_CONNECT 2 loaded on request only" in text
    assert "flows: HASH, 10 entries, NO_PREALLOC, pinned by name" in text
    assert "key 88 bytes struct key { u8 address[16]; __u16 port;" in text
    assert "outer.inner: ARRAY, 4 entries" in text
    assert "limit .rodata 0 4 __u32" in text


def test_machines_get_one_json_document(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    programs = {program["name"]: program for program in document["programs"]}
    assert programs["classify"]["type"] == "SCHED_CLS"
    assert programs["classify"]["attach_type"] is None
    assert not programs["refuse"]["autoload"]
    maps = {map["name"]: map for map in document["maps"]}
    assert maps["flows"]["flags"] == ["NO_PREALLOC"]
    assert maps["flows"]["value"]["signature"] == "u64"
    assert maps["outer"]["inner"]["value_size"] == 2
    assert {variable["name"] for variable in document["variables"]} >= {"limit", "counter", "classify.runs"}


def test_what_is_no_object_is_one_line_on_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.o"
    wrong.write_text("no object")
    assert main(["inspect", str(wrong)]) != 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "it is no ELF file" in captured.err


def test_an_object_without_maps_and_variables_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "small.o"
    path.write_bytes(compile_object(HEADER + 'SEC("strange") int p(void *context) { return 0; }' + LICENSE))
    assert main(["inspect", str(path)]) == 0
    out = capsys.readouterr().out
    assert "unknown section" in out
    assert "0 maps" in out


def test_names_of_an_object_cannot_steer_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "evil.o"
    path.write_bytes(sample().replace(b"classify\0", b"\x1b[2Jfy!!\0"))
    assert main(["inspect", str(path)]) == 0
    assert "\x1b" not in capsys.readouterr().out
