"""Balancers: each builds the table from which the kernel picks a backend in constant time."""

from __future__ import annotations

from ebpfmesh.engine.balance.registry import Balancer, balancer, build, get, names
from ebpfmesh.engine.balance.table import HashKey, Pick, Table, Target

__all__ = ["Balancer", "HashKey", "Pick", "Table", "Target", "balancer", "build", "get", "names"]
