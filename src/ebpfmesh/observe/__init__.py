"""What the kernel counted and decided, and why: metrics, decisions, explanations.

`Observer` reads the maps of a mesh, whether its agent lives or not.
"""

from __future__ import annotations

from ebpfmesh.observe.decision import Decision
from ebpfmesh.observe.latency import Between, Latency
from ebpfmesh.observe.log import LogCounters, Stream
from ebpfmesh.observe.metrics import LimitMetrics, Metrics, Row, ServiceMetrics
from ebpfmesh.observe.observer import Observer

__all__ = [
    "Between",
    "Decision",
    "Latency",
    "LimitMetrics",
    "LogCounters",
    "Metrics",
    "Observer",
    "Row",
    "ServiceMetrics",
    "Stream",
]
