"""What either compiler makes of our programs is accepted by the verifier."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import bpf_objects
import pytest

from ebpfmesh import objects
from ebpfmesh.spec import ObjectSpec

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("compiler", ["clang", "ziglang"])
def test_the_objects_of_each_compiler_load(tmp_path: Path, compiler: str) -> None:
    if compiler == "clang" and not shutil.which("clang"):
        pytest.skip("clang is not installed")
    if compiler == "ziglang" and not importlib.util.find_spec("ziglang"):
        pytest.skip("ziglang is not installed (pip install ziglang)")
    copy = shutil.copytree(bpf_objects.SOURCES, tmp_path / "bpf", ignore=shutil.ignore_patterns("*.o"))
    made = bpf_objects.build(
        copy, stamps=tmp_path / "stamps", environ={**os.environ, "EBPFMESH_CC": compiler}
    )
    assert made
    for path in made:
        spec = ObjectSpec.from_file(path)
        with objects.load(spec, programs=list(spec.programs)) as loaded:  # those marked optional too
            assert set(loaded.programs) == set(spec.programs)
            assert all(program.fd >= 0 for program in loaded.programs.values())
