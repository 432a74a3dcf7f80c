"""The maps of a mesh that others read too: opened by their pins, so that it does not matter whether the agent lives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from ebpfmesh.errors import HostError

if TYPE_CHECKING:
    from ebpfmesh.maps.mapped import MappedArray
    from ebpfmesh.ownership import PinDirectory


class Opened:
    """Maps by name, and the memory of those that are arrays; closing it closes all of them."""

    def __init__(self, maps: Mapping[str, Any]) -> None:
        self.maps = maps
        self._stack = ExitStack()
        self._mapped: dict[str, MappedArray] = {}

    @classmethod
    def pinned(cls, pins: PinDirectory, names: Iterable[str]) -> Self:
        """Open the maps ``names`` of the mesh pinned at ``pins``.

        Errors: HostError if the mesh has not all of them; CapabilityError. Capabilities: CAP_BPF.
        """
        from ebpfmesh.maps import open_pinned

        there = pins.maps()
        wanted = list(names)
        if not there:
            raise HostError(
                f"no mesh {pins.name} is installed",
                where=str(pins.path),
                remedy="start it: ebpfmesh run FILE",
            )
        if lacking := [name for name in wanted if name not in there]:
            raise HostError(
                f"the mesh {pins.name} judges no requests: it has no map {lacking[0]}",
                where=str(pins.path),
                remedy='give a service of it l7 = "http1", "http2" or "grpc"',
            )
        with ExitStack() as undo:
            maps = {name: undo.enter_context(open_pinned(pins.map_path(name))) for name in wanted}
            opened = cls(maps)
            opened._stack.push(undo.pop_all())
        return opened

    def row(self, name: str, index: int) -> bytes:
        """One element of an array, as it is now."""
        mapped = self._mapped.get(name)
        if mapped is None:
            mapped = self._mapped[name] = self._stack.enter_context(self.maps[name].mmap())
        start = index * mapped.stride
        return bytes(mapped.buffer[start : start + self.maps[name].value_size])

    def size(self, name: str) -> int:
        """How many elements the map holds at most."""
        return int(self.maps[name].max_entries)

    def pairs(self, name: str) -> list[tuple[bytes, bytes]]:
        """Every (key, value) of a hash."""
        map = self.maps[name]
        keys, values = map.lookup_batch_raw()
        count = len(keys) // map.key_size
        width = len(values) // count if count else 0
        return [
            (keys[at * map.key_size : (at + 1) * map.key_size], values[at * width : (at + 1) * width])
            for at in range(count)
        ]

    def close(self) -> None:
        """Close all. Twice is harmless."""
        self._mapped.clear()
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
