"""Type errors of the model as ConfigErrors: msgspec's message, its path, and a remedy where one is known."""

from __future__ import annotations

import re
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from ebpfmesh.errors import ConfigError
from ebpfmesh.policy.model import Balance, Service

_PATH = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<field>.*)`$", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<field>.*)`$", re.DOTALL)

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
        msgspec.convert(msgspec.to_builtins(value), model)
    except msgspec.ValidationError as error:
        return translated(error, where)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        return ConfigError(str(error), where=where)
    return None


def translated(error: msgspec.ValidationError, where: str = "$", fields: tuple[str, ...] = ()) -> ConfigError:
    """A ValidationError as a ConfigError whose path begins with ``where`` and ends with the field.

    ``fields`` are the known names, of which the nearest is suggested for an unknown one.
    """
    match = _PATH.match(str(error))
    what, path = (match["what"], match["path"] or "$") if match else (str(error), "$")
    path = where + path.removeprefix("$")
    remedy = ""
    if unknown := _UNKNOWN.match(what):
        from difflib import get_close_matches  # 3 ms, and only needed to say what is wrong

        near = get_close_matches(unknown["field"], fields, n=1)
        what = f"there is no field {unknown['field']!r}"
        path = f"{path}.{unknown['field']}"
        remedy = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(fields)}" if fields else ""
    elif missing := _MISSING.match(what):
        what, path = "it is missing", f"{path}.{missing['field']}"
    else:
        what = what[:1].lower() + what[1:].replace("`", "")
        choices = CHOICES.get(path.rpartition(".")[2], ())
        if choices and what.startswith("invalid enum value"):
            remedy = f"one of: {', '.join(choices)}"
    return ConfigError(what, where=path, remedy=remedy)
