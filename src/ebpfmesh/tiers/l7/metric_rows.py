"""Rows of metrics whose names are given up: deleted before the numbers are given out again, to mean something else."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from struct import Struct
from typing import TYPE_CHECKING, Any

from ebpfmesh.errors import MapKeyError

if TYPE_CHECKING:
    from ebpfmesh.maps.map import Map

# service, backend (its counter), route, status class
_KEY = Struct("=IIII")


def forget(
    rows: Map[Any, Any],
    *,
    services: Collection[int] = (),
    backends: Collection[int] = (),
    routes: Collection[int] = (),
) -> int:
    """Delete the rows of ``l7_metrics`` that concern one of these numbers; returns how many.

    ``backends`` are elements of the connect tier's counters. A request that is under way may make a row anew.
    """
    if not services and not backends and not routes:
        return 0
    keys = b"".join(piece for piece, _ in rows.chunks_raw())
    gone = [
        keys[at : at + _KEY.size]
        for at in range(0, len(keys), _KEY.size)
        if (key := _KEY.unpack_from(keys, at))[0] in services or key[1] in backends or key[2] in routes
    ]
    for raw in gone:
        with suppress(MapKeyError):
            rows.delete_raw(raw)
    return len(gone)
