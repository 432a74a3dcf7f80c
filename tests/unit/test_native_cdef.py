"""The declarations that cffi calls the native library by, held against its headers: a wrong one would crash."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_cdef import complaints, functions

from ebpfmesh.include import get_include

NATIVE = Path(get_include()).parent / "native"
DECLARATIONS = (Path(get_include()).parents[1] / "l7/native.h").read_text()
HEADERS = """
#include <stddef.h>
#include <stdint.h>
#include <dlfcn.h>
extern "C" {
#include "feed.h"
}
"""


def wrong(declarations: str, directory: Path) -> list[str]:
    """What the headers say against ``declarations``."""
    return complaints(declarations, directory, HEADERS, f"-I{get_include()}", f"-I{NATIVE}", "-w")


def test_every_declaration_is_examined() -> None:
    names = functions(DECLARATIONS)
    assert {"l7_open", "l7_feed", "l7_flow_of", "dlopen", "dlerror"} <= set(names)
    assert (
        len(names)
        == len(set(names))
        == re.sub(r"/\*.*?\*/|typedef[^;]*;", "", DECLARATIONS, flags=re.S).count(");")
    )
    header = (NATIVE / "feed.h").read_text()
    assert set(functions(header.replace("L7_API ", ""))) == {name for name in names if name.startswith("l7_")}


def test_declarations_have_the_shape_of_the_headers(tmp_path: Path) -> None:
    assert wrong(DECLARATIONS, tmp_path) == []


def test_structures_are_declared_whole(tmp_path: Path) -> None:
    exact = "".join(
        f'static_assert(sizeof(struct {name}) == {size}, "{name}");\n'
        for name, size in (("l7_core", 40), ("l7_flow", 32))
    )
    from ebpfmesh.l7._native import ffi

    assert (ffi.sizeof("struct l7_core"), ffi.sizeof("struct l7_flow")) == (40, 32)
    assert (
        complaints(DECLARATIONS, tmp_path, HEADERS + exact, f"-I{get_include()}", f"-I{NATIVE}", "-w") == []
    )


@pytest.mark.parametrize(
    ("right", "changed", "named"),
    [
        (
            "void *half, const void *data, unsigned long length);",
            "void *half, unsigned long length, const void *data);",
            "l7_feed: prototype",
        ),
        (
            "\t__u32 config_size;\n\t__u32 record_size;",
            "\t__u32 record_size;\n\t__u32 config_size;",
            "config_size: offset",
        ),
        ("\t__u64 gap;", "\t__u32 gap;", "struct l7_flow.gap: type"),
        ("char *dlerror(void);", "int dlerror(void);", "dlerror: prototype"),
    ],
)
def test_a_wrong_declaration_is_named(right: str, changed: str, named: str, tmp_path: Path) -> None:
    assert right in DECLARATIONS
    found = wrong(DECLARATIONS.replace(right, changed, 1), tmp_path)
    assert any(named in line for line in found), found
