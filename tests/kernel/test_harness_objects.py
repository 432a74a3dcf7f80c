"""What is refused before anything is loaded: objects of others, of other sizes, and what was never built."""

from __future__ import annotations

import shutil
from pathlib import Path

import parcel
import pytest

from ebpfmesh.bpf.compiler import find_compiler
from ebpfmesh.errors import HostError, SpecError
from ebpfmesh.harness import engine, load, objects, structures
from ebpfmesh.layout import Struct
from ebpfmesh.spec import ObjectSpec


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return parcel.build(tmp_path_factory.mktemp("parcel"))


def test_an_object_tells_the_name_of_its_core(built):
    spec, name = objects.read(built, None)
    assert name == "parcel"
    assert set(spec.programs) == {"parcel_tc", "parcel_sk_msg", "parcel_sk_skb"}


def test_an_object_of_another_core_is_refused(built):
    with pytest.raises(SpecError, match=r"parcel\.bpf\.o: it holds the core parcel, not http1"):
        load("http1", path=built)


def test_an_object_without_a_core_is_refused(tmp_path):
    source = tmp_path / "other.bpf.c"
    source.write_text('__attribute__((section("tc"))) int other_tc(void *c) { return 0; }\n')
    target = tmp_path / "other.bpf.o"
    parcel.run([*find_compiler().bpf, "-O2", "-g"], source, target, warnings=())
    with pytest.raises(SpecError, match=r"it holds no parser core.*build-parser"):
        load(path=target)


def test_what_is_no_object_is_refused(tmp_path):
    text = tmp_path / "text.bpf.o"
    text.write_text("no object")
    with pytest.raises(SpecError, match=r"text\.bpf\.o"):
        load(path=text)
    with pytest.raises(SpecError, match=r"none\.bpf\.o: there is no such object"):
        load(path=tmp_path / "none.bpf.o")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "#define L7_NAMES 8",
            "#define L7_NAMES 16",
            r"struct l7_config has 824 bytes there and 440 bytes here",
        ),
        (
            "#define L7_WINDOW 4096",
            "#define L7_WINDOW 2048",
            r"struct l7_window has 2136 bytes there and 4184",
        ),
        ("struct l7_flow", "struct l7_course", r"it has no struct l7_flow"),
    ],
)
def test_an_object_of_another_version_names_both_sizes(tmp_path, old, new, message):
    include = tmp_path / "include"
    shutil.copytree(parcel.INCLUDE, include)
    for header in (include / "ebpfmesh").glob("*.h"):
        header.write_text(header.read_text().replace(old, new))
    with pytest.raises(SpecError, match=message + r".*build it again"):
        load(path=parcel.build(tmp_path, include=include))


def test_a_core_that_is_not_built_in_is_named():
    with pytest.raises(HostError, match=r"parser telnet: the package has no object of this core"):
        load("telnet")
    with pytest.raises(TypeError, match=r"a name or a path"):
        load()


# --- our numbers are the headers' -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spec(built: Path) -> ObjectSpec:
    return objects.read(built, None)[0]


def test_capacities_are_the_headers(spec):
    text = (parcel.INCLUDE / "ebpfmesh/harness.h").read_text()
    for name, value in (("L7_INPUT", "(256 << 10)"), ("L7_OUTPUT", "(1 << 20)"), ("L7_CHUNKS", "(32 << 10)")):
        assert f"#define {name} {value}" in text
    assert spec.maps["l7_input"].value_size == structures.INPUT + 4096
    assert spec.maps["l7_output"].value_size == structures.OUTPUT + engine.LEAST_OUTPUT
    assert spec.maps["l7_chunks"].value_size == structures.CHUNKS * structures.CHUNK.size
    assert spec.maps["l7_links"].max_entries == structures.LINKS
    assert spec.maps["l7_counters"].max_entries == len(structures.Counter)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        (
            "l7_run",
            ["flags", "chunks", "limit", "chunk", "taken", "input", "written", "calls", "full", "done"],
        ),
        ("l7_saved", ["state", "flows", "records"]),
        ("l7_ports", ["local", "remote"]),
    ],
)
def test_structures_have_the_headers_order(spec, name, fields):
    one = spec.maps[name]
    layout = one.key if name == "l7_ports" else one.value
    assert isinstance(layout, Struct)
    assert [field.name for field in layout.fields][: len(fields)] == fields


def test_offsets_are_the_headers(spec):
    link = spec.maps["l7_saved"].value
    assert isinstance(link, Struct)
    flows = link.fields[1]
    assert (flows.offset, flows.layout.size) == (structures.flow_offset(0), 2 * structures.FLOW.size)
    assert structures.flow_offset(1) == structures.flow_offset(0) + structures.FLOW.size
    assert structures.RUN.size == structures.SIZES["l7_run"]
    assert structures.PORTS.size == spec.maps["l7_ports"].key_size


def test_enumerations_are_the_headers():
    for header, prefix, numbers in (
        ("harness.h", "L7_", structures.Chunk),
        ("harness.h", "L7_", structures.RunFlag),
        ("harness_sockets.h", "L7_", structures.Counter),
    ):
        text = (parcel.INCLUDE / "ebpfmesh" / header).read_text()
        for one in numbers:
            assert f"{prefix}{one.name} = {int(one)}," in text, one
