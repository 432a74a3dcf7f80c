"""The model of a mesh: services and what holds for them; checked, compared and sized without a kernel."""

from __future__ import annotations

from ebpfmesh.identity import Workload
from ebpfmesh.policy.fault import Fault
from ebpfmesh.policy.http import Http
from ebpfmesh.policy.limit import Limit
from ebpfmesh.policy.log import Log
from ebpfmesh.policy.model import Backend, Balance, Capacity, Config, Service
from ebpfmesh.policy.reply import Reply
from ebpfmesh.policy.request_match import GrpcMatch, HeaderMatch
from ebpfmesh.policy.route import Route
from ebpfmesh.policy.rule import Rule
from ebpfmesh.policy.source import Source

__all__ = [
    "Backend",
    "Balance",
    "Capacity",
    "Config",
    "Fault",
    "GrpcMatch",
    "HeaderMatch",
    "Http",
    "Limit",
    "Log",
    "Reply",
    "Route",
    "Rule",
    "Service",
    "Source",
    "Workload",
]
