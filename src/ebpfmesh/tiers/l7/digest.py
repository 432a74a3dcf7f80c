"""What a policy was compiled from, in 64 bits: an agent that takes over writes only what differs."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

if TYPE_CHECKING:
    from ebpfmesh.policy.model import Config, Service

COMPILER = 1
"""Raised whenever the same policy is compiled to something else."""

_encode = msgspec.msgpack.Encoder(order="deterministic").encode


def digest_of(service: Service, config: Config, cgroups: Mapping[str, str]) -> int:
    """A digest of everything that the tables of the service are made from; never 0."""
    from ebpfmesh.policy.model import Balance

    policy = replace(
        service, backends=(), balance=Balance(), removed_backends="finish", no_backend="ECONNREFUSED"
    )
    shared = getattr(config, "workloads", ()), getattr(config, "replies", ())
    text = _encode((COMPILER, policy, *shared, dict(cgroups)))
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little") | 1
