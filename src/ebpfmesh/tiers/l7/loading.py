"""Bringing the tier's objects in: they share maps with each other, with the connect tier and with a predecessor."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from contextlib import ExitStack
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ebpfmesh.tiers.l7.attaching import PROGRAMS
from ebpfmesh.tiers.l7.wire import SLOTS

if TYPE_CHECKING:
    from ebpfmesh.objects import Objects
    from ebpfmesh.ownership import PinDirectory
    from ebpfmesh.policy.model import Service
    from ebpfmesh.spec import ObjectSpec

FIRST = "l7"
"""The object with the programs that are attached, and the iterators."""
PROTOCOLS = {"http1": "l7_http1", "http2": "l7_http2", "grpc": "l7_http2"}
"""The object of each protocol of a service."""


def object_path(name: str) -> Path:
    """The built object in the installed package."""
    return Path(str(resources.files("ebpfmesh.bpf"))) / f"{name}.bpf.o"


def needed(services: Iterable[Service], pinned: Container[str] = ()) -> list[str]:
    """The objects that the services need; ``pinned`` are a predecessor's maps, whose connections are followed on."""
    protocols = {PROTOCOLS[service.l7] for service in services if service.l7 is not None}
    if "l7_http2" in pinned:
        protocols.add("l7_http2")
    if "l7_settings" in pinned:
        protocols.add("l7_http1")
    return [FIRST, *sorted(protocols)]


def specs(names: Iterable[str] = (FIRST, *dict.fromkeys(PROTOCOLS.values()))) -> dict[str, ObjectSpec]:
    """The specs of these objects. HostError if one was not built."""
    from ebpfmesh.errors import HostError
    from ebpfmesh.spec import ObjectSpec

    found = {}
    for name in names:
        path = object_path(name)
        if not path.exists():
            raise HostError(
                "it was not built", where=str(path), remedy="run `make objects`, or install the wheel"
            )
        found[name] = ObjectSpec.from_file(path)
    return found


class Loaded:
    """The open objects, and their maps by name: each map once, whichever object brought it first."""

    def __init__(self, pins: PinDirectory, connect: Mapping[str, Any]) -> None:
        self.objects: dict[str, Objects] = {}
        self.maps: dict[str, Any] = {}
        self._pins, self._connect = pins, connect

    @property
    def programs(self) -> dict[str, Any]:
        """Every loaded program, by name."""
        return {name: one for objects in self.objects.values() for name, one in objects.programs.items()}

    def add(self, found: Mapping[str, ObjectSpec], max_entries: Mapping[str, int]) -> None:
        """Load objects: with maps of the connect tier, those there are, those that are pinned, and new ones for the rest.

        Errors: LayoutError, LoadError, VerifierError, CapabilityError; nothing of ``found`` is loaded then.
        """
        from ebpfmesh import maps, objects
        from ebpfmesh.maps.info import types_of

        loaded: dict[str, Objects] = {}
        with ExitStack() as undo, ExitStack() as opened:
            opened.callback(types_of.cache_clear)  # the types of whole objects, read once for all their maps
            pinned = set(self._pins.maps())
            known: dict[str, Any] = {**self._connect, **self.maps}
            for spec in found.values():
                for name in spec.maps:
                    if name not in known and name in pinned:
                        known[name] = opened.enter_context(maps.open_pinned(self._pins.map_path(name)))
            for object_name, spec in found.items():
                reuse = {name: known[name] for name in spec.maps if name in known}
                capacities = {name: count for name, count in max_entries.items() if name in spec.maps}
                # a map that is there keeps the capacity that it was made with
                capacities |= {name: one.max_entries for name, one in reuse.items() if one.max_entries}
                wanted = [name for name in spec.programs if _wanted(object_name, name)]
                one = objects.load(spec, reuse=reuse, max_entries=capacities, programs=wanted)
                undo.callback(one.close)
                loaded[object_name] = one
                known = {**one.maps, **known}
            undo.pop_all()
        self.objects |= loaded
        for one in loaded.values():
            for name, each in one.maps.items():
                if name not in self._connect:
                    self.maps.setdefault(name, each)

    def close(self) -> None:
        """Close every program and map."""
        for objects in self.objects.values():
            objects.close()


def _wanted(object_name: str, program: str) -> bool:
    if object_name == FIRST:
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
