"""What the agent packs is what the object declares: sizes, offsets and numbers of every struct that the two share."""

from __future__ import annotations

import re
from struct import Struct as Packer

import pytest

from ebpfmesh.engine.balance.table import HashKey, Pick
from ebpfmesh.errors import HostError
from ebpfmesh.layout import Layout
from ebpfmesh.layout.array import Array
from ebpfmesh.layout.structure import Struct
from ebpfmesh.spec import ObjectSpec
from ebpfmesh.testing import compile_bpf
from ebpfmesh.tiers.connect import sockets, tables, wire
from ebpfmesh.tiers.connect.tier import object_path

Leaf = tuple[str, int, int]
"""The path of a field, its offset and its size in bytes."""


@pytest.fixture(scope="module")
def spec() -> ObjectSpec:
    if not object_path().exists():
        pytest.skip("the object is not built")
    return ObjectSpec.from_file(object_path())


def leaves(layout: Layout, name: str = "", offset: int = 0) -> list[Leaf]:
    """Every field of a C type, nested ones by their path; an array of numbers is one."""
    if isinstance(layout, Struct):
        return [
            leaf
            for field in layout.fields
            for leaf in leaves(field.layout, f"{name}.{field.name}".strip("."), offset + field.offset)
        ]
    if isinstance(layout, Array) and isinstance(layout.of, Struct):
        return [
            leaf
            for number in range(layout.count)
            for leaf in leaves(layout.of, f"{name}{number}", offset + number * layout.of.size)
        ]
    return [(name, offset, layout.size)]


def fields(layout: Layout) -> list[Leaf]:
    """The leaves but for padding."""
    return [leaf for leaf in leaves(layout) if leaf[0] != "padding"]


def packed(packer: Packer) -> list[tuple[int, int]]:
    """(offset, size) of every value of a `struct` format."""
    assert packer.format[0] == "=", "native alignment would put padding where C may not have it"
    found, offset = [], 0
    for count, code in re.findall(r"(\d*)([a-zA-Z])", packer.format):
        size = Packer(f"={code}").size
        number = int(count or 1)
        if code in "sx":
            found += [(offset, number)] * (code == "s")
        else:
            found += [(offset + size * index, size) for index in range(number)]
        offset += size * number
    assert offset == packer.size
    return found


TRAFFIC = ["opened", "active", "failed", "closed", "bytes_sent", "bytes_received", "datagrams"]

SHARED = {
    "addresses key": (wire.ADDRESS_KEY, ["address", "scope", "port", "protocol"]),
    "addresses value": (wire.INDEX, [""]),
    "backends key": (wire.BACKEND_KEY, ["service", "id"]),
    "backends value": (wire.BACKEND, ["address", "port", "counter"]),
    "services key": (wire.SERVICE_NAME, [""]),
    "services value": (
        wire.SERVICE_RECORD,
        ["digest", "service", "protocol", "key", "refusal", "flags", "table_size", "balancer", "scope"],
    ),
    "backend_stats value": (wire.COUNTERS, TRAFFIC),
    "service_stats value": (
        wire.SERVICE_COUNTERS,
        [*(f"traffic.{name}" for name in TRAFFIC), "refused", "errors", "reply_misses"],
    ),
    "slots value": (Packer("=Q"), [""]),
    "weights value": (Packer("=Q"), [""]),
    "settings value": (Packer("=QQ"), ["generation", "scoped"]),
}


@pytest.mark.parametrize("where", SHARED)
def test_a_format_has_the_fields_of_its_struct_at_their_places(spec: ObjectSpec, where: str) -> None:
    name, side = where.split()
    layout = getattr(spec.maps[name], side)
    packer, names = SHARED[where]
    assert packer.size == layout.size
    assert [(offset, size) for _, offset, size in fields(layout)] == packed(packer)
    assert [field for field, _, _ in fields(layout)] == names


def test_a_frontend_is_a_word_and_two_dispatches(spec: ObjectSpec) -> None:
    layout = spec.maps["frontends"].value
    assert isinstance(layout, Struct)
    word, version = layout.fields
    assert (word.name, word.offset, word.layout.size) == ("word", 0, 8)
    assert (version.name, version.offset) == ("version", 8)
    assert isinstance(version.layout, Array)
    assert version.layout.count == 2
    assert layout.size == wire.FRONTEND_SIZE
    dispatch = version.layout.of
    assert dispatch.size == wire.DISPATCH.size
    assert [(offset, size) for _, offset, size in fields(dispatch)] == packed(wire.DISPATCH)
    assert [name for name, _, _ in fields(dispatch)] == [
        "service", "pick", "hash_key", "flags", "refusal", "table0.start", "table0.count", "table1.start", "table1.count",
    ]  # fmt: skip


def test_the_tables_know_every_map_that_they_map_or_pack(spec: ObjectSpec) -> None:
    for name in tables.ARRAYS:
        assert spec.maps[name].type.name == "ARRAY"
        assert spec.maps[name].flags & 1 << 10, f"{name} has to be BPF_F_MMAPABLE"
        assert spec.maps[name].value_size % 8 == 0, f"{name}: an array rounds its elements up to 8 bytes"
    for name, (key_size, value_size) in tables.HASHES.items():
        assert (spec.maps[name].key_size, spec.maps[name].value_size) == (key_size, value_size)


def test_names_fit_with_their_end(spec: ObjectSpec) -> None:
    record = spec.maps["services"].value
    assert isinstance(record, Struct)
    balancer = next(field for field in record.fields if field.name == "balancer")
    assert balancer.layout.size == wire.BALANCER_BYTES
    assert wire.SERVICE_NAME.size == 64, "the check allows 63 bytes"


def test_the_counters_that_status_names_are_in_the_order_of_the_kernel() -> None:
    assert list(wire.Counters._fields) == TRAFFIC


# --- what BTF does not hold: the types of local variables, and macros --------------------------------------------------


def compiled(text: str) -> ObjectSpec:
    """The object of the connect programs with ``text`` after them."""
    try:
        return ObjectSpec.from_bytes(compile_bpf(f'#include "../connect.bpf.c"\n{text}\n'), name="test")
    except HostError as error:
        if "missing" in error.what:
            pytest.skip(str(error))
        raise


def test_a_line_of_the_socket_listing_is_read_as_it_is_written() -> None:
    layout = compiled("struct listed_socket kept;").variables["kept"].layout
    assert isinstance(layout, Struct)
    assert layout.size == wire.LISTED_SOCKET.size
    assert [(offset, size) for _, offset, size in leaves(layout)] == packed(wire.LISTED_SOCKET)
    assert [name for name, _, _ in leaves(layout)] == [
        "cookie", "namespace", "state", "service", "id", "counter", "family", "protocol", "device", "padding",
        "source.address", "source.port", "destination.address", "destination.port",
    ]  # fmt: skip


def test_numbers_mean_the_same_on_both_sides() -> None:
    numbers = {f"PICK_{one.name}": one.value for one in Pick}
    numbers |= {f"HASH_{one.name}": one.value for one in HashKey}
    numbers |= {f"DISPATCH_{one.name}": one.value for one in wire.DispatchFlag}
    numbers |= {f"IPPROTO_{name.upper()}": number for name, number in wire.PROTOCOLS.items()}
    numbers |= {"CONNECTION_OPEN": sockets._OPEN, "DISPATCH_DUAL_STACK": 0, "DISPATCH_ONE_FAMILY": 1}
    compiled("\n".join(f'_Static_assert({name} == {number}, "{name}");' for name, number in numbers.items()))
    with pytest.raises(HostError, match="PICK_ALIAS"):  # a wrong number does not compile
        compiled('_Static_assert(PICK_ALIAS == 77, "PICK_ALIAS");')
