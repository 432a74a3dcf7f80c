"""``ebpfmesh build-parser``: what it makes, and what it says where it cannot. From an installed wheel: test_build.py."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from probe import HEADER, text

from ebpfmesh.cli.main import main
from ebpfmesh.errors import SpecError
from ebpfmesh.include import get_include
from ebpfmesh.l7 import native
from ebpfmesh.l7.build import build_parser
from ebpfmesh.l7.contract import REQUEST
from ebpfmesh.spec import ObjectSpec

CORE = HEADER.read_text()


def source(directory: Path, old: str = "", new: str = "", name: str = "probe.h") -> Path:
    """The probe core with one piece of its text replaced."""
    assert old in CORE
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    path.write_text(CORE.replace(old, new) if old else CORE)
    return path


def failed(capfd: pytest.CaptureFixture[str], *words: str | Path) -> tuple[str, str]:
    """The error that the command ends with, and what it said before that."""
    assert main(["build-parser", *map(str, words)]) == 1
    printed, errors = capfd.readouterr()
    *before, last = errors.splitlines()
    assert not printed
    assert last.startswith("ebpfmesh: error: ")
    return last.removeprefix("ebpfmesh: error: "), "\n".join(before)


def test_a_core_becomes_a_library_and_an_object(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["build-parser", str(source(tmp_path)), "-o", str(tmp_path / "out")]) == 0
    lines, warnings = capfd.readouterr()
    library, made = tmp_path / "out/probe.so", tmp_path / "out/probe.bpf.o"
    assert [line.split(" (")[0] for line in lines.splitlines()] == [str(library), str(made)]
    assert not warnings
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["probe.bpf.o", "probe.so"]
    (event,) = native.load(library, "probe").connection().feed(REQUEST, text(b"hello"))
    assert event.text == b"hello"
    spec = ObjectSpec.from_file(made)
    assert {"probe_tc", "probe_sk_msg", "probe_sk_skb"} <= set(spec.programs)


def test_a_file_that_includes_its_core_is_as_good(tmp_path: Path) -> None:
    source(tmp_path / "include", name="deep.h")
    path = tmp_path / "mine.c"
    path.write_text('#include "include/deep.h"\n')
    built = build_parser(path, output=tmp_path)
    assert (built.name, built.library.name) == ("probe", "probe.so")


def test_a_library_holds_the_core_only(tmp_path: Path) -> None:
    built = build_parser(source(tmp_path), output=tmp_path)
    with built.library.open("rb") as file:
        symbols = ELFFile(file).get_section_by_name(".dynsym").iter_symbols()
        defined = {one.name for one in symbols if one["st_shndx"] != "SHN_UNDEF"}
    assert defined == {"l7_core_probe"}


@pytest.mark.parametrize("compiler", ["clang", "ziglang"])
def test_two_builds_give_the_same_bytes_and_no_path_of_the_machine(tmp_path: Path, compiler: str) -> None:
    if not (shutil.which(compiler) or importlib.util.find_spec(compiler)):
        pytest.skip(f"{compiler} is not installed")
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "EBPFMESH_CC": compiler}
    here = build_parser(source(tmp_path / "here"), output=tmp_path / "a", environ=environ)
    there = build_parser(source(tmp_path / "some where else"), output=tmp_path / "b c", environ=environ)
    for one, other in ((here.library, there.library), (here.object, there.object)):
        assert one.read_bytes() == other.read_bytes()
        assert str(tmp_path).encode() not in one.read_bytes()
        assert get_include().encode() not in one.read_bytes()


TWO = CORE.replace("probe", "other").replace("PROBE", "OTHER")


def test_one_of_several_cores_is_chosen_by_name(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source(tmp_path)
    (tmp_path / "other.h").write_text(TWO)
    both = tmp_path / "both.c"
    both.write_text('#include "probe.h"\n#include "other.h"\n')
    error, _ = failed(capfd, both, "-o", tmp_path / "out")
    assert error == f"{both}: defines several cores (choose one with --name: other, probe)"
    error, _ = failed(capfd, both, "-o", tmp_path / "out", "--name", "third")
    assert error == f"{both}: defines no core 'third' (there are: other, probe)"
    assert build_parser(both, name="other", output=tmp_path / "out").library.name == "other.so"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["other.bpf.o", "other.so"]


# --- what cannot be built -------------------------------------------------------------------------------------------


def test_an_absent_file_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    error, _ = failed(capfd, tmp_path / "absent.h")
    assert error == f"{tmp_path}/absent.h: no such file (name the C text of a core)"
    error, _ = failed(capfd, tmp_path)
    assert error.startswith(f"{tmp_path}: no such file")


@pytest.mark.parametrize("output", ["/proc/nowhere", "taken"])
def test_a_directory_that_cannot_be_made_is_named(
    tmp_path: Path, output: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("a file\n")
    error, _ = failed(capfd, source(tmp_path), "-o", tmp_path / output)
    assert error.startswith(f"{tmp_path / output}: ")
    assert "-o" in error


def test_without_a_compiler_the_error_says_what_to_install(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    error, _ = failed(capfd, source(tmp_path))
    assert error == (
        "no compiler for BPF: neither clang >= 14 nor the Python package ziglang "
        "(apt-get install clang llvm, or pip install ziglang)"
    )


def test_a_wrong_choice_of_compiler_is_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EBPFMESH_CC", "no-such-clang")
    error, _ = failed(capfd, source(tmp_path))
    assert error == "EBPFMESH_CC=no-such-clang: no such program (name a clang, a zig, or ziglang)"


@pytest.mark.parametrize(
    ("header", "package"),
    [("bpf/not_there.h", "libbpf-dev"), ("linux/not_there.h", "linux-libc-dev"), ("string.h_", "")],
)
def test_a_missing_header_names_its_package(
    tmp_path: Path, header: str, package: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = source(
        tmp_path, "#include <ebpfmesh/parser.h>", f"#include <ebpfmesh/parser.h>\n#include <{header}>"
    )
    error, said = failed(capfd, path)
    if package:
        assert error.startswith(f"probe.h: the header <{header}> is missing (install ")
        assert package in error
    else:
        assert error == "probe.h does not compile"
        assert f"'{header}' file not found" in said


def test_what_the_compiler_says_is_shown_with_its_place(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = source(tmp_path, "half->got = 1;\n\t\t\ttables", "half->gott = 1;\n\t\t\ttables")
    line = path.read_text().splitlines().index("\t\t\thalf->gott = 1;") + 1
    error, said = failed(capfd, path, "-o", tmp_path / "out")
    assert error == "probe.h does not compile"
    assert f"probe.h:{line}:" in said
    assert "no member named 'gott'" in said
    assert list((tmp_path / "out").iterdir()) == []


def test_what_only_bpf_refuses_leaves_what_was_built(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    built = build_parser(source(tmp_path), output=tmp_path / "out")
    before = built.library.read_bytes(), built.object.read_bytes()
    broken = "#ifdef __bpf__\nint broken = undeclared;\n#endif\nL7_DETECTOR(probe)"
    error, said = failed(capfd, source(tmp_path, "L7_DETECTOR(probe)", broken), "-o", tmp_path / "out")
    assert (error, "undeclared" in said) == ("probe.h does not compile", True)
    assert (built.library.read_bytes(), built.object.read_bytes()) == before
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_a_warning_is_shown_and_no_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = source(tmp_path, "__u32 at = window->start;\n\n\tif", "__u32 at = window->start, spare;\n\n\tif")
    assert main(["build-parser", str(path), "-o", str(tmp_path)]) == 0
    assert "unused variable 'spare'" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("L7_PARSER(probe, struct probe_tables)", "", "defines no core"),
        ("probe", "Probe", "'Probe' cannot be the name of a core"),
        ("probe", "p" * 40, f"'{'p' * 40}' cannot be the name of a core"),
        (
            "L7_PARSER(probe, struct probe_tables)",
            "#define MINE L7_PARSER(probe, struct probe_tables)\nMINE",
            "the type of the tables of probe cannot be read",
        ),
    ],
)
def test_a_text_that_defines_no_core_says_what_is_missing(
    tmp_path: Path, old: str, new: str, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = source(tmp_path, old, new)
    error, _ = failed(capfd, path, "-o", tmp_path / "out")
    assert error.startswith(f"{path}: {reason} (")
    assert "L7_PARSER(" in error or "lower-case" in error
    assert list((tmp_path / "out").iterdir()) == []


def test_a_core_that_brings_another_contract_is_refused(tmp_path: Path) -> None:
    contract = Path(get_include(), "ebpfmesh/parser.h").read_text()
    (tmp_path / "parser.h").write_text(contract.replace("__u64 key[2];", "__u64 key[4];"))
    path = source(tmp_path, "<ebpfmesh/parser.h>", '"parser.h"')
    with pytest.raises(SpecError, match="struct l7_config has 456 bytes there and 440 here"):
        build_parser(path, output=tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
