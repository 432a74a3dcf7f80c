"""What the agent packs and reads of the L7 tier's maps is what the objects declare: sizes, offsets and numbers."""

from __future__ import annotations

from struct import Struct as Packer

import pytest
from test_connect_wire import Leaf, leaves, packed

from ebpfmesh.errors import HostError
from ebpfmesh.layout import Layout
from ebpfmesh.layout.array import Array
from ebpfmesh.layout.structure import Struct
from ebpfmesh.policy import wire as policy_wire
from ebpfmesh.spec import ObjectSpec
from ebpfmesh.testing import compile_bpf
from ebpfmesh.tiers.l7 import attaching, loading, memory, tables, wire


@pytest.fixture(scope="module")
def spec() -> ObjectSpec:
    if not loading.object_path("l7").exists():
        pytest.skip("the object is not built")
    return loading.specs()["l7"]


def fields(layout: Layout) -> list[Leaf]:
    """The leaves but for what is spare."""
    return [leaf for leaf in leaves(layout) if not leaf[0].startswith(("spare", "reserved"))]


VERSION = list(wire.Version._fields)

SHARED = {
    "l7_settings value": (
        wire.SETTINGS, ["generation", "key", "log_interval", "log_burst", "sample", "flags"],
    ),
    "l7_sources key": (policy_wire.SOURCE_KEY, ["rules", "workload", "address", "port"]),
    "l7_sources value": (policy_wire.INDEX, [""]),
    "l7_addresses key": (policy_wire.ADDRESS_KEY, ["prefix", "rules", "address"]),
    "l7_addresses value": (policy_wire.INDEX, [""]),
    "l7_workloads key": (wire.WORKLOAD_KEY, ["cgroup", "identities"]),
    "l7_workloads value": (policy_wire.INDEX, [""]),
    "l7_policies value": (policy_wire.POLICY, ["root", "list", "flags"]),
    "l7_paths key": (policy_wire.PATH_KEY, ["policy", "length", "hash"]),
    "l7_paths value": (policy_wire.INDEX, [""]),
    "l7_segments key": (policy_wire.SEGMENT_KEY, ["state", "length", "hash"]),
    "l7_segments value": (policy_wire.INDEX, [""]),
    "l7_path_states value": (policy_wire.PATH_STATE, ["other", "here", "deeper", "leaf"]),
    "l7_lists value": (policy_wire.LIST, ["count", "rules"]),
    "l7_rules value": (
        policy_wire.RULE, ["action", "flags", "methods", "number", "reply", "argument", "conditions"],
    ),
    "l7_rule_names value": (wire.NAME_ENTRY, ["service", "action", "text"]),
    "l7_source_names value": (wire.NAME_ENTRY, ["service", "action", "text"]),
}  # fmt: skip


def together(places: list[tuple[int, int]], names: list[Leaf]) -> list[tuple[int, int]]:
    """Single numbers that the C type has as one array, as one."""
    result, rest = [], list(places)
    for _, offset, size in names:
        of_this = [one for one in rest if offset <= one[0] < offset + size]
        assert sum(length for _, length in of_this) == size, (offset, size, of_this)
        rest = [one for one in rest if one not in of_this]
        result.append((offset, size))
    assert not rest
    return result


@pytest.mark.parametrize("where", SHARED)
def test_a_format_has_the_fields_of_its_struct_at_their_places(spec: ObjectSpec, where: str) -> None:
    name, side = where.split()
    layout = getattr(spec.maps[name], side)
    packer, names = SHARED[where]
    assert packer.size == layout.size
    found = fields(layout)
    assert together(packed(packer), found) == [(offset, size) for _, offset, size in found]
    assert [field for field, _, _ in found] == names


def test_a_service_is_a_word_and_two_versions(spec: ObjectSpec) -> None:
    layout = spec.maps["l7_services"].value
    assert isinstance(layout, Struct)
    word, version = layout.fields
    assert (word.name, word.offset, word.layout.size) == ("word", 0, 8)
    assert (version.name, version.offset) == ("version", 8)
    assert isinstance(version.layout, Array)
    assert version.layout.count == 2
    assert layout.size == wire.SERVICE_ENTRY_SIZE
    service = version.layout.of
    assert service.size == policy_wire.SERVICE.size
    assert [(offset, size) for _, offset, size in fields(service)] == packed(policy_wire.SERVICE)
    assert [name for name, _, _ in fields(service)] == VERSION


def test_the_tables_know_every_map_that_they_map_or_pack() -> None:
    maps = {name: one for spec in loading.specs().values() for name, one in spec.maps.items()}
    assert {"l7", "l7_http1"} <= loading.specs().keys()
    for name in tables.ARRAYS:
        assert maps[name].type.name == "ARRAY"
        assert maps[name].flags & 1 << 10, f"{name} has to be BPF_F_MMAPABLE"
    for name, (key_size, value_size) in tables.HASHES.items():
        assert (maps[name].key_size, maps[name].value_size) == (key_size, value_size)
    assert maps["l7_buckets"].key_size == wire.BUCKET_KEY.size
    assert maps["l7_stats"].value_size == wire.SERVICE_STATS.size
    assert maps["l7_limit_stats"].value_size == wire.LIMIT_COUNTERS.size
    assert maps["l7_limits"].value_size == policy_wire.LIMIT.size
    assert memory.FLOOR.keys() == {*tables.ELEMENTS, *tables.HASHES, *tables.NAMES}


def test_every_program_that_is_attached_or_jumped_to_is_there() -> None:
    specs = loading.specs()
    assert set(attaching.PROGRAMS) <= specs["l7"].programs.keys()
    for protocol, pair in zip(("l7_http1", "l7_http2"), wire.SLOTS.values(), strict=True):
        assert protocol not in specs or set(pair) <= specs[protocol].programs.keys()


# --- what BTF does not hold: the types of local variables, and macros --------------------------------------------------


def compiled(text: str) -> ObjectSpec:
    """The object of the tier's headers with ``text`` after them."""
    headers = ("enrol/connection", "limit/limit", "reply/reply", "measure/measure")
    source = "".join(f'#include "ebpfmesh/{name}.h"\n' for name in headers)
    try:
        return ObjectSpec.from_bytes(compile_bpf(source + text + "\n"), name="test")
    except HostError as error:
        if "missing" in error.what:
            pytest.skip(str(error))
        raise


@pytest.mark.parametrize(
    ("struct", "packer"),
    [
        ("l7_condition", policy_wire.CONDITION),
        ("l7_limit", policy_wire.LIMIT),
        ("l7_bucket_key", wire.BUCKET_KEY),
        ("l7_limit_counters", wire.LIMIT_COUNTERS),
        ("l7_service_stats", wire.SERVICE_STATS),
    ],
)
def test_a_struct_that_no_map_of_the_object_shows_has_its_fields_at_their_places(
    struct: str, packer: Packer
) -> None:
    layout = compiled(f"struct {struct} kept;").variables["kept"].layout
    assert packer.size == layout.size
    found = fields(layout)
    assert together(packed(packer), found) == [(offset, size) for _, offset, size in found]


def test_numbers_mean_the_same_on_both_sides() -> None:
    numbers = {f"L7_{one.name}": one.value for one in wire.MarkState}
    numbers |= {f"L7_STAT_{name.upper()}": number for number, name in enumerate(wire.STATS)}
    numbers |= {"L7_STATS": len(wire.STATS), "L7_NO_ACTION": 0, "L7_PASS_OPAQUE": 1}
    numbers |= {"L7_STATS_ROOM": wire.SERVICE_STATS.size // 8}
    compiled("\n".join(f'_Static_assert({name} == {number}, "{name}");' for name, number in numbers.items()))
    with pytest.raises(HostError, match="L7_DRAINS"):  # a wrong number does not compile
        compiled('_Static_assert(L7_DRAINS == 77, "L7_DRAINS");')
