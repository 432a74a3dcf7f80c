"""From a Python type to the layout that packs it, and the check of that layout against the object's BTF.

A codec *is* a layout whose values are of that Python type: a Record's is a Struct that unpacks to the Record.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, get_origin

from ebpfmesh.errors import MapTypeError
from ebpfmesh.layout.address import Address
from ebpfmesh.layout.array import Array, Bytes
from ebpfmesh.layout.integer import Int
from ebpfmesh.layout.layout import Layout
from ebpfmesh.layout.record import Record
from ebpfmesh.layout.structure import Field, Struct

__all__ = ["check", "codec_for"]

_PADDING = re.compile(r"_*(pad|padding|reserved|unused)\d*_*")


def codec_for(wanted: Any) -> Layout:
    """The codec of ``wanted``: a Layout, an annotation (U32, Bytes[16]), a Record, bool, IPv4Address or IPv6Address.

    Errors: MapTypeError if its bytes cannot be known, as of int.
    """
    if isinstance(wanted, Layout):
        return wanted
    if get_origin(wanted) is Annotated:
        for note in wanted.__metadata__:
            if isinstance(note, Layout):
                return note
    if isinstance(wanted, type):
        if issubclass(wanted, Record) and wanted is not Record:
            return wanted.layout
        if wanted is bool:
            return Int(1, boolean=True)
        if wanted.__module__ == "ipaddress" and wanted.__name__ in ("IPv4Address", "IPv6Address"):
            return Address(4 if wanted.__name__ == "IPv4Address" else 16)
    raise MapTypeError(
        f"{getattr(wanted, '__name__', None) or repr(wanted)} does not say how many bytes it has",
        remedy="use U8 to U64, I8 to I64, Bytes[n], a Record or a Layout",
    )


def check(codec: Layout, layout: Layout, where: str) -> None:
    """MapTypeError, naming the first field that differs, unless ``codec`` reads and writes what ``layout`` says.

    Equal are: an integer and an enum of its size and sign; bytes and an integer, an array or a struct of one field of
    that size (the raw view of an address); anything and a union of its size. A field named pad or reserved may be
    missing on either side. ``where`` says whose layout it is (``map flows, key``).
    """
    if isinstance(layout, Bytes) and layout.name and codec.size == layout.size:
        return  # a union, or what BTF could not say: the declared type decides
    if isinstance(codec, Struct) and isinstance(layout, Struct):
        _check_fields(codec, layout, where)
    elif isinstance(codec, Array) and isinstance(layout, Array):
        if codec.count != layout.count:
            raise _differs(codec, layout, where)
        check(codec.of, layout.of, f"{where}[]")
        return
    elif not _same_scalar(codec, layout):
        raise _differs(codec, layout, where)
    if codec.size != layout.size:
        raise MapTypeError(f"{codec.size} bytes are declared, the object has {layout.size}", where=where)


def _differs(codec: Layout, layout: Layout, where: str) -> MapTypeError:
    return MapTypeError(f"{codec.format} is declared, the object has {layout.format}", where=where)


def _same_scalar(codec: Layout, layout: Layout) -> bool:
    if codec.size != layout.size:
        return False
    if isinstance(codec, Int) and isinstance(layout, Int):
        return codec.signed == layout.signed and codec.boolean == layout.boolean
    if isinstance(codec, Bytes | Address):
        while isinstance(layout, Struct) and len(layout.fields) == 1:
            layout = layout.fields[0].layout
        return isinstance(layout, Bytes | Address | Int | Array)
    return False


def _is_padding(field: Field) -> bool:
    return bool(_PADDING.fullmatch(field.name))


def _check_fields(codec: Struct, layout: Struct, where: str) -> None:
    declared = {field.name: field for field in codec.fields}
    actual = {field.name: field for field in layout.fields}
    for name, field in declared.items():
        other = actual.get(name)
        if other is None:
            if _is_padding(field):
                continue
            raise MapTypeError(
                f"the object has no such field, it has {', '.join(actual)}", where=f"{where}.{name}"
            )
        if field.offset != other.offset:
            raise MapTypeError(
                f"at offset {field.offset} by the declaration, at {other.offset} in the object",
                where=f"{where}.{name}",
                remedy="declare the padding, or packed=True",
            )
        check(field.layout, other.layout, f"{where}.{name}")
    for name, field in actual.items():
        if name not in declared and not _is_padding(field):
            raise MapTypeError(
                f"the object has it at offset {field.offset} ({field.layout.format}), the declaration does not",
                where=f"{where}.{name}",
            )
