"""ebpfmesh: build your own service mesh on eBPF. The kernel carries the traffic, Python decides.

    import ebpfmesh

    service = ebpfmesh.Service("web", addresses=["10.96.0.10:80"], backends=["10.0.0.1:8080", "10.0.0.2:8080"])
    with ebpfmesh.Mesh(ebpfmesh.Config("demo", cgroup="/demo", services=[service])) as mesh:
        print(mesh.status())

Layers, from the top; imports go down only, and each is useful without those above it: ``mesh`` composes ``tiers``;
``policy`` (the model, its check, its plan), ``engine`` (balancers), ``layout`` and ``spec`` (objects read offline)
are pure; ``objects``, ``hooks``, ``maps`` and ``features`` are the kernel; ``lowlevel`` is libbpf. Names here are
imported at their first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ebpfmesh import errors, features, hooks, maps
    from ebpfmesh.engine.balance.registry import balancer
    from ebpfmesh.engine.balance.table import HashKey, Pick, Table, Target
    from ebpfmesh.errors import EbpfMeshError
    from ebpfmesh.include import get_include
    from ebpfmesh.mesh import Changed, Mesh, Refused
    from ebpfmesh.objects import Objects, load
    from ebpfmesh.policy.model import Backend, Balance, Capacity, Config, Service
    from ebpfmesh.policy.plan import Plan
    from ebpfmesh.spec import ObjectSpec
    from ebpfmesh.tiers.connect.status import Status

__version__ = "0.1.0"

_HOME = {
    "Backend": "policy.model",
    "Balance": "policy.model",
    "Capacity": "policy.model",
    "Changed": "mesh",
    "Config": "policy.model",
    "EbpfMeshError": "errors",
    "HashKey": "engine.balance.table",
    "Mesh": "mesh",
    "ObjectSpec": "spec",
    "Objects": "objects",
    "Pick": "engine.balance.table",
    "Plan": "policy.plan",
    "Refused": "mesh",
    "Service": "policy.model",
    "Status": "tiers.connect.status",
    "Table": "engine.balance.table",
    "Target": "engine.balance.table",
    "balancer": "engine.balance.registry",
    "get_include": "include",
    "load": "objects",
}
_MODULES = ("errors", "features", "hooks", "maps")

__all__ = [
    "Backend",
    "Balance",
    "Capacity",
    "Changed",
    "Config",
    "EbpfMeshError",
    "HashKey",
    "Mesh",
    "ObjectSpec",
    "Objects",
    "Pick",
    "Plan",
    "Refused",
    "Service",
    "Status",
    "Table",
    "Target",
    "balancer",
    "errors",
    "features",
    "get_include",
    "hooks",
    "load",
    "maps",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"ebpfmesh.{name}")
    if name in _HOME:
        value = getattr(importlib.import_module(f"ebpfmesh.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'ebpfmesh' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
