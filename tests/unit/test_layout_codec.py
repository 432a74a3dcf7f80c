"""Python types as codecs: records, scalars, addresses; and their check against what BTF says."""

from __future__ import annotations

import copy
import pickle
import random
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any

import pytest
from spec_objects import HEADER, compile_object

from ebpfmesh.errors import MapTypeError
from ebpfmesh.layout import (
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Address,
    Array,
    Bool,
    Bytes,
    Enum,
    Field,
    Int,
    IPv4,
    IPv6,
    Layout,
    MappedAddress,
    Record,
    Struct,
    check,
    codec_for,
)
from ebpfmesh.spec import ObjectSpec


class Endpoint(Record):
    address: Bytes[16]
    port: U16
    weight: U32 = 1


class Pair(Record):
    id: U64
    ends: Array[Endpoint, 2]
    on: Bool


def test_a_record_is_laid_out_as_c_does() -> None:
    assert Endpoint.layout.signature == "struct24{address@0:bytes[16],port@16:u16,weight@20:u32}"
    assert Pair.layout.size == 64
    assert [field.offset for field in Pair.layout.fields] == [0, 8, 56]


def test_a_packed_record_has_no_padding() -> None:
    class Tight(Record, packed=True):
        first: U8
        second: U32

    assert (Tight.layout.size, Tight.layout.fields[1].offset, Tight.layout.align) == (5, 1, 1)


def test_a_record_is_made_by_position_by_name_and_with_defaults() -> None:
    one = Endpoint(bytes(16), 80, 1)
    assert (
        one == Endpoint(bytes(16), 80) == Endpoint(port=80, address=bytes(16)) == Endpoint(bytes(16), port=80)
    )
    assert (one.port, one.weight) == (80, 1)
    for wrong in (
        lambda: Endpoint(bytes(16)),
        lambda: Endpoint(bytes(16), 1, 2, 3),
        lambda: Endpoint(bytes(16), 1, colour=3),
        lambda: Endpoint(bytes(16), 1, address=bytes(16)),
    ):
        with pytest.raises(TypeError, match="Endpoint"):
            wrong()


def test_a_record_is_frozen_hashable_copied_and_pickled() -> None:
    one = Endpoint(bytes(16), 80)
    for name in ("port", "colour"):
        with pytest.raises(AttributeError):
            setattr(one, name, 1)
    assert {one: 1}[Endpoint(bytes(16), 80)] == 1
    assert copy.deepcopy(one) == pickle.loads(pickle.dumps(one)) == one
    assert type(pickle.loads(pickle.dumps(one))) is Endpoint


def test_a_record_does_not_equal_one_with_other_fields() -> None:
    class Other(Record):
        a: Bytes[16]
        b: U16
        c: U32

    assert Other(bytes(16), 80, 1) != Endpoint(bytes(16), 80, 1)
    assert Endpoint(bytes(16), 80, 1) == (bytes(16), 80, 1)
    with pytest.raises(MapTypeError, match="has other fields"):
        Endpoint.layout.pack(Other(bytes(16), 80, 1))


def test_a_record_inherits_the_fields_of_its_base() -> None:
    class Counted(Endpoint):
        count: U64

    assert [field.name for field in Counted.layout.fields] == ["address", "port", "weight", "count"]
    assert Counted(bytes(16), 80, 2, 3).count == 3


def test_records_and_nested_records_come_back_as_records() -> None:
    pair = Pair(7, (Endpoint(bytes(16), 1), Endpoint(b"x" * 16, 2, 3)), True)
    back = Pair.layout.unpack(Pair.layout.pack(pair))
    assert back == pair
    assert (type(back), type(back.ends[1])) == (Pair, Endpoint)
    assert Pair.layout.unpack_many(Pair.layout.pack_many([pair] * 3)) == [pair] * 3
    assert type(Endpoint.layout.unpack_many(bytes(24))[0]) is Endpoint


def test_a_field_without_a_size_is_refused_by_name() -> None:
    with pytest.raises(MapTypeError, match=r"^Bad\.port: int does not say how many bytes it has"):

        class Bad(Record):
            port: int


def test_codecs_of_scalars() -> None:
    sizes = {U8: 1, U16: 2, U32: 4, U64: 8, I8: 1, I16: 2, I32: 4, I64: 8}
    for hint, size in sizes.items():
        assert codec_for(hint).size == size
        assert codec_for(hint).signature == ("i" if hint in (I8, I16, I32, I64) else "u") + str(8 * size)
    assert codec_for(bool).signature == codec_for(Bool).signature == "bool"
    assert codec_for(Bytes[6]) == codec_for(Annotated[bytes, Bytes(6)]) == Bytes(6)
    layout = Int(4)
    assert codec_for(layout) is layout
    for wrong in (int, bytes, str, Record, 5, None, Annotated[int, "u32"]):
        with pytest.raises(MapTypeError, match="how many bytes"):
            codec_for(wrong)


def test_addresses_are_packed_in_network_order() -> None:
    four, six, mapped = codec_for(IPv4Address), codec_for(IPv6), codec_for(MappedAddress)
    assert codec_for(IPv4) == four
    assert four.pack("10.0.0.1") == four.pack(IPv4Address("10.0.0.1")) == bytes([10, 0, 0, 1])
    assert four.unpack(bytes([10, 0, 0, 1])) == IPv4Address("10.0.0.1")
    assert six.pack("::1") == bytes(15) + b"\1"
    assert mapped.pack("10.0.0.1") == bytes(10) + b"\xff\xff\x0a\0\0\1"
    assert mapped.unpack(mapped.pack("10.0.0.1")) == IPv4Address("10.0.0.1")
    assert mapped.unpack(mapped.pack("fd00::1")) == IPv6Address("fd00::1")
    for codec, wrong in ((four, "::1"), (six, "10.0.0.1"), (four, "10.0.0"), (six, 5), (mapped, b"abc")):
        with pytest.raises(MapTypeError):
            codec.pack(wrong)
    with pytest.raises(MapTypeError):
        Address(8)


# --- the check against BTF ------------------------------------------------------------------------------------------


def struct_of(*fields: tuple[str, int, Layout], size: int) -> Struct:
    return Struct(size, [Field(*field) for field in fields])


ENDPOINT = (("address", 0, Bytes(16)), ("port", 16, Int(2)), ("weight", 20, Int(4)))


def difference(codec: Any, layout: Layout) -> str | None:
    try:
        check(codec_for(codec), layout, "map flows, key")
    except MapTypeError as error:
        return str(error)
    return None


def test_what_is_equal_passes() -> None:
    assert difference(Endpoint, struct_of(*ENDPOINT, size=24)) is None
    assert difference(U32, Int(4, name="port_t")) is None
    assert difference(U32, Enum(4, {"A": 1})) is None
    assert difference(Array[U32, 4], Array(Int(4), 4)) is None


def test_the_differing_field_is_named() -> None:
    cases = {
        "map flows, key.port: u16 is declared, the object has u32": struct_of(
            ENDPOINT[0], ("port", 16, Int(4)), ENDPOINT[2], size=24
        ),
        "map flows, key.port: u16 is declared, the object has i16": struct_of(
            ENDPOINT[0], ("port", 16, Int(2, signed=True)), ENDPOINT[2], size=24
        ),
        "map flows, key.port: at offset 16 by the declaration, at 18 in the object": struct_of(
            ENDPOINT[0], ("port", 18, Int(2)), ENDPOINT[2], size=24
        ),
        "map flows, key.weight: the object has no such field, it has address, port": struct_of(
            *ENDPOINT[:2], size=18
        ),
        "map flows, key.zone: the object has it at offset 24 (u32)": struct_of(
            *ENDPOINT, ("zone", 24, Int(4)), size=28
        ),
        "map flows, key: 24 bytes are declared, the object has 32": struct_of(*ENDPOINT, size=32),
        "map flows, key: struct Endpoint": Int(4),
    }
    for message, layout in cases.items():
        found = difference(Endpoint, layout)
        assert found is not None, message
        assert found.startswith(message), found


def test_other_differences() -> None:
    assert difference(U32, Int(8)) is not None
    assert difference(U32, Int(4, signed=True)) is not None
    assert difference(U8, Int(1, boolean=True)) is not None
    assert difference(U32, Bytes(4)) is not None
    assert difference(Array[U32, 4], Array(Int(4), 3)) is not None
    found = difference(Array[U32, 4], Array(Int(4, signed=True), 4))
    assert found is not None
    assert found.startswith("map flows, key[]: u32")


def test_raw_bytes_stand_for_an_address_but_not_for_a_struct() -> None:
    in6 = struct_of(("in6_u", 0, Bytes(16, name="union in6_u")), size=16)
    for layout in (Bytes(16), Array(Int(4), 4), in6):
        assert difference(Bytes[16], layout) is None
        assert difference(IPv6, layout) is None
    assert difference(IPv4, Int(4)) is None
    assert difference(Bytes[8], struct_of(("a", 0, Int(4)), ("b", 4, Int(4)), size=8)) is not None
    assert difference(Bytes[15], Bytes(16)) is not None


def test_a_union_takes_any_declaration_of_its_size() -> None:
    union = Bytes(8, name="union either")
    assert difference(U64, union) is None
    assert difference(Bytes[8], union) is None
    assert difference(U32, union) is not None


def test_padding_may_be_declared_or_not() -> None:
    padded = struct_of(*ENDPOINT[:2], ("_pad", 18, Bytes(2)), ENDPOINT[2], size=24)
    assert difference(Endpoint, padded) is None

    class Padded(Record):
        address: Bytes[16]
        port: U16
        reserved: Bytes[2]
        weight: U32

    assert difference(Padded, struct_of(*ENDPOINT, size=24)) is None


TYPES: list[tuple[str, str, Any]] = [
    ("__u8", "", U8),
    ("__u16", "", U16),
    ("__u32", "", U32),
    ("__u64", "", U64),
    ("signed char", "", I8),
    ("short", "", I16),
    ("int", "", I32),
    ("long long", "", I64),
    ("_Bool", "", Bool),
    ("__u8", "[6]", Bytes[6]),
    ("__u16", "[3]", Array[U16, 3]),
    ("__u64", "[2]", Array[U64, 2]),
]


@pytest.mark.parametrize("packed", [False, True])
def test_records_match_what_clang_makes_of_the_same_struct(packed: bool) -> None:
    """Forty structs of random fields, nested into each other, compared field by field."""
    randomness = random.Random(7)
    source, records = "", list[type[Record]]()
    for number in range(40):
        available = [*TYPES, *((f"struct s{n}", "", record) for n, record in enumerate(records))]
        chosen = [randomness.choice(available) for _ in range(randomness.randint(1, 7))]
        fields = "".join(f"{type} f{n}{bounds}; " for n, (type, bounds, _) in enumerate(chosen))
        attribute = " __attribute__((packed))" if packed else ""
        source += f"struct s{number} {{ {fields}}}{attribute};\n"
        source += f"struct {{ __uint(type, 2); __type(key, __u32); __type(value, struct s{number}); "
        source += f'__uint(max_entries, 1); }} m{number} SEC(".maps");\n'
        annotations = {f"f{n}": hint for n, (_, _, hint) in enumerate(chosen)}
        body = {"__annotations__": annotations, "__module__": __name__}
        records.append(type(f"S{number}", (Record,), body, packed=packed))  # type: ignore[call-overload]
    spec = ObjectSpec.from_bytes(compile_object(HEADER + source))
    for number, record in enumerate(records):
        layout = spec.maps[f"m{number}"].value
        assert layout is not None
        check(record.layout, layout, f"s{number}")
        assert packed or layout.align == record.layout.align  # BTF does not say packed where nothing shows it
        assert layout == record.layout
