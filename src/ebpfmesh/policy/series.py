"""Series in the model are tuples; built in Python, lists and generators become tuples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec.structs import force_setattr


def as_tuple(value: Any) -> Any:
    """``value`` as a tuple, if it is a list or an iterator.

    What is no series of things stays as it is, a lone string too; the check then reports its type.
    """
    return tuple(value) if isinstance(value, list) or hasattr(value, "__next__") else value


def settle(struct: msgspec.Struct, **read: Callable[[Any], Any] | None) -> None:
    """Make tuples of the named fields of a frozen Struct, each element of which ``read`` may turn from its short form."""
    for field, of_one in read.items():
        given = getattr(struct, field)
        made = as_tuple(given)
        if of_one is not None and type(made) is tuple:
            made = tuple(map(of_one, made))
            if all(new is old for new, old in zip(made, given, strict=True)) and type(given) is tuple:
                continue
        if made is not given:
            force_setattr(struct, field, made)
