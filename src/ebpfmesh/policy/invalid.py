"""Type errors of the model as ConfigErrors: msgspec's message, its path, and a remedy where one is known."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from ebpfmesh.errors import ConfigError
from ebpfmesh.policy.model import Balance, Config, Service
from ebpfmesh.policy.nearest import nearest

_PATH = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<field>.*)`$", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<field>.*)`$", re.DOTALL)
_FIELD = re.compile(r"\.([A-Za-z0-9_]+)")

CHOICES = {
    field: tuple(get_args(hint))
    for model in (Service, Balance)
    for field, hint in get_type_hints(model).items()
    if get_origin(hint) is Literal
}
"""The values of each field that has a choice of names."""


def invalid(value: Any, model: type[msgspec.Struct], where: str) -> ConfigError | None:
    """The first thing about an object built in Python that the types of its model do not allow, or None.

    Constructing a Struct checks no types; this does, by taking it apart and reading it again.
    """
    try:
        made = msgspec.convert(msgspec.to_builtins(value), model)
    except msgspec.ValidationError as error:
        return translated(error, where, model)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        return ConfigError(str(error), where=where)
    return _foreign(value, made, where)


def translated(
    error: msgspec.ValidationError, where: str = "$", model: type[msgspec.Struct] = Config
) -> ConfigError:
    """A ValidationError of ``model`` as a ConfigError whose path begins with ``where`` and ends with the field."""
    match = _PATH.match(str(error))
    what, path = (match["what"], match["path"] or "$") if match else (str(error), "$")
    inner = path.removeprefix("$")
    path = where + inner
    remedy = ""
    if unknown := _UNKNOWN.match(what):
        what = f"there is no field {unknown['field']!r}"
        path = f"{path}.{unknown['field']}"
        struct = _at(model, inner)
        remedy = nearest(unknown["field"], struct.__struct_encode_fields__, most=None) if struct else ""
    elif missing := _MISSING.match(what):
        what, path = "it is missing", f"{path}.{missing['field']}"
    else:
        what = what[:1].lower() + what[1:].replace("`", "")
        parent, _, field = inner.rpartition(".")
        struct = _at(model, parent)
        choices = _choices(struct, field) if struct else ()
        if choices and what.startswith("invalid enum value"):
            remedy = f"one of: {', '.join(choices)}"
    return ConfigError(what, where=path, remedy=remedy)


def _foreign(value: Any, made: Any, where: str) -> ConfigError | None:
    """What only looks like a part of the model: a dict in place of a Struct reads like one, and is none."""
    if isinstance(made, msgspec.Struct):
        if type(value) is not type(made):
            kind = type(made).__name__
            return ConfigError(f"it is {type(value).__name__}, not a {kind}", where=where)
        fields = zip(made.__struct_fields__, made.__struct_encode_fields__, strict=True)
        pairs = [(getattr(value, one), getattr(made, one), f"{where}.{name}") for one, name in fields]
    elif isinstance(made, tuple):
        if not isinstance(value, tuple):
            return ConfigError(f"it is {type(value).__name__}, not a tuple", where=where)
        pairs = [(*both, f"{where}[{n}]") for n, both in enumerate(zip(value, made, strict=True))]
    else:
        return None
    return next((wrong for one in pairs if (wrong := _foreign(*one))), None)


def _at(model: type[msgspec.Struct], path: str) -> type[msgspec.Struct] | None:
    """The Struct at a path such as ".services[0].balance" below a model; None if it is none."""
    found: type[msgspec.Struct] | None = model
    for name in _FIELD.findall(path):
        hint = _hints(found).get(name) if found else None
        found = next((one for one in _within(hint) if _is_struct(one)), None)
    return found


def _choices(struct: type[msgspec.Struct], field: str) -> tuple[str, ...]:
    for one in _within(_hints(struct).get(field)):
        if get_origin(one) is Literal:
            return get_args(one)
    return ()


@cache
def _hints(struct: type[msgspec.Struct]) -> dict[str, Any]:
    hints = get_type_hints(struct)
    return {
        name: hints[field]
        for field, name in zip(struct.__struct_fields__, struct.__struct_encode_fields__, strict=True)
    }


def _within(hint: Any) -> list[Any]:
    """A type and, if it is a union or a tuple, those in it."""
    parts = [] if get_origin(hint) is Literal else get_args(hint)
    return [hint, *(inner for part in parts for inner in _within(part))]


def _is_struct(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, msgspec.Struct)
