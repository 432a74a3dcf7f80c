"""The BTF reader against bpftool's dump of the same object, and on tables that no compiler makes."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from spec_objects import sample

from ebpfmesh.errors import SpecError
from ebpfmesh.layout import Bytes, Enum, Int, Struct
from ebpfmesh.spec.btf import Btf, Kind
from ebpfmesh.spec.elf import read_elf


def section(data: bytes) -> bytes:
    found = read_elf(data, "sample").section(".BTF")
    assert found is not None
    return found.data


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    bpftool = shutil.which("bpftool") or shutil.which("bpftool", path="/usr/sbin:/sbin")
    if bpftool is None:
        pytest.skip("needs bpftool")
    path = tmp_path_factory.mktemp("btf") / "sample.o"
    path.write_bytes(sample())
    done = subprocess.run([bpftool, "-j", "btf", "dump", "file", path], capture_output=True, check=True)
    types: list[dict[str, Any]] = json.loads(done.stdout)["types"]
    return types


def test_every_type_is_what_bpftool_says(dump: list[dict[str, Any]]) -> None:
    btf = Btf(section(sample()))
    assert len(btf.types) == len(dump) + 1
    for theirs in dump:
        ours = btf.type(theirs["id"])
        assert (ours.kind.name, ours.name or "(anon)") == (theirs["kind"], theirs["name"])
        if (
            "size" in theirs and ours.kind is not Kind.DATASEC
        ):  # bpftool shows a DATASEC as libbpf completed it
            assert ours.size == theirs["size"]
        if "type_id" in theirs and ours.kind is not Kind.ARRAY:
            assert ours.type == theirs["type_id"]


def test_members_enumerators_arrays_and_integers_are_what_bpftool_says(dump: list[dict[str, Any]]) -> None:
    btf = Btf(section(sample()))
    seen = set()
    for theirs in dump:
        ours = btf.type(theirs["id"])
        seen.add(ours.kind)
        match ours.kind:
            case Kind.STRUCT | Kind.UNION:
                expected = [
                    (
                        m["name"].replace("(anon)", ""),
                        m["type_id"],
                        m["bits_offset"],
                        m.get("bitfield_size", 0),
                    )
                    for m in theirs["members"]
                ]
                assert [tuple(member) for member in btf.members(ours)] == expected
            case Kind.ENUM:
                values = {value["name"]: value["val"] for value in theirs["values"]}
                assert {name: number & 0xFFFFFFFF for name, number in btf.enumerators(ours).items()} == {
                    name: number & 0xFFFFFFFF for name, number in values.items()
                }
            case Kind.ARRAY:
                assert btf.array(ours) == (theirs["type_id"], theirs["nr_elems"])
            case Kind.INT:
                encodings = {"(none)": 0, "SIGNED": 1, "CHAR": 2, "BOOL": 4}
                assert btf.integer(ours) == (
                    encodings[theirs["encoding"]],
                    theirs["bits_offset"],
                    theirs["nr_bits"],
                )
    assert {Kind.STRUCT, Kind.UNION, Kind.ENUM, Kind.ARRAY, Kind.INT} <= seen


def test_every_layout_has_the_size_of_its_type(dump: list[dict[str, Any]]) -> None:
    btf = Btf(section(sample()))
    checked = 0
    for theirs in dump:
        if theirs["kind"] in ("INT", "STRUCT", "UNION", "ENUM", "FLOAT"):
            layout = btf.layout(theirs["id"])
            assert layout.size == theirs["size"], theirs
            assert layout.pack(layout.unpack(bytes(layout.size))) == bytes(layout.size)
            checked += 1
    assert checked > 20


# --- tables made by hand --------------------------------------------------------------------------------------------


class Table:
    """A .BTF section under construction."""

    def __init__(self) -> None:
        self.types, self.strings, self.count = b"", b"\0", 0

    def name(self, text: str) -> int:
        if not text:
            return 0
        self.strings += text.encode() + b"\0"
        return len(self.strings) - len(text) - 1

    def add(
        self,
        kind: Kind,
        name: str = "",
        word: int = 0,
        *,
        vlen: int = 0,
        flag: bool = False,
        more: bytes = b"",
    ) -> int:
        info = flag << 31 | kind << 24 | vlen
        self.types += struct.pack("<III", self.name(name), info, word) + more
        self.count += 1
        return self.count

    def integer(self, name: str, size: int, encoding: int = 0) -> int:
        return self.add(Kind.INT, name, size, more=struct.pack("<I", encoding << 24 | size * 8))

    def struct(self, name: str, size: int, *members: tuple[str, int, int]) -> int:
        more = b"".join(struct.pack("<III", self.name(n), number, bits) for n, number, bits in members)
        return self.add(Kind.STRUCT, name, size, vlen=len(members), more=more)

    def data(self) -> bytes:
        header = struct.pack(
            "<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(self.types), len(self.types), len(self.strings)
        )
        return header + self.types + self.strings

    def read(self) -> Btf:
        return Btf(self.data(), "made")


def test_64_bit_enumerators_are_whole_numbers() -> None:
    table = Table()
    values = struct.pack("<III", table.name("HUGE"), 7, 1) + struct.pack(
        "<III", table.name("LESS"), 0xFFFFFFFF, 0xFFFFFFFF
    )
    unsigned = table.add(Kind.ENUM64, "e", 8, vlen=2, more=values)
    signed = table.add(Kind.ENUM64, "s", 8, vlen=2, flag=True, more=values)
    btf = table.read()
    assert btf.layout(unsigned).signature == "e64{HUGE=4294967303,LESS=18446744073709551615}"
    layout = btf.layout(signed)
    assert isinstance(layout, Enum)
    assert layout.values == {"HUGE": 4294967303, "LESS": -1}
    assert layout.pack("LESS") == b"\xff" * 8


def test_a_signed_enum_has_negative_enumerators() -> None:
    table = Table()
    number = table.add(Kind.ENUM, "e", 4, vlen=1, flag=True, more=struct.pack("<Ii", table.name("BELOW"), -1))
    layout = table.read().layout(number)
    assert layout.unpack(b"\xff" * 4) == -1


def test_typedefs_qualifiers_and_tags_are_looked_through_and_the_outermost_name_is_shown() -> None:
    table = Table()
    number = table.integer("unsigned int", 4)
    for kind, name in (
        (Kind.TYPEDEF, "__u32"),
        (Kind.CONST, ""),
        (Kind.VOLATILE, ""),
        (Kind.TYPE_TAG, "user"),
        (Kind.TYPEDEF, "port_t"),
        (Kind.RESTRICT, ""),
    ):
        number = table.add(kind, name, number)
    layout = table.read().layout(number)
    assert layout == Int(4)
    assert layout.format == "port_t"


def test_a_float_and_an_odd_integer_are_bytes() -> None:
    table = Table()
    real, odd = table.add(Kind.FLOAT, "double", 8), table.integer("__int128", 16)
    btf = table.read()
    assert isinstance(btf.layout(real), Bytes)
    assert btf.layout(odd).size == 16


def test_unnamed_bit_fields_are_padding() -> None:
    table = Table()
    number = table.integer("u64", 8)
    more = b"".join(struct.pack("<III", 0, number, 64 << 24 | offset) for offset in (0, 64))
    timer = table.add(Kind.STRUCT, "bpf_timer", 16, vlen=2, flag=True, more=more)
    layout = table.read().layout(timer)
    assert isinstance(layout, Struct)
    assert (layout.size, layout.fields) == (16, ())
    assert layout.pack(()) == bytes(16)


def error_of(table: Table, number: int) -> str:
    btf = table.read()
    with pytest.raises(SpecError) as caught:
        btf.layout(number)
    return str(caught.value)


def test_a_type_that_refers_to_itself_is_one_error() -> None:
    table = Table()
    loop = table.add(Kind.TYPEDEF, "loop", 1)
    assert "refers to itself" in error_of(table, loop)
    table = Table()
    held = table.struct("held", 4, ("self", 1, 0))
    assert "holds itself" in error_of(table, held)


def test_a_type_that_grows_exponentially_is_one_error_at_once() -> None:
    table = Table()
    number, size = table.integer("u8", 1), 1
    for level in range(25):
        members = (("a", number, 0), ("b", number, size * 8))
        size *= 2
        number = table.struct(f"level{level}", size, *members)
    assert "too large" in error_of(table, number)


def test_types_without_a_size_and_references_to_nowhere_are_errors() -> None:
    table = Table()
    forward = table.add(Kind.FWD, "elsewhere")
    nowhere = table.struct("s", 8, ("a", 77, 0))
    overlap = table.struct("o", 4, ("a", table.integer("u32", 4), 0), ("b", 3, 16))
    assert "FWD elsewhere) has no size" in error_of(table, forward)
    assert "has no size" in error_of(table, 0)
    assert "there is no type 77" in error_of(table, nowhere)
    assert "there is no type" in error_of(table, 1000)
    assert error_of(table, overlap).startswith("made: .BTF:")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[:20], "truncated after 20 bytes"),
        (lambda data: b"\xeb\x9f" + data[2:], "big-endian"),
        (lambda data: b"\0\0" + data[2:], "magic number"),
        (lambda data: data[:2] + b"\x09" + data[3:], "version is 9"),
        (lambda data: data[:-1], "end after the section"),
        (lambda data: data[:-1] + b"x", "begin and end with NUL"),
        (lambda data: data[:24] + b"\xff\xff\xff\x7f" + data[28:], "outside its table"),
        (lambda data: data[:31] + b"\x1f" + data[32:], "unknown kind 31"),
        (lambda data: data[:28] + b"\xff\xff" + data[30:31] + b"\x04" + data[32:], "truncated"),
    ],
)
def test_a_damaged_table_is_one_error(damage: Any, reason: str) -> None:
    table = Table()
    table.integer("int", 4, 1)
    with pytest.raises(SpecError, match=reason):
        Btf(damage(table.data()), "made")


def test_the_running_kernels_own_types_are_read_too() -> None:
    path = Path("/sys/kernel/btf/vmlinux")
    if not path.exists():
        pytest.skip("this kernel has no BTF")
    btf = Btf(path.read_bytes())
    number = next(type.number for type in btf.types if type.kind is Kind.STRUCT and type.name == "in6_addr")
    assert btf.layout(number).size == 16
