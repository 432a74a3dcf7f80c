"""Bringing the tier's objects in: three that share maps with each other, with the connect tier and with a predecessor."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ebpfmesh.tiers.l7.attaching import PROGRAMS
from ebpfmesh.tiers.l7.wire import SLOTS

if TYPE_CHECKING:
    from ebpfmesh.objects import Objects
    from ebpfmesh.ownership import PinDirectory
    from ebpfmesh.spec import ObjectSpec

OBJECTS = ("l7", "l7_http1", "l7_http2")
"""The first has the programs that are attached and the maps' iterators; the others those of the protocols."""


def object_path(name: str) -> Path:
    """The built object in the installed package."""
    return Path(str(resources.files("ebpfmesh.bpf"))) / f"{name}.bpf.o"


def specs() -> dict[str, ObjectSpec]:
    """The specs of the objects that were built. The first must be there: LoadError."""
    from ebpfmesh.spec import ObjectSpec

    return {
        name: ObjectSpec.from_file(object_path(name))
        for name in OBJECTS
        if name == OBJECTS[0] or object_path(name).exists()
    }


class Loaded:
    """The open objects, and their maps by name: each map once, whichever object brought it."""

    def __init__(self, objects: dict[str, Objects], maps: dict[str, Any], own: set[str]) -> None:
        self.objects, self.maps, self.own = objects, maps, own

    @property
    def programs(self) -> dict[str, Any]:
        """Every loaded program, by name."""
        return {name: one for objects in self.objects.values() for name, one in objects.programs.items()}

    def close(self) -> None:
        """Close every program and map."""
        for objects in self.objects.values():
            objects.close()


def load(
    found: Mapping[str, ObjectSpec],
    pins: PinDirectory,
    connect: Mapping[str, Any],
    max_entries: Mapping[str, int],
) -> Loaded:
    """Load the objects: with the maps of the connect tier, those that a predecessor pinned, and new ones for the rest.

    Errors: LayoutError, LoadError, VerifierError, CapabilityError.
    """
    from ebpfmesh import maps, objects

    with ExitStack() as undo, ExitStack() as opened:
        there = set(pins.maps())
        known: dict[str, Any] = dict(connect)
        for spec in found.values():
            for name in spec.maps:
                if name not in known and name in there:
                    known[name] = opened.enter_context(maps.open_pinned(pins.map_path(name)))
        loaded: dict[str, Objects] = {}
        result: dict[str, Any] = {}
        for object_name, spec in found.items():
            reuse = {name: known[name] for name in spec.maps if name in known}
            capacities = {name: count for name, count in max_entries.items() if name in spec.maps}
            # a map that is there keeps the capacity that it was made with
            capacities |= {name: one.max_entries for name, one in reuse.items() if one.max_entries}
            wanted = [name for name in spec.programs if _wanted(object_name, name)]
            loaded[object_name] = objects.load(spec, reuse=reuse, max_entries=capacities, programs=wanted)
            undo.callback(loaded[object_name].close)
            for name, one in loaded[object_name].maps.items():
                if name not in connect:
                    result.setdefault(name, one)
                known.setdefault(name, one)
        undo.pop_all()
    return Loaded(loaded, result, set(result))


def _wanted(object_name: str, program: str) -> bool:
    if object_name == OBJECTS[0]:
        return program in PROGRAMS
    return any(program in pair for pair in SLOTS.values())


def list_with(spec: ObjectSpec, reuse: Mapping[str, Any], program: str, *, closing: ExitStack) -> Any:
    """Load one of the first object's iterators, which are not loaded otherwise."""
    from ebpfmesh import objects

    those = {name: reuse[name] for name in spec.maps if name in reuse}
    capacities = {name: one.max_entries for name, one in those.items() if one.max_entries}
    loaded = objects.load(spec, reuse=those, max_entries=capacities, programs=[program])
    closing.callback(loaded.close)
    return loaded.programs[program]
