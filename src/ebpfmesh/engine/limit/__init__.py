"""Limits: how many requests a key may make, in exact integers, as the kernel counts them."""

from __future__ import annotations

from ebpfmesh.engine.limit.gcra import Gcra, Taken
from ebpfmesh.engine.limit.keyed import Keyed

__all__ = ["Gcra", "Keyed", "Taken"]
