"""The name of an agent: one path component, for the run directory and for the pins."""

from __future__ import annotations

import re

from ebpfmesh.errors import ConfigError

# bpffs refuses dots in names (kernel/bpf/inode.c, bpf_lookup), so the run directory does without them too
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}")

RESERVED = frozenset({"bpffs"})  # <run root>/bpffs is our own mount point


def check_name(name: str, *, where: str = "name") -> str:
    """Return ``name`` if it is safe as one path component, else raise ConfigError.

    Allowed are 1 to 63 of A-Z a-z 0-9 _ -, not beginning with a hyphen; ``bpffs`` is taken.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is no name of an agent",
            where=where,
            remedy="1 to 63 letters, digits, _ or -, no leading -",
        )
    if name in RESERVED:
        raise ConfigError(f"the name {name!r} is reserved", where=where, remedy="choose another one")
    return name
