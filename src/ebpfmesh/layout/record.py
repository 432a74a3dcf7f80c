"""Record: a C struct declared as a Python class, ``class Key(Record): address: Bytes[16]; port: U16``."""

from __future__ import annotations

import sys
from typing import Any, ClassVar, dataclass_transform

from ebpfmesh.errors import MapTypeError
from ebpfmesh.layout.structure import Field, Struct, StructValue, field_property

__all__ = ["Record"]


@dataclass_transform(frozen_default=True)
class Record(StructValue):
    """Base of declared structs: frozen, comparable, hashable, a tuple of its fields in their order.

    Fields are annotated with U8 … U64, I8 … I64, Bool, ``Bytes[n]``, ``Array[U32, n]``, IPv4, IPv6, MappedAddress,
    another Record, or ``Annotated[…, layout]``; they may have defaults. They are laid out as C does on every 64-bit
    target, with natural alignment, or without any padding in ``class Key(Record, packed=True)``. ``layout`` is the
    Struct. Errors: MapTypeError for an annotation without a layout.
    """

    layout: ClassVar[Struct]
    _defaults: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls, *, packed: bool = False) -> None:
        # as a local class's annotations may name things of the function around it
        hints = _hints(cls, sys._getframe(1).f_locals)
        end, align, fields, defaults = 0, 1, [], dict(cls._defaults)
        from ebpfmesh.layout.codec import codec_for

        for name, hint in hints.items():
            try:
                layout = codec_for(hint)
            except MapTypeError as error:
                raise MapTypeError(error.what, where=f"{cls.__name__}.{name}", remedy=error.remedy) from None
            step = 1 if packed else layout.align
            fields.append(Field(name, -(-end // step) * step, layout))
            end, align = fields[-1].end, max(align, step)
            default = cls.__dict__.get(name, defaults)  # no default is itself a dict of all of them
            if default is not defaults:
                defaults[name] = default
            setattr(cls, name, field_property(len(fields) - 1))
        cls._fields, cls._defaults = tuple(hints), defaults
        size = -(-end // align) * align
        cls.layout = Struct(size, fields, name=cls.__name__, align=align, value=cls)

    def __new__(cls, *values: Any, **named: Any) -> Record:
        """Values in the order of the fields, or by name. Errors: TypeError for a missing or unknown field.

        Ranges and lengths are checked when the record is packed.
        """
        fields = cls._fields
        if not named and len(values) == len(fields):
            return tuple.__new__(cls, values)
        if len(values) > len(fields):
            raise TypeError(f"{cls.__name__} has {len(fields)} fields, {len(values)} values were given")
        given = {**dict(zip(fields, values, strict=False))}
        for name, value in named.items():
            if name in given or name not in fields:
                raise TypeError(
                    f"{cls.__name__}: field {name} is {'given twice' if name in given else 'unknown'}"
                )
            given[name] = value
        given = {**cls._defaults, **given}
        if missing := [name for name in fields if name not in given]:
            raise TypeError(f"{cls.__name__}: no value for {', '.join(missing)}")
        return tuple.__new__(cls, [given[name] for name in fields])

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a {type(self).__name__} is frozen: {name} cannot be set")

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, StructValue) and other._fields != self._fields:
            return False
        return tuple.__eq__(self, other) if isinstance(other, tuple) else NotImplemented

    def __ne__(self, other: object) -> bool:
        equal = self.__eq__(other)
        return equal if equal is NotImplemented else not equal

    __hash__ = tuple.__hash__


def _hints(cls: type, names: dict[str, Any]) -> dict[str, Any]:
    """The annotations of ``cls`` and its bases, evaluated where they are text, in the order of declaration."""
    import inspect

    hints: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if not issubclass(base, Record) or base is Record:
            continue
        scope = vars(sys.modules[base.__module__])
        for name, hint in inspect.get_annotations(base).items():
            value = eval(hint, scope, names) if isinstance(hint, str) else hint
            if "ClassVar" not in str(hint):
                hints[name] = value
    return hints
