"""Whatever is no intact BPF object is one SpecError of one line, and nothing else, however it is damaged."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spec_objects import HEADER, LICENSE, SAMPLE, compile_object, sample

from ebpfmesh.errors import SpecError
from ebpfmesh.spec import ObjectSpec


def error_of(data: bytes) -> str:
    with pytest.raises(SpecError) as caught:
        ObjectSpec.from_bytes(data, "it")
    message = str(caught.value)
    assert message.startswith("it: ")
    assert "\n" not in message
    return message


def test_what_is_no_elf_file_is_said_so() -> None:
    for data in (b"", b"\x7f", b"#!/bin/sh\n", b"\0" * 100):
        assert "no ELF file" in error_of(data)


def test_another_machine_is_named_by_its_number() -> None:
    python = Path(sys.executable).resolve().read_bytes()[:4096]
    assert "for ELF machine" in error_of(python)


def test_big_endian_is_refused_with_the_right_target() -> None:
    assert "big-endian (compile it with clang -target bpfel)" in error_of(
        compile_object(HEADER + SAMPLE + LICENSE, "-target", "bpfeb")
    )


def test_a_32_bit_and_a_linked_file_are_refused() -> None:
    data = sample()
    assert "32-bit" in error_of(data[:4] + b"\x01" + data[5:])
    assert "no relocatable object" in error_of(data[:16] + b"\x02\x00" + data[18:])


def test_every_truncation_is_an_error() -> None:
    data = sample()
    for length in [*range(200), *range(200, len(data) - 1, 97)]:
        error_of(data[:length])


def test_a_directory_and_a_missing_file_are_errors_with_the_path(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.bpf.o"):
        with pytest.raises(SpecError) as caught:
            ObjectSpec.from_file(path)
        assert str(caught.value).startswith(f"{path}: cannot be read: ")


@pytest.mark.parametrize(
    ("option", "reads"), [("-g", True), ("--strip-unneeded", True), ("--remove-section=.symtab", False)]
)
def test_a_stripped_object_is_read_as_long_as_its_symbols_are_there(
    tmp_path: Path, option: str, reads: bool
) -> None:
    if (strip := shutil.which("llvm-strip")) is None:
        pytest.skip("needs llvm-strip")
    path = tmp_path / "it.o"
    path.write_bytes(sample())
    done = subprocess.run([strip, option, path], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"llvm-strip refuses: {done.stderr.decode()}")
    if reads:
        spec, whole = ObjectSpec.from_file(path), ObjectSpec.from_bytes(sample())
        assert (spec.programs, spec.maps, spec.variables) == (whole.programs, whole.maps, whole.variables)
        assert spec.size < whole.size
    else:
        error_of(path.read_bytes())


# --- mutations ------------------------------------------------------------------------------------------------------


def regions() -> list[tuple[int, int]]:
    """Start and end of what the reader interprets: the header, the section headers, and some sections."""
    data = sample()
    table, size, count, names = (
        struct.unpack_from("<Q", data, 40)[0],
        *struct.unpack_from("<HHH", data, 58),
    )
    headers = [struct.unpack_from("<IIQQQQ", data, table + size * number) for number in range(count)]
    start = headers[names][4]
    found = [(0, 64), (table, table + size * count)]
    for name, _type, _flags, _address, offset, length in headers:
        text = data[start + name : data.index(b"\0", start + name)]
        if text in (b".BTF", b".symtab", b".strtab", b".rodata", b"license"):
            found.append((offset, offset + length))
    assert len(found) == 7
    return found


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = bytearray(sample())
    for _ in range(draw(st.integers(1, 4))):
        start, end = draw(st.sampled_from(regions()))
        place = min(draw(st.integers(start, end - 1)), len(data) - 1)
        match draw(st.sampled_from(["byte", "word", "cut", "insert"])):
            case "byte":
                data[place] = draw(st.integers(0, 255))
            case "word":
                place -= place % 4
                number = draw(
                    st.sampled_from([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]) | st.integers(0, 300)
                )
                data[place : place + 4] = struct.pack("<I", number)
            case "cut":
                del data[place : place + draw(st.integers(1, 64))]
            case "insert":
                data[place:place] = draw(st.binary(min_size=1, max_size=16))
    return bytes(data)


@settings(max_examples=300, deadline=2000, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_mutated_object_is_read_or_is_one_error(data: st.DataObject) -> None:
    sample()  # skips without clang
    try:
        spec = ObjectSpec.from_bytes(data.draw(mutated()), "it")
    except SpecError as error:
        assert "\n" not in str(error)
        return
    # what was read can be used
    for map in spec.maps.values():
        assert len(map.hash()) == 64
        for layout in (map.key, map.value):
            if layout is not None and layout.size < 1 << 20:
                assert layout.pack(layout.unpack(bytes(layout.size))) == bytes(layout.size)
    for variable in spec.variables.values():
        assert variable.layout is None or variable.layout.format


@settings(max_examples=100)
@given(st.binary(max_size=200))
def test_noise_after_a_right_header_is_one_error(noise: bytes) -> None:
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x01\x00\xf7\x00\x01\0\0\0"
    error_of(header + noise)
