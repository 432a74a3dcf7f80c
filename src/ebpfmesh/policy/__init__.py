"""The model of a mesh: services and what holds for them; checked, compared and sized without a kernel."""

from __future__ import annotations

from ebpfmesh.policy.model import Backend, Balance, Capacity, Config, Service

__all__ = ["Backend", "Balance", "Capacity", "Config", "Service"]
