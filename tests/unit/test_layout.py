"""Layouts: bytes of integers, enums, arrays, structs, and back."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpfmesh.errors import MapTypeError
from ebpfmesh.layout import Array, Bytes, Enum, Field, Int, Layout, Struct

ENDPOINT = Struct(
    24, [Field("address", 0, Bytes(16)), Field("port", 16, Int(2)), Field("weight", 20, Int(4))]
)
FULL = (bytes(range(16)), 80, 7)


def test_a_struct_is_packed_with_zero_padding() -> None:
    assert ENDPOINT.pack(FULL) == bytes(range(16)) + b"\x50\0" + b"\0\0" + b"\7\0\0\0"


def test_a_struct_takes_a_mapping_a_tuple_a_list_and_its_own_value() -> None:
    packed = ENDPOINT.pack(FULL)
    assert ENDPOINT.pack({"weight": 7, "port": 80, "address": FULL[0]}) == packed
    assert ENDPOINT.pack(list(FULL)) == packed
    assert ENDPOINT.pack(ENDPOINT.unpack(packed)) == packed


def test_the_value_of_a_struct_has_attributes_names_and_a_tuples_equality() -> None:
    value = ENDPOINT.unpack(ENDPOINT.pack(FULL))
    assert (value.port, value["weight"], value[0]) == (80, 7, FULL[0])
    assert value == FULL
    assert value._asdict() == {"address": FULL[0], "port": 80, "weight": 7}
    assert repr(value).endswith("port=80, weight=7)")
    with pytest.raises(KeyError):
        value["colour"]


def test_a_field_may_be_named_like_a_keyword_or_a_method() -> None:
    layout = Struct(12, [Field(name, 4 * n, Int(4)) for n, name in enumerate(("from", "count", "_make"))])
    value = layout.unpack(layout.pack((1, 2, 3)))
    assert (value["from"], value.count, value["_make"]) == (1, 2, 3)
    assert layout.unpack_many(layout.pack_many([value] * 2)) == [value] * 2


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ((bytes(16), 70000, 1), "port: 70000 does not fit u16"),
        ((bytes(16), -1, 1), "port: -1 does not fit u16"),
        ((bytes(15), 1, 1), "address: 15 bytes where 16 are wanted"),
        ((bytes(17), 1, 1), "address: 17 bytes where 16 are wanted"),
        (("x" * 16, 1, 1), "address: 'xxxxxxxxxxxxxxxx' is no bytes"),
        ((bytes(16), 1.0, 1), "port: 1.0 is no integer"),
        ((bytes(16), None, 1), "port: None is no integer"),
        ((bytes(16), 1), "2 values where 3 are wanted"),
        ({"address": bytes(16), "port": 1}, "weight: no value was given"),
        ({"address": bytes(16), "port": 1, "weight": 1, "colour": 1}, "the struct has no field colour"),
        (b"abc", "b'abc' is no struct"),
        (None, "None is no struct"),
    ],
)
def test_what_does_not_fit_is_one_error_that_names_the_field(value: Any, message: str) -> None:
    for pack in (ENDPOINT.pack, lambda value: ENDPOINT.pack_many([FULL, value])):
        with pytest.raises(MapTypeError) as caught:
            pack(value)
        assert message in str(caught.value)


def test_the_path_of_a_nested_field_is_named() -> None:
    outer = Struct(56, [Field("id", 0, Int(8)), Field("ends", 8, Array(ENDPOINT, 2))])
    with pytest.raises(MapTypeError, match=r"^ends\[1\]\.port: 65536 does not fit u16"):
        outer.pack((1, [FULL, (bytes(16), 65536, 1)]))


def test_the_value_of_another_struct_is_refused_even_if_its_numbers_fit() -> None:
    other = Struct(8, [Field("service", 0, Int(4)), Field("id", 4, Int(4))])
    layout = Struct(8, [Field("start", 0, Int(4)), Field("count", 4, Int(4))])
    with pytest.raises(MapTypeError, match="has other fields"):
        layout.pack(other.unpack(bytes(8)))


def test_text_is_filled_up_but_bytes_must_be_exact() -> None:
    assert Bytes(4, text=True).pack(b"ab") == b"ab\0\0"
    with pytest.raises(MapTypeError):
        Bytes(4, text=True).pack(b"abcde")
    with pytest.raises(MapTypeError):
        Bytes(4).pack(b"ab")
    assert Bytes(2).pack(bytearray(b"ab")) == b"ab"


def test_a_bool_is_no_other_number() -> None:
    layout = Int(1, boolean=True)
    assert (layout.pack(True), layout.pack(0), layout.unpack(b"\x01")) == (b"\x01", b"\0", True)
    for wrong in (2, "no", None):
        with pytest.raises(MapTypeError):
            layout.pack(wrong)
        with pytest.raises(MapTypeError):
            Struct(1, [Field("on", 0, layout)]).pack((wrong,))
        with pytest.raises(MapTypeError):
            layout.pack_many([True, wrong])


def test_an_enum_takes_names_and_numbers() -> None:
    layout = Enum(4, {"FIRST": 0, "FIFTH": 5})
    assert layout.pack("FIFTH") == layout.pack(5) == b"\5\0\0\0"
    assert layout.unpack(b"\7\0\0\0") == 7
    with pytest.raises(MapTypeError, match="no enumerator"):
        layout.pack("SIXTH")


def test_a_buffer_of_the_wrong_length_is_an_error() -> None:
    for layout in (ENDPOINT, Int(4), Bytes(3), Array(Int(2), 3), Enum(4, {})):
        with pytest.raises(MapTypeError, match="bytes where"):
            layout.unpack(bytes(layout.size + 1))
        with pytest.raises(MapTypeError, match="no whole number"):
            layout.unpack_many(bytes(layout.size + 1))


def test_overlapping_and_leaving_fields_are_refused() -> None:
    with pytest.raises(MapTypeError, match="overlap"):
        Struct(8, [Field("a", 0, Int(4)), Field("b", 2, Int(4))])
    with pytest.raises(MapTypeError, match="overlap or leave"):
        Struct(4, [Field("a", 0, Int(8))])
    with pytest.raises(MapTypeError, match="this name"):
        Struct(8, [Field("a", 0, Int(4)), Field("a", 4, Int(4))])
    with pytest.raises(MapTypeError, match="3 bytes"):
        Int(3)


def test_the_hash_says_whether_bytes_mean_the_same() -> None:
    assert Int(4, name="__u32").hash() == Int(4, name="port_t").hash()
    different: list[Layout] = [
        Int(4),
        Int(4, signed=True),
        Int(8),
        Bytes(4),
        Bytes(4, text=True),
        Array(Int(1), 4),
        Enum(4, {"A": 0}),
        Enum(4, {"A": 1}),
        Struct(4, [Field("a", 0, Int(4))]),
        Struct(4, [Field("b", 0, Int(4))]),
        Struct(8, [Field("a", 0, Int(4))]),
        Struct(8, [Field("a", 4, Int(4))]),
    ]
    assert len({layout.hash() for layout in different}) == len(different)
    assert len(set(different)) == len(different)


def test_the_hash_is_the_same_in_every_version() -> None:
    # pinned maps carry it: a change here makes every running mesh refuse its take-over
    assert ENDPOINT.signature == "struct24{address@0:bytes[16],port@16:u16,weight@20:u32}"
    assert ENDPOINT.hash() == "2f787b7a77ae202b2146a32975a880c2cee08ec351d6b6e4182ba0773b8f6133"


def test_the_format_reads_like_c() -> None:
    outer = Struct(56, [Field("id", 0, Int(8)), Field("ends", 8, Array(ENDPOINT, 2))], name="pair")
    assert outer.format == (
        "struct pair { u64 id; struct { u8 address[16]; u16 port; u32 weight; } ends[2]; }"
    )
    assert Array(Array(Int(2), 3), 2).format == "u16[2][3]"


# --- every layout ---------------------------------------------------------------------------------------------------


def layouts() -> st.SearchStrategy[Layout]:
    scalars: st.SearchStrategy[Layout] = st.one_of(
        st.builds(Int, st.sampled_from([1, 2, 4, 8]), signed=st.booleans()),
        st.just(Int(1, boolean=True)),
        st.builds(Bytes, st.integers(1, 20), text=st.booleans()),
        st.just(Enum(4, {"A": 1})),
    )
    return st.recursive(
        scalars, lambda inner: st.builds(Array, inner, st.integers(1, 4)) | structs(inner), max_leaves=8
    )


@st.composite
def structs(draw: st.DrawFn, inner: st.SearchStrategy[Layout]) -> Layout:
    end, fields = 0, []
    for number, layout in enumerate(draw(st.lists(inner, min_size=1, max_size=5))):
        fields.append(Field(f"field{number}", end + draw(st.integers(0, 3)), layout))
        end = fields[-1].end
    return Struct(end + draw(st.integers(0, 3)), fields)


def value_of(layout: Layout, draw: st.DrawFn) -> Any:
    match layout:
        case Bytes():
            return draw(st.binary(min_size=layout.size, max_size=layout.size))
        case Int():
            value = draw(st.integers(*layout.range))
            return bool(value) if layout.boolean else value
        case Array():
            return tuple(value_of(layout.of, draw) for _ in range(layout.count))
        case Struct():
            return tuple(value_of(field.layout, draw) for field in layout.fields)
    raise AssertionError(layout)


@given(st.data())
def test_every_value_comes_back_alone_and_in_batches(data: st.DataObject) -> None:
    layout = data.draw(layouts())
    values = [data.draw(st.composite(lambda draw: value_of(layout, draw))()) for _ in range(3)]
    single = [layout.pack(value) for value in values]
    assert all(len(packed) == layout.size == struct.calcsize(f"<{layout.code()}") for packed in single)
    assert [layout.unpack(packed) for packed in single] == values
    assert layout.pack_many(values) == b"".join(single)
    assert layout.pack_many(iter(values)) == b"".join(single)
    assert layout.unpack_many(b"".join(single)) == values
    assert layout.unpack_many(memoryview(bytearray(b"".join(single)))) == values
    assert layout.unpack_many(b"") == []


@given(st.data())
def test_every_byte_outside_a_field_is_zero(data: st.DataObject) -> None:
    layout = data.draw(structs(layouts()))
    assert isinstance(layout, Struct)
    packed = layout.pack(layout.unpack(b"\xff" * layout.size))
    covered = {byte for field in layout.fields for byte in range(field.offset, field.end)}
    assert all(packed[byte] == 0 for byte in set(range(layout.size)) - covered)
