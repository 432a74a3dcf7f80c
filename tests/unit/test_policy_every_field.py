"""examples/every_field.toml has every field of the model, with a value that the check takes."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import msgspec

from ebpfmesh.policy import Config, toml
from ebpfmesh.policy.check import problems
from ebpfmesh.policy.notice import notices

FILE = Path(__file__).parents[2] / "examples/every_field.toml"

Seen = dict[type[msgspec.Struct], set[str]]


def structs(hint: Any) -> list[type[msgspec.Struct]]:
    """The Structs in a type."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return [hint]
    return [found for part in get_args(hint) for found in structs(part)]


def owner(struct: type[msgspec.Struct], name: str) -> type[msgspec.Struct]:
    """The Struct that declares a field: what rules, limits, faults and routes share is written once."""
    bases = [one for one in struct.__mro__ if issubclass(one, msgspec.Struct) and one is not msgspec.Struct]
    return [one for one in bases if name in one.__struct_encode_fields__][-1]


def model(struct: type[msgspec.Struct], found: Seen) -> Seen:
    """Every field of a Struct, and of those that its fields hold, by their names in a file."""
    for name in struct.__struct_encode_fields__:
        found.setdefault(owner(struct, name), set()).add(name)
    for hint in get_type_hints(struct).values():
        for inner in structs(hint):
            model(inner, found)
    return found


def written(struct: type[msgspec.Struct], table: dict[str, Any], found: Seen) -> Seen:
    """The fields that a file writes, by the Structs that they belong to; short forms aside."""
    for name in table:
        found.setdefault(owner(struct, name), set()).add(name)
    hints = dict(zip(struct.__struct_encode_fields__, struct.__struct_fields__, strict=True))
    for name, value in table.items():
        hint = get_type_hints(struct)[hints[name]]
        if get_origin(hint) is dict or not structs(hint):
            continue
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict) and set(one) <= set(structs(hint)[0].__struct_encode_fields__):
                written(structs(hint)[0], one, found)
    return found


def test_every_field_is_in_the_example() -> None:
    data = tomllib.loads(FILE.read_text())
    assert written(Config, data, {}) == model(Config, {})


def test_the_example_is_sound() -> None:
    config = toml.read(FILE)
    assert problems(config) == []
    assert notices(config) == []
