"""What the build of the native library promises: every core in it, the same bytes anywhere, nothing built twice."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import native_library
import pytest
from native_library import BuildError

from ebpfmesh.bpf.compiler import find_compiler
from ebpfmesh.bpf.cores import NO_TABLES, parsers_of
from ebpfmesh.l7 import native

CORE = """
#include <ebpfmesh/parser.h>

L7_INLINE int NAME_confidence(struct l7_window *window)
{
	return window->end > 7;
}

L7_INLINE int NAME_core(struct l7_config *config, struct l7_window *window, struct l7_state *state,
			struct l7_record *record)
{
	(void)config;
	(void)state;
	return l7_pass(record, 0, window->end - window->start);
}

L7_DETECTOR(NAME)
L7_PARSER_WITHOUT_TABLES(NAME)
"""


def sources(directory: Path, *names: str) -> Path:
    """A directory of programs as ours, whose cores are ``names``."""
    include = directory / "include/ebpfmesh"
    (include / "l7").mkdir(parents=True)
    for name in ("parser.h", "drive.h"):
        shutil.copy(native_library.SOURCES / "include/ebpfmesh" / name, include)
    shutil.copytree(
        native_library.SOURCES / "native", directory / "native", ignore=shutil.ignore_patterns("*.so")
    )
    for name in names:
        (include / "l7" / f"{name}.h").write_text(CORE.replace("NAME", name))
    (include / "l7/shared.h").write_text("/* no core */\n")
    return directory


def built(directory: Path, **options: object) -> tuple[Path, list[str]]:
    """Build it, stamps beside it: the library, and what was reported."""
    lines: list[str] = []
    environ = {**os.environ, **{key: str(value) for key, value in options.items() if key.isupper()}}
    made = native_library.build(
        directory, stamps=directory.parent / "stamps", report=lines.append, environ=environ,
        keep_going=bool(options.get("keep_going")),
    )  # fmt: skip
    return made, lines


def compilers() -> list[str]:
    """The values of EBPFMESH_CC that can be tried here."""
    found = ["clang"] if shutil.which("clang") else []
    return found + (["ziglang"] if importlib.util.find_spec("ziglang") else [])


def test_every_built_in_core_is_in_the_library_and_fits() -> None:
    names = [name for unit in native_library.units().values() for name in unit.cores]
    assert {"http1", "http2", "grpc", "redis"} <= set(names)
    for name in names:
        core = native.builtin(name)
        native._compare(core)
        assert core.has_detect


def test_each_core_is_declared_once() -> None:
    names = [name for unit in native_library.units().values() for name in unit.cores]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("compiler", compilers())
def test_each_compiler_makes_a_library_that_runs(tmp_path: Path, compiler: str) -> None:
    path, _ = built(sources(tmp_path / "bpf", "one", "two"), EBPFMESH_CC=compiler)
    library = ctypes.CDLL(os.fspath(path))
    for name in ("one", "two"):
        core = ctypes.c_char.in_dll(library, f"l7_core_{name}")
        assert library.l7_detect(ctypes.byref(core), 0, b"12345678", 8) == 1
    assert not hasattr(library, "one_parse")  # nothing of a core is exported but its description


@pytest.mark.parametrize("compiler", compilers())
def test_two_builds_in_different_directories_give_the_same_bytes(tmp_path: Path, compiler: str) -> None:
    here, _ = built(sources(tmp_path / "here/bpf", "one"), EBPFMESH_CC=compiler)
    there, _ = built(sources(tmp_path / "some where/else/bpf", "one"), EBPFMESH_CC=compiler)
    assert here.read_bytes() == there.read_bytes()
    assert str(tmp_path).encode() not in here.read_bytes()


def test_what_did_not_change_is_not_built_again_and_a_core_more_or_less_is_a_change(tmp_path: Path) -> None:
    directory = sources(tmp_path / "bpf", "one")
    path, first = built(directory)
    before = path.read_bytes()
    assert (len(first), built(directory)[1]) == (1, [])
    header = directory / "include/ebpfmesh/l7/two.h"
    header.write_text(CORE.replace("NAME", "two"))
    assert len(built(directory)[1]) == 1
    assert path.read_bytes() != before
    header.unlink()
    assert len(built(directory)[1]) == 1
    assert path.read_bytes() == before


@pytest.mark.parametrize("change", ["core", "contract", "driver", "library"])
def test_what_changed_is_built_again(tmp_path: Path, change: str) -> None:
    directory = sources(tmp_path / "bpf", "one")
    path, _ = built(directory)
    include = directory / "include/ebpfmesh"
    match change:
        case "core":
            (include / "l7/one.h").write_text(CORE.replace("NAME", "one").replace("> 7", "> 8"))
        case "contract":
            (include / "parser.h").write_text(
                (include / "parser.h").read_text().replace("L7_STATE 256", "L7_STATE 248")
            )
        case "driver":
            with (directory / "native/feed.c").open("a") as file:
                file.write("\nL7_API int l7_more_of_it;\nint l7_more_of_it = 1;\n")
        case "library":
            path.write_bytes(path.read_bytes()[:-1])
    assert len(built(directory)[1]) == 1


def test_a_core_that_does_not_compile_is_an_error_and_leaves_the_library(tmp_path: Path) -> None:
    directory = sources(tmp_path / "bpf", "one", "two")
    path, _ = built(directory)
    before = path.read_bytes()
    (directory / "include/ebpfmesh/l7/two.h").write_text(
        CORE.replace("NAME", "two") + "int two = undeclared;\n"
    )
    with pytest.raises(BuildError, match=r"ebpfmesh/l7/two\.h does not compile:\n(.|\n)*undeclared"):
        built(directory)
    assert path.read_bytes() == before
    assert sorted(one.name for one in path.parent.iterdir()) == ["builtin.c", "feed.c", "feed.h", path.name]


def test_work_on_one_core_need_not_stop_the_others(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    directory = sources(tmp_path / "bpf", "one", "two")
    (directory / "include/ebpfmesh/l7/two.h").write_text(
        CORE.replace("NAME", "two") + "int two = undeclared;\n"
    )
    path, _ = built(directory, keep_going=True)
    library = ctypes.CDLL(os.fspath(path))
    assert hasattr(library, "l7_core_one")
    assert not hasattr(library, "l7_core_two")
    assert "LEFT OUT: ebpfmesh/l7/two.h" in capfd.readouterr().err


def test_the_same_core_twice_is_an_error(tmp_path: Path) -> None:
    directory = sources(tmp_path / "bpf", "one")
    (directory / "include/ebpfmesh/l7/two.h").write_text(CORE.replace("NAME", "one"))
    with pytest.raises(BuildError, match=r"cannot be linked:\n(.|\n)*l7_core_one"):
        built(directory)


@pytest.mark.parametrize("compiler", compilers())
def test_the_wheels_tag_is_that_of_the_oldest_glibc_that_will_do(tmp_path: Path, compiler: str) -> None:
    path, _ = built(sources(tmp_path / "bpf", "one"), EBPFMESH_CC=compiler)
    assert native_library.platform_tag(path).startswith("manylinux_2_17_")


def test_a_library_that_needs_another_is_for_this_machine_only(tmp_path: Path) -> None:
    (tmp_path / "needs.c").write_text("double cos(double);\ndouble needs(double a)\n{\n\treturn cos(a);\n}\n")
    made = tmp_path / "needs.so"
    command = [*find_compiler().native, "-shared", "-fPIC", tmp_path / "needs.c", "-o", made, "-lm"]
    subprocess.run(command, check=True, capture_output=True)
    assert native_library.platform_tag(made).startswith("linux_")


SANITIZED = """
#include "feed.h"
#include <stdlib.h>

extern const struct l7_core l7_core_one;

int main(int count, char **arguments)
{
	struct l7_config config = {.size = sizeof config};
	struct l7_connection *connection = l7_open(&l7_core_one, &config);
	char *data = malloc(1); /* and the library reads one byte more than there is */

	(void)arguments;
	data[0] = 'G';
	return l7_feed(l7_half_of(connection, L7_REQUEST), data, count | L7_AND_END) < 0;
}
"""


@pytest.mark.skipif(
    not shutil.which("clang"), reason="zig has no sanitizers' runtime (apt-get install clang)"
)
def test_the_units_build_with_sanitizers_that_see_what_is_wrong(tmp_path: Path) -> None:
    directory = sources(tmp_path / "bpf", "one")
    objects = []
    for name, unit in native_library.units(directory).items():
        objects.append(tmp_path / f"{name}.o")
        native_library.compile_unit(unit, objects[-1], flags=native_library.SANITIZERS, directory=directory)
    (tmp_path / "main.c").write_text(SANITIZED)
    include, native_headers = native_library.SOURCES / "include", native_library.SOURCES / "native"
    command = ["clang", *native_library.SANITIZERS, f"-I{include}", f"-I{native_headers}"]
    subprocess.run([*command, tmp_path / "main.c", *objects, "-o", tmp_path / "main"], check=True)
    environ = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    right = subprocess.run([tmp_path / "main"], env=environ, capture_output=True, text=True, check=False)
    assert (right.returncode, right.stderr) == (0, "")
    wrong = subprocess.run(
        [tmp_path / "main", "more"], env=environ, capture_output=True, text=True, check=False
    )
    assert wrong.returncode
    assert "heap-buffer-overflow" in wrong.stderr


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("L7_PARSER(a, struct a_tables)\n", {"a": "struct a_tables"}),
        ("L7_PARSER_WITHOUT_TABLES(a)\n", {"a": NO_TABLES}),
        (
            "\tL7_PARSER ( a ,\n\tstruct  a_tables )\nL7_PARSER_WITHOUT_TABLES(b)",
            {"a": "struct a_tables", "b": NO_TABLES},
        ),
        ("/* L7_PARSER(a, struct b)\nL7_PARSER(c, struct d) */ // L7_PARSER(e, f)\n", {}),
        ("#define L7_PARSER(name, tables_type) x\nuse of L7_PARSER(name, tables)\n", {}),
    ],
)
def test_the_cores_of_a_text_are_those_that_it_declares(text: str, found: dict[str, str]) -> None:
    assert parsers_of(text) == found
