"""What the build promises: reproducible objects, clear refusals, a wheel that needs no compiler."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import zipfile
from pathlib import Path

import bpf_objects
import native_library
import packaging.tags
import pytest
import stamps

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.timeout(600)  # the first test of the wheel compiles everything twice

SAMPLE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "sample.h"

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 16);
    __type(key, struct key);
    __type(value, __u64);
} NAME SEC(".maps");

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
    struct key key = { .cookie = bpf_get_netns_cookie(ctx), .address = ctx->user_ip4 };
    __u64 *count = bpf_map_lookup_elem(&NAME, &key);

    if (count)
        __sync_fetch_and_add(count, 1);
    return 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
"""
HEADER = "struct key {\n    __u64 cookie;\n    __u32 address;\n    __u32 padding;\n};\n"


def sample(directory: Path, *, map_name: str = "counts", source: str = SAMPLE) -> Path:
    """A directory with one program and one header; returns it."""
    (directory / "include").mkdir(parents=True)
    (directory / "include" / "sample.h").write_text(HEADER)
    (directory / "sample.bpf.c").write_text(source.replace("NAME", map_name))
    return directory


def built(directory: Path, **environ: str) -> tuple[Path, list[str]]:
    """Build ``directory`` (stamps beside it): its one object, and what was reported as built."""
    lines: list[str] = []
    made = bpf_objects.build(
        directory, stamps=directory.parent / "stamps", report=lines.append, environ={**os.environ, **environ}
    )
    return made[0], lines


def compilers() -> list[str]:
    """The values of EBPFMESH_CC that can be tried here."""
    found = ["clang"] if shutil.which("clang") else []
    return found + (["ziglang"] if importlib.util.find_spec("ziglang") else [])


@pytest.mark.parametrize("compiler", compilers())
def test_two_builds_in_different_directories_give_the_same_bytes(tmp_path: Path, compiler: str) -> None:
    here, _ = built(sample(tmp_path / "here" / "programs"), EBPFMESH_CC=compiler)
    there, _ = built(sample(tmp_path / "some where" / "else" / "programs"), EBPFMESH_CC=compiler)
    assert here.read_bytes() == there.read_bytes()
    assert str(tmp_path).encode() not in here.read_bytes()


@pytest.mark.parametrize("compiler", compilers())
def test_an_object_holds_btf_for_its_program_and_its_map(tmp_path: Path, compiler: str) -> None:
    from elftools.elf.elffile import ELFFile

    made, _ = built(sample(tmp_path / "programs"), EBPFMESH_CC=compiler)
    with made.open("rb") as file:
        elf = ELFFile(file)
        names = {section.name for section in elf.iter_sections()}
        assert (elf["e_machine"], elf.little_endian) == ("EM_BPF", True)
        assert {".BTF", ".BTF.ext", ".maps", "cgroup/connect4", "license"} <= names
        if shutil.which("llvm-strip"):
            assert not any(name.startswith(".debug") for name in names)


def test_what_did_not_change_is_not_built_again(tmp_path: Path) -> None:
    directory = sample(tmp_path / "programs")
    made, first = built(directory)
    before = made.stat().st_mtime_ns
    _, second = built(directory)
    assert (len(first), second) == (1, [])
    assert made.stat().st_mtime_ns == before


@pytest.mark.parametrize("change", ["source", "header", "object", "flags"])
def test_what_changed_is_built_again(tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = sample(tmp_path / "programs")
    made, _ = built(directory)
    match change:
        case "source":
            path = directory / "sample.bpf.c"
            path.write_text(path.read_text() + "\n/* changed */\n")
        case "header":
            (directory / "include/sample.h").write_text(HEADER + "#define MORE 1\n")
        case "object":
            made.write_bytes(made.read_bytes()[:-1])
        case "flags":
            monkeypatch.setattr(bpf_objects, "FLAGS", (*bpf_objects.FLAGS, "-DMORE"))
    assert len(built(directory)[1]) == 1


def test_a_map_name_that_the_kernel_would_cut_is_refused(tmp_path: Path) -> None:
    assert built(sample(tmp_path / "fits", map_name="a" * 15))[1]
    with pytest.raises(
        bpf_objects.BuildError, match=r"sample\.bpf\.c: the map name 'a{16}' has 16 characters"
    ):
        built(sample(tmp_path / "long", map_name="a" * 16))


def test_a_refused_source_leaves_the_object_as_it_was(tmp_path: Path) -> None:
    directory = sample(tmp_path / "programs")
    made, _ = built(directory)
    before = made.read_bytes()
    (directory / "sample.bpf.c").write_text("int broken(void) { return undeclared; }\n")
    with pytest.raises(bpf_objects.BuildError, match=r"sample\.bpf\.c does not compile:\n.*undeclared"):
        built(directory)
    assert made.read_bytes() == before
    assert sorted(path.name for path in directory.iterdir()) == ["include", "sample.bpf.c", "sample.bpf.o"]


def test_a_warning_is_an_error(tmp_path: Path) -> None:
    source = SAMPLE.replace("return 1;", "int unused; return 1;")
    with pytest.raises(bpf_objects.BuildError, match="unused"):
        built(sample(tmp_path / "programs", source=source))


@pytest.mark.parametrize(
    ("header", "package"), [("bpf/not_there.h", "libbpf-dev"), ("linux/not_there.h", "linux-libc-dev")]
)
def test_a_missing_header_names_its_package(tmp_path: Path, header: str, package: str) -> None:
    source = f"#include <{header}>\n{SAMPLE}"
    with pytest.raises(bpf_objects.BuildError, match=rf"the header <{header}> is missing .*{package}"):
        built(sample(tmp_path / "programs", source=source))


def test_without_any_compiler_the_error_says_what_to_install(tmp_path: Path) -> None:
    # -S leaves out site-packages, and with them ziglang
    result = subprocess.run(
        [sys.executable, "-S", ROOT / "build_tools/bpf_objects.py", sample(tmp_path / "programs")],
        env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert "apt-get install clang llvm, or pip install ziglang" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("chosen", "reason"), [("no-such-clang", "no such program"), ("true", "not a clang")]
)
def test_a_wrong_compiler_is_refused_by_name(tmp_path: Path, chosen: str, reason: str) -> None:
    with pytest.raises(bpf_objects.BuildError, match=f"EBPFMESH_CC={chosen}: {reason}"):
        built(sample(tmp_path / "programs"), EBPFMESH_CC=chosen)


def test_pip_fetches_a_compiler_only_where_none_is(tmp_path: Path) -> None:
    assert bpf_objects.requirements({"PATH": str(tmp_path)}) == ["ziglang"]
    assert bpf_objects.requirements({"PATH": str(tmp_path), "EBPFMESH_CC": "ziglang"}) == ["ziglang"]
    if shutil.which("clang"):
        assert bpf_objects.requirements({"PATH": os.environ["PATH"]}) == []


# --- wheel and sdist ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel and the sdist of a copy of this tree, and the wheel made of that sdist."""
    place = tmp_path_factory.mktemp("dist")
    unwanted = shutil.ignore_patterns(
        ".git",
        ".venv",
        "build",
        "dist",
        ".*_cache",
        "__pycache__",
        "*.bpf.o",
        "*.so",
        "_libbpf.py",
        "_native.py",
    )
    tree = shutil.copytree(ROOT, place / "tree", ignore=unwanted)
    wheel = _build(tree, "wheel", place / "first")
    sdist = _build(tree, "sdist", place / "first")
    (place / "unpacked").mkdir()
    # Python's own unpacking wants a filter from 3.12 on, which Debian 12's 3.11.2 does not know
    subprocess.run(["tar", "-xf", sdist, "-C", place / "unpacked"], check=True)
    (unpacked,) = (place / "unpacked").iterdir()
    return {
        "wheel": wheel,
        "sdist": sdist,
        "wheel of the sdist": _build(unpacked, "wheel", place / "second"),
    }


def _build(tree: Path, kind: str, target: Path) -> Path:
    """One distribution of ``tree``, with the build requirements of this environment."""
    before = set(target.glob("*"))
    result = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", target],
        cwd=tree, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    (made,) = set(target.glob("*")) - before
    return made


def test_the_wheel_holds_built_objects_licences_and_the_marker_of_types(
    distributions: dict[str, Path],
) -> None:
    names = set(zipfile.ZipFile(distributions["wheel"]).namelist())
    for source in (ROOT / "src/ebpfmesh/bpf").rglob("*.bpf.c"):
        assert str(source.relative_to(ROOT / "src").with_suffix(".o")) in names
    assert {"ebpfmesh/py.typed", "ebpfmesh/lowlevel/_libbpf.py", "ebpfmesh/bpf/LICENSE"} <= names
    assert {"ebpfmesh/l7/_native.py", f"ebpfmesh/bpf/{native_library.LIBRARY}"} <= names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_wheel_is_for_this_architecture_and_any_python(distributions: dict[str, Path]) -> None:
    name, archive = distributions["wheel"].name, zipfile.ZipFile(distributions["wheel"])
    tag = name.removesuffix(".whl").split("-", 2)[2]
    assert re.fullmatch(rf"py3-none-(manylinux_2_\d+|linux)_{platform.machine()}", tag)
    (metadata,) = [archive.read(name) for name in archive.namelist() if name.endswith(".dist-info/WHEEL")]
    assert f"Tag: {tag}".encode() in metadata
    assert b"Root-Is-Purelib: false" in metadata
    assert tag.rpartition("-")[2] in {one.platform for one in packaging.tags.sys_tags()}  # pip takes it here


def test_the_wheel_holds_what_a_parser_of_somebody_else_includes(distributions: dict[str, Path]) -> None:
    names = set(zipfile.ZipFile(distributions["wheel"]).namelist())
    headers = {
        str(path.relative_to(ROOT / "src")) for path in (ROOT / "src/ebpfmesh/bpf/include").rglob("*.h")
    }
    assert "ebpfmesh/bpf/include/ebpfmesh/parser.h" in headers
    assert headers <= names


def test_the_sdist_holds_sources_only_and_builds_the_same_wheel(distributions: dict[str, Path]) -> None:
    import tarfile

    with tarfile.open(distributions["sdist"]) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    assert not [
        name for name in names if name.endswith((".bpf.o", ".so", "/_libbpf.py", "/_native.py", ".pyc"))
    ]
    assert {"build_tools/bpf_objects.py", "hatch_build.py", "Makefile", "LICENSE"} <= set(names)
    digests = {
        hashlib.sha256(distributions[name].read_bytes()).hexdigest()
        for name in ("wheel", "wheel of the sdist")
    }
    assert len(digests) == 1


@pytest.fixture(scope="module")
def installed(distributions: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel in a virtual environment: its directory ``bin``."""
    venv = tmp_path_factory.mktemp("installed") / "venv"
    python = venv / "bin/python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, distributions["wheel"]], check=True)
    # its dependencies are those of this environment; its own site-packages come first
    (site,) = venv.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return venv / "bin"


def run(installed: Path, *command: str | Path, path: str = "") -> str:
    """What a command of the environment prints; it finds other programs in ``path`` only."""
    result = subprocess.run(
        [installed / command[0], *command[1:]], cwd=installed.parent, env={"PATH": path or str(installed)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_wheel_reads_its_objects_and_runs_its_cores_without_a_compiler(installed: Path) -> None:
    program = """
import ebpfmesh, ebpfmesh.lowlevel.libbpf, pathlib
from ebpfmesh.l7 import native
from ebpfmesh.spec import ObjectSpec
here = pathlib.Path(ebpfmesh.__file__).parent
specs = [ObjectSpec.from_file(path) for path in sorted(here.rglob('*.bpf.o'))]
events = native.builtin("http1").connection().feed(0, b"GET /here HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
print(here, sum(len(spec.programs) for spec in specs), sum(len(spec.maps) for spec in specs), events[0].bytes_of(1))
"""
    where, programs, maps, target = run(installed, "python", "-c", program).split()
    assert Path(where).is_relative_to(installed.parent)
    assert int(programs) > 0
    assert int(maps) > 0
    assert target == "b'/here'"


def test_the_wheel_builds_the_parser_of_somebody_else_with_clang_only(
    installed: Path, tmp_path: Path
) -> None:
    if not shutil.which("clang"):
        pytest.skip("clang is not installed")
    core = shutil.copy(ROOT / "tests/unit/probe.h", tmp_path / "probe.h")
    include = Path(run(installed, "python", "-c", "import ebpfmesh; print(ebpfmesh.get_include())").strip())
    assert include.is_relative_to(installed.parent)
    assert (include / "ebpfmesh/parser.h").is_file()
    printed = run(
        installed, "ebpfmesh", "build-parser", core, "-o", tmp_path / "out", path=os.environ["PATH"]
    )
    assert [line.partition(" ")[0] for line in printed.splitlines()] == [
        str(tmp_path / "out/probe.so"),
        str(tmp_path / "out/probe.bpf.o"),
    ]
    program = """
import pathlib, sys
from ebpfmesh.l7 import native
from ebpfmesh.spec import ObjectSpec
library, object = map(pathlib.Path, sys.argv[1:])
print(native.load(library, "probe").connection().feed(0, b"t\\0\\0\\0\\5hello")[0].text)
print(sorted(ObjectSpec.from_file(object).programs))
"""
    made = (tmp_path / "out/probe.so", tmp_path / "out/probe.bpf.o")
    assert run(installed, "python", "-c", program, *made).splitlines() == [
        "b'hello'",
        "['probe_sk_msg', 'probe_sk_skb', 'probe_tc']",
    ]


def test_building_again_costs_little(tmp_path: Path) -> None:
    directory = sample(tmp_path / "programs")
    built(directory)
    start = time.monotonic()
    built(directory)
    assert time.monotonic() - start < 10  # a build takes longer; what it takes here depends on who else runs


def test_a_source_that_changes_while_it_is_compiled_is_built_again(tmp_path: Path) -> None:
    source, target, stamp = tmp_path / "one.c", tmp_path / "one.o", tmp_path / "one.json"
    since = time.time_ns()
    source.write_text("new")  # the compiler may have read what was there before
    target.write_text("old, compiled")
    os.utime(source, ns=(since, since))
    stamps.write(stamp, target, "key", [source], tmp_path, since=since)
    assert not stamps.is_current(stamp, target, "key", tmp_path)
    stamps.write(stamp, target, "key", [source], tmp_path, since=since + 1)
    assert stamps.is_current(stamp, target, "key", tmp_path)
