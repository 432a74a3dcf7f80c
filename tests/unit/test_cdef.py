"""The declarations that cffi calls libbpf by, held against the distribution's headers: a wrong one would crash.

For every declaration of libbpf.h and libc.h a C++ file asserts that the real one has the same shape, and the compiler
judges: same number of arguments, each of the same size and kind, every declared field at the same offset.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cffi import FFI

LOWLEVEL = Path(__file__).parents[2] / "src/ebpfmesh/lowlevel"
DECLARATIONS = "".join((LOWLEVEL / name).read_text() for name in ("libbpf.h", "libc.h"))

# Same<A, B>: passing a B where an A is declared is the same machine code, and the pointer points to what was meant.
LIBBPF = """
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>
#include <linux/bpf.h>
#include <linux/netlink.h>
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
"""
PREAMBLE = """
#define _Bool bool
template <class T> struct Bare { typedef T type; };
template <class T> struct Bare<const T> { typedef T type; };
template <class A, class B> struct Same {
    static constexpr bool value = !__is_class(A) && !__is_class(B) && sizeof(A) == sizeof(B);
};
template <> struct Same<void, void> { static constexpr bool value = true; };
template <class A, class B> struct Same<A *, B> { static constexpr bool value = false; };
template <class A, class B> struct Same<A, B *> { static constexpr bool value = false; };
template <class A, class B> struct Pointee {
    static constexpr bool value = __is_same(A, B) || __is_union(A) || __is_union(B);
};
template <class A> struct Pointee<A, void> { static constexpr bool value = true; };
template <class A> struct Pointee<void, A> { static constexpr bool value = true; };
template <> struct Pointee<void, void> { static constexpr bool value = true; };
template <class A, class B> struct Same<A *, B *> {
    static constexpr bool value = Pointee<typename Bare<A>::type, typename Bare<B>::type>::value;
};
template <class A, class B, class... P, class... Q> struct Same<A (*)(P...), B (*)(Q...)> {
    template <bool equal, class = void> struct Each { static constexpr bool value = false; };
    template <class unused> struct Each<true, unused> { static constexpr bool value = (Same<P, Q>::value && ...); };
    static constexpr bool value = Same<A, B>::value && Each<sizeof...(P) == sizeof...(Q)>::value;
};
template <class A, class B, class... P, class... Q> struct Same<A (*)(P..., ...), B (*)(Q..., ...)> {
    static constexpr bool value = Same<A (*)(P...), B (*)(Q...)>::value;
};
// the C library's functions are noexcept in C++, which changes their type and nothing else
template <class A, class B, class... P, class... Q> struct Same<A (*)(P...), B (*)(Q...) noexcept> {
    static constexpr bool value = Same<A (*)(P...), B (*)(Q...)>::value;
};
template <class A, class B, class... P, class... Q> struct Same<A (*)(P..., ...), B (*)(Q..., ...) noexcept> {
    static constexpr bool value = Same<A (*)(P...), B (*)(Q...)>::value;
};
"""


def host_compiler() -> list[str]:
    """A C++ compiler for this machine; clang is there where the BPF objects were built with it."""
    for name in ("clang", "clang++", "g++", "c++"):
        if found := shutil.which(name):
            return [found, "-x", "c++", "-std=c++17", "-fsyntax-only", "-Wno-invalid-offsetof"]
    if os.environ.get("EBPFMESH_REQUIRE_KERNEL") == "1":
        pytest.fail("no C++ compiler (apt-get install clang libc6-dev libbpf-dev)")
    pytest.skip("no C++ compiler (apt-get install clang libc6-dev libbpf-dev)")


def assertions(declarations: str, headers: str = LIBBPF) -> str:
    """One static_assert for every function and every field that ``declarations`` declares, against ``headers``."""
    ffi = FFI()
    ffi.cdef(declarations)
    lines = [headers, PREAMBLE]
    _typedefs, structs, _unions = ffi.list_types()
    for name in structs:
        struct: Any = ffi.typeof(f"struct {name}")
        for field, at in struct.fields or ():
            ours = ffi.getctype(at.type)
            where = f"struct {name}.{field}"
            lines += [
                f'static_assert(__builtin_offsetof(struct {name}, {field}) == {at.offset}, "{where}: offset");',
                f'static_assert(Same<{ours}, decltype({name}::{field})>::value, "{where}: type");',
            ]
        if struct.fields:
            lines.append(
                f'static_assert(sizeof(struct {name}) >= {ffi.sizeof(struct)}, "struct {name}: size");'
            )
    for name in functions(declarations):
        ours = prototype(ffi, declarations, name)
        lines.append(f'static_assert(Same<{ours}, decltype(&{name})>::value, "{name}: prototype");')
    return "\n".join(lines) + "\n"


def functions(declarations: str) -> list[str]:
    """The names of all functions that ``declarations`` declares."""
    plain = re.sub(r"/\*.*?\*/", "", declarations, flags=re.DOTALL)
    return re.findall(r"^[a-z_][^;{}()=]*?\b(\w+)\([^;{}]*\);", plain, flags=re.MULTILINE)


def prototype(ffi: FFI, declarations: str, name: str) -> str:
    """The declared type of function ``name`` as a pointer type, spelled for C++."""
    plain = re.sub(r"/\*.*?\*/", "", declarations, flags=re.DOTALL)
    found = re.search(rf"^([a-z_][^;{{}}()=]*?)\b{name}(\([^;{{}}]*\));", plain, flags=re.MULTILINE)
    assert found, name
    return ffi.getctype(ffi.typeof(f"{found[1]} (*){found[2]}"))


def complaints(declarations: str, directory: Path, headers: str = LIBBPF, *flags: str) -> list[str]:
    """What the compiler objects to in ``declarations``: one line each, empty if they are right."""
    source = directory / "declarations.cpp"
    source.write_text(assertions(declarations, headers))
    result = subprocess.run(
        [*host_compiler(), *flags, str(source)], capture_output=True, text=True, check=False
    )
    found = re.findall(r"(?:fatal )?error: (.*)", result.stderr)
    assert bool(found) == bool(result.returncode), result.stderr
    return found


def test_every_declaration_is_examined() -> None:
    names = functions(DECLARATIONS)
    assert len(names) == len(set(names))
    assert {"bpf_object__load", "bpf_map_create", "ring_buffer__poll", "syscall", "vsnprintf"} <= set(names)
    text = re.sub(r"/\*.*?\*/|typedef[^;]*;", "", DECLARATIONS, flags=re.DOTALL)
    assert len(names) == text.count(");")


def test_declarations_have_the_shape_of_the_installed_headers(tmp_path: Path) -> None:
    assert complaints(DECLARATIONS, tmp_path) == []


@pytest.mark.parametrize(
    ("right", "wrong", "named"),
    [
        pytest.param(
            "\t__u32 query_flags;\n\t__u32 attach_flags;",
            "\t__u32 attach_flags;\n\t__u32 query_flags;",
            "struct bpf_prog_query_opts.query_flags: offset",
            id="fields swapped",
        ),
        pytest.param(
            "\t__u64 map_extra;",
            "\t__u32 map_extra;",
            "struct bpf_map_create_opts.map_extra: type",
            id="field width",
        ),
        pytest.param(
            "\tunsigned int flags;\n\tint replace_prog_fd;",
            "\tunsigned int flags;\n\tint more;\n\tint replace_prog_fd;",
            "more",
            id="field that is not there",
        ),
        pytest.param(
            "int bpf_map_delete_elem(int fd, const void *key);",
            "int bpf_map_delete_elem(int fd, const void *key, int flags);",
            "bpf_map_delete_elem: prototype",
            id="argument too many",
        ),
        pytest.param(
            "bool autoload);",
            "const char *autoload);",
            "bpf_program__set_autoload: prototype",
            id="pointer for a number",
        ),
        pytest.param(
            "int bpf_map__fd(const struct bpf_map *map);",
            "int bpf_map__fd(const struct bpf_link *map);",
            "bpf_map__fd: prototype",
            id="pointer to something else",
        ),
        pytest.param(
            "int bpf_link_get_next_id(__u32 start_id,",
            "int bpf_link_get_next_id(__u64 start_id,",
            "bpf_link_get_next_id: prototype",
            id="argument width",
        ),
    ],
)
def test_a_wrong_declaration_is_named(right: str, wrong: str, named: str, tmp_path: Path) -> None:
    assert right in DECLARATIONS
    found = complaints(DECLARATIONS.replace(right, wrong, 1), tmp_path)
    assert any(named in line for line in found) or any(
        "member" in line and "more" in line for line in found
    ), found
