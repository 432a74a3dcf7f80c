"""The offline reader against libbpf's own view of the same object, opened and not loaded: no privileges are needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from spec_objects import HEADER, LICENSE, compile_object, sample

from ebpfmesh.errors import HostError
from ebpfmesh.lowlevel import libbpf
from ebpfmesh.spec import MapType, ObjectSpec, sections
from ebpfmesh.spec.sections import Section

RINGS = (MapType.RINGBUF, MapType.USER_RINGBUF)


@pytest.fixture(scope="module", autouse=True)
def _library() -> None:
    try:
        libbpf.lib()
    except HostError as error:
        pytest.skip(str(error))


@contextmanager
def opened(data: bytes) -> Iterator[Any]:
    name = libbpf.ffi.new("char[]", b"it")
    opts = libbpf.opts("bpf_object_open_opts", object_name=name)
    with libbpf.messages() as messages:
        handle = libbpf.lib().bpf_object__open_mem(data, len(data), opts)
    assert handle != libbpf.ffi.NULL, messages
    try:
        yield handle
    finally:
        libbpf.lib().bpf_object__close(handle)


def text(pointer: Any) -> str:
    return str(libbpf.ffi.string(pointer).decode())


def walk(handle: Any, next_one: str) -> Iterator[Any]:
    one = getattr(libbpf.lib(), next_one)(handle, libbpf.ffi.NULL)
    while one != libbpf.ffi.NULL:
        yield one
        one = getattr(libbpf.lib(), next_one)(handle, one)


def programs_of(data: bytes) -> dict[str, tuple[str, int, int, int]]:
    lib = libbpf.lib()
    with opened(data) as handle:
        return {
            text(lib.bpf_program__name(program)): (
                text(lib.bpf_program__section_name(program)),
                lib.bpf_program__type(program),
                lib.bpf_program__expected_attach_type(program),
                lib.bpf_program__insn_cnt(program),
            )
            for program in walk(handle, "bpf_object__next_program")
        }


def maps_of(data: bytes) -> dict[str, tuple[int, ...]]:
    lib = libbpf.lib()
    with opened(data) as handle:
        return {
            text(lib.bpf_map__name(map)): (
                lib.bpf_map__type(map),
                lib.bpf_map__key_size(map),
                lib.bpf_map__value_size(map),
                # libbpf rounds a ring buffer up to this machine's pages already; the object says what was declared
                0 if lib.bpf_map__type(map) in RINGS else lib.bpf_map__max_entries(map),
                lib.bpf_map__map_flags(map),
            )
            for map in walk(handle, "bpf_object__next_map")
        }


def initial_values_of(data: bytes) -> dict[str, bytes]:
    """The initial value of each map of global data; libbpf takes the part before the section from the object's name."""
    lib, values = libbpf.lib(), {}
    with opened(data) as handle:
        for map in walk(handle, "bpf_object__next_map"):
            size = libbpf.ffi.new("size_t *")
            value = lib.bpf_map__initial_value(map, size)
            if value != libbpf.ffi.NULL:
                values[text(lib.bpf_map__name(map)).removeprefix("it")] = bytes(
                    libbpf.ffi.buffer(value, size[0])
                )
    return values


def our_programs(data: bytes) -> dict[str, tuple[str, int, int, int]]:
    """As programs_of(); 0 stands for "none" in libbpf, which is also CGROUP_INET_INGRESS."""
    known = libbpf.version()
    return {
        program.name: (
            program.section,
            int(program.type or 0) if program.meaning.libbpf <= known else 0,
            int(program.attach_type or 0) if program.meaning.libbpf <= known else 0,
            program.instructions,
        )
        for program in ObjectSpec.from_bytes(data).programs.values()
    }


def our_maps(data: bytes) -> dict[str, tuple[int, ...]]:
    return {
        map.name: (
            int(map.type),
            map.key_size,
            map.value_size,
            0 if map.type in RINGS else map.max_entries,
            int(map.flags),
        )
        for map in ObjectSpec.from_bytes(data).maps.values()
    }


def every_section() -> list[str]:
    """Each row of the table, with and without something after the slash, with and without ``?``."""
    names = []
    for name in sections.all_sections():
        stem = name.removesuffix("+")
        names += [stem, f"?{stem}", f"{stem}/more"]
    strangers = [
        "unknown",
        "unknown/x",
        "kprobes",
        "cgroup/connect",
        "cgroup/connect5",
        "sk_msg/x",
        "xdp/other",
        "t",
    ]
    return names + strangers


def test_programs_are_what_libbpf_says_in_every_section() -> None:
    functions = [
        f'SEC("{name}") int program_{number}(void *context) {{ return {number}; }}'
        for number, name in enumerate(every_section())
    ]
    data = compile_object(HEADER + "\n".join(functions) + LICENSE)
    ours, theirs = our_programs(data), programs_of(data)
    assert ours == theirs
    assert len(ours) == len(functions)


def test_a_newer_section_is_read_but_known_to_be_too_new_for_an_older_libbpf() -> None:
    assert sections.read("tcx/ingress") == Section(
        "tcx/ingress", sections.P.SCHED_CLS, sections.A.TCX_INGRESS, libbpf=(1, 3)
    )


def test_maps_are_what_libbpf_says_for_every_type() -> None:
    defined = "\n".join(
        f"struct {{ __uint(type, {kind.value}); __type(key, {key}); __type(value, {value}); __uint(max_entries, "
        f'{kind.value + 1}); __uint(map_flags, {kind.value % 2}); }} map_{kind.value} SEC(".maps");'
        for kind, key, value in zip(
            MapType,
            ["__u8", "__u16", "__u32", "struct k"] * 10,
            ["__u64", "struct v", "__u8", "struct k", "__u32"] * 10,
            strict=False,
        )
        if kind not in (MapType.UNSPEC, MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS)
    )
    types = "struct k { __u8 a[3]; __u16 b; }; struct v { __u64 a; struct k k[3]; char c; };\n"
    data = compile_object(HEADER + types + defined)
    ours = our_maps(data)
    assert ours == maps_of(data)
    assert len(ours) == len(MapType) - 3


def test_the_sample_is_what_libbpf_says() -> None:
    data = sample()
    assert our_programs(data) == programs_of(data)
    spec = ObjectSpec.from_bytes(data)
    theirs = maps_of(data)
    ours = our_maps(data)
    assert ours == {name: numbers for name, numbers in theirs.items() if name in ours}
    # what is left are the maps of global data
    assert len(theirs) == len(ours) + len(spec.sections)


def test_global_data_is_what_libbpf_would_write() -> None:
    data = sample()
    ours = {
        section.name: section.initial or bytes(section.size)
        for section in ObjectSpec.from_bytes(data).sections.values()
    }
    assert ours == initial_values_of(data)


def test_a_variable_lies_where_libbpf_puts_it() -> None:
    """Found by its value: every variable holds another one."""
    declared = "\n".join(
        f"{linkage} {type} variable_{number} = {number + 1};"
        for number, (linkage, type) in enumerate(
            (linkage, type)
            for linkage in ("", "static volatile", "const volatile", "static volatile const")
            for type in ("__u8", "__u64", "__u16", "__u32")
        )
    )
    total = " + ".join(f"variable_{number}" for number in range(16))
    source = f'{declared}\nSEC("tc") int p(void *context) {{ return {total}; }}\n'
    data = compile_object(HEADER + source + LICENSE)
    sections_of_libbpf = initial_values_of(data)
    variables = ObjectSpec.from_bytes(data).variables
    assert {f"variable_{number}" for number in range(16)} <= set(variables)
    for number in range(16):
        variable = variables[f"variable_{number}"]
        place = sections_of_libbpf[variable.section][variable.offset : variable.offset + variable.size]
        assert variable.layout is not None
        assert variable.layout.unpack(place) == number + 1
