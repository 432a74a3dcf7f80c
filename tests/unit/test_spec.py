"""An object read offline: programs, maps, global variables, licence."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from spec_objects import HEADER, LICENSE, compile_object, sample

from ebpfmesh.errors import SpecError
from ebpfmesh.layout import Bytes, Int, Struct
from ebpfmesh.spec import AttachType, MapFlags, MapType, ObjectSpec, ProgramType


@pytest.fixture(scope="module")
def spec() -> ObjectSpec:
    return ObjectSpec.from_bytes(sample(), "sample")


def test_a_file_is_named_up_to_its_first_dot_and_carries_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "my.tier.bpf.o"
    path.write_bytes(sample())
    spec = ObjectSpec.from_file(path)
    assert spec.name == "my"
    assert spec.data == sample()
    assert spec.size == len(sample())
    assert spec.sha256 == hashlib.sha256(sample()).hexdigest()
    assert spec.license == "GPL"
    assert ObjectSpec.from_file(str(path)).programs == spec.programs


def test_programs_have_the_types_that_their_sections_say(spec: ObjectSpec) -> None:
    programs = {
        name: (program.section, program.type, program.attach_type, program.autoload)
        for name, program in spec.programs.items()
    }
    connect = ("cgroup/connect4", ProgramType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET4_CONNECT)
    assert programs == {
        "classify": ("tc", ProgramType.SCHED_CLS, None, True),
        "refuse": (*connect, False),
        "accept": (*connect, True),
        "count": (*connect, True),
    }
    assert spec.programs["accept"].instructions == 2


def test_subprograms_of_text_are_no_programs(spec: ObjectSpec) -> None:
    assert "deeper" not in spec.programs


def test_maps_have_types_sizes_flags_and_layouts(spec: ObjectSpec) -> None:
    flows = spec.maps["flows"]
    assert (flows.type, flows.max_entries, flows.pinning) == (MapType.HASH, 10, 1)
    assert flows.flags is MapFlags.NO_PREALLOC
    assert (flows.key_size, flows.value_size) == (88, 8)
    assert flows.value == Int(8)
    assert isinstance(flows.key, Struct)
    assert [(field.name, field.offset) for field in flows.key.fields] == [
        ("address", 0),
        ("port", 16),
        ("either", 24),
        ("nested", 32),
        ("kind", 56),
        ("on", 60),
        ("anonymous", 64),
        ("pointer", 72),
        ("sign", 80),
    ]
    assert spec.maps["events"].key is None
    assert spec.maps["events"].max_entries == 4096


def test_a_map_of_maps_carries_its_template(spec: ObjectSpec) -> None:
    outer = spec.maps["outer"]
    assert (outer.type, outer.value_size, outer.value) == (MapType.HASH_OF_MAPS, 4, None)
    assert outer.inner is not None
    inner = outer.inner
    assert (inner.name, inner.type, inner.max_entries, inner.value) == (
        "outer.inner",
        MapType.ARRAY,
        4,
        Int(2),
    )


def test_a_program_array_with_initial_values_is_read(spec: ObjectSpec) -> None:
    calls = spec.maps["calls"]
    assert (calls.type, calls.key_size, calls.value_size, calls.inner) == (MapType.PROG_ARRAY, 4, 4, None)


def test_a_map_that_declares_only_sizes_has_no_layouts(spec: ObjectSpec) -> None:
    sizes = spec.maps["sizes_only"]
    assert (sizes.key_size, sizes.value_size, sizes.key, sizes.value) == (12, 16, None, None)


def test_what_has_no_single_meaning_is_bytes_of_the_right_size(spec: ObjectSpec) -> None:
    key = spec.maps["flows"].key
    assert isinstance(key, Struct)
    either = next(field.layout for field in key.fields if field.name == "either")
    assert isinstance(either, Bytes)
    assert either.size == 8
    assert isinstance(spec.maps["bit_fields"].value, Bytes)
    wide = spec.maps["wides"].value
    assert isinstance(wide, Struct)
    assert [field.layout.signature for field in wide.fields] in (
        ["bytes[16]", "e64{HUGE=1099511627776}", "u8"],
        ["bytes[16]", "u64", "u8"],  # clang before 15 has no 64-bit enumerators
    )
    assert wide.size == 32


def test_a_packed_struct_keeps_its_offsets(spec: ObjectSpec) -> None:
    packed = spec.maps["packs"].value
    assert isinstance(packed, Struct)
    assert (packed.size, [field.offset for field in packed.fields]) == (5, [0, 1])
    assert packed.pack((1, 0x05040302)) == bytes([1, 2, 3, 4, 5])


def test_global_variables_have_section_offset_layout_and_initial_bytes(spec: ObjectSpec) -> None:
    limit = spec.variables["limit"]
    assert (limit.section, limit.constant, limit.layout, limit.initial) == (
        ".rodata",
        True,
        Int(4),
        b"\7\0\0\0",
    )
    hidden = spec.variables["hidden"]
    assert hidden.initial == b"\x09\0"
    counter = spec.variables["counter"]
    assert (counter.section, counter.constant, counter.size, counter.initial) == (".bss", False, 8, b"")
    started = spec.variables["started"]
    assert (started.section, started.layout, started.initial) == (".data", Int(4, signed=True), b"\4\0\0\0")
    table = spec.variables["table"]
    assert table.section == ".data.table"
    assert table.layout is not None
    assert table.layout.unpack(table.initial) == (1, 2, 3)
    assert "classify.runs" in spec.variables


def test_variables_do_not_overlap_and_fill_sections_in_order(spec: ObjectSpec) -> None:
    for section in spec.sections.values():
        end = 0
        for variable in (v for v in spec.variables.values() if v.section == section.name):
            assert variable.offset >= end, variable.name
            end = variable.offset + variable.size
        assert end <= section.size


def test_a_spec_is_frozen(spec: ObjectSpec) -> None:
    with pytest.raises(AttributeError):
        spec.name = "other"
    with pytest.raises(TypeError):
        spec.maps["x"] = spec.maps["flows"]  # type: ignore[index]
    with pytest.raises(AttributeError):
        spec.maps["flows"].max_entries = 5  # type: ignore[misc]


def test_the_hash_of_a_map_follows_its_layout_but_not_its_capacity() -> None:
    def flows(key: str, entries: int) -> str:
        source = f"""struct {{ __uint(type, BPF_MAP_TYPE_HASH); __type(key, {key}); __type(value, __u32);
                     __uint(max_entries, {entries}); }} flows SEC(".maps");"""
        return ObjectSpec.from_bytes(compile_object(HEADER + source)).maps["flows"].hash()

    assert flows("__u32", 1) == flows("unsigned int", 2)
    assert flows("__u32", 1) != flows("__s32", 1)
    assert flows("__u32", 1) != flows("__u64", 1)


def test_reading_needs_neither_the_kernel_nor_elftools_before_the_first_object() -> None:
    code = (
        "import sys, ebpfmesh.spec, ebpfmesh.layout; ebpfmesh.spec.ObjectSpec; "
        "print([m for m in sys.modules if m.startswith(('elftools', 'ebpfmesh.lowlevel'))])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )


def refusal(source: str, *options: str) -> str:
    with pytest.raises(SpecError) as caught:
        ObjectSpec.from_bytes(compile_object(HEADER + source, *options), "it")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_map_definition_that_libbpf_refuses_is_refused_with_its_name() -> None:
    assert "map m: its field colour is unknown" in refusal(
        'struct { __uint(type, 1); __uint(colour, 3); } m SEC(".maps");'
    )
    assert "map m: it has no type" in refusal('struct { __uint(max_entries, 3); } m SEC(".maps");')
    assert "map m: map type 999 is unknown" in refusal('struct { __uint(type, 999); } m SEC(".maps");')
    assert "map m: key_size is both 8 and 4" in refusal(
        'struct { __uint(type, 1); __uint(key_size, 8); __type(key, int); } m SEC(".maps");'
    )
    assert "map m: pinning 7 is unknown" in refusal(
        'struct { __uint(type, 1); __uint(pinning, 7); } m SEC(".maps");'
    )


def test_maps_of_the_section_of_old_are_refused_with_the_remedy() -> None:
    assert "libbpf >= 1.0 wants them in .maps" in refusal('struct { int type; } m SEC("maps") = { 1 };')


def test_a_static_program_is_refused() -> None:
    assert "program p is static" in refusal(
        'SEC("tc") static __attribute__((used)) int p(void *x) { return 0; }' + LICENSE
    )


def test_without_btf_programs_and_variables_are_still_read() -> None:
    source = HEADER + 'int started = 4; SEC("xdp") int drop(void *x) { return started++; }' + LICENSE
    spec = ObjectSpec.from_bytes(compile_object(source, "-g0"))
    assert spec.programs["drop"].type is ProgramType.XDP
    assert spec.variables["started"].layout is None
    assert spec.variables["started"].initial == b"\4\0\0\0"
    assert not spec.maps


def test_maps_without_btf_are_refused_with_the_remedy() -> None:
    with pytest.raises(SpecError, match=r"maps but no BTF.*compile with -g"):
        ObjectSpec.from_bytes(sample("-g0"))


def test_an_object_without_licence_has_an_empty_one() -> None:
    assert (
        ObjectSpec.from_bytes(compile_object(HEADER + 'SEC("xdp") int p(void *x) { return 0; }')).license
        == ""
    )


def test_an_object_that_was_linked_is_read_as_the_one_it_was_made_of(tmp_path: Path) -> None:
    """The linker completes what clang leaves open: sizes and offsets of the data sections."""
    bpftool = shutil.which("bpftool") or shutil.which("bpftool", path="/usr/sbin:/sbin")
    if bpftool is None:
        pytest.skip("needs bpftool")
    path, linked = tmp_path / "it.o", tmp_path / "linked.o"
    path.write_bytes(sample())
    subprocess.run([bpftool, "gen", "object", linked, path], check=True)
    whole, spec = ObjectSpec.from_file(path), ObjectSpec.from_file(linked)
    assert (spec.maps, spec.license) == (whole.maps, whole.license)
    assert dict(spec.variables) == dict(whole.variables)
    assert dict(spec.programs) == dict(whole.programs)
