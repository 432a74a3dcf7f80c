"""Which capabilities this process holds, read from /proc."""

from __future__ import annotations

from pathlib import Path

# include/uapi/linux/capability.h; only those a mesh needs
NUMBERS = {"CAP_NET_BIND_SERVICE": 10, "CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13, "CAP_SYS_ADMIN": 21,
           "CAP_SYS_RESOURCE": 24, "CAP_PERFMON": 38, "CAP_BPF": 39}  # fmt: skip

_IMPLIED_BY_SYS_ADMIN = {"CAP_BPF", "CAP_PERFMON"}  # kernel commits 2c78ee898d8f, 980737282232 (5.8)


def effective() -> frozenset[str]:
    """The names of the effective capabilities of this thread, of those a mesh needs."""
    for line in Path("/proc/thread-self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            mask = int(line.split()[1], 16)
            held = {name for name, number in NUMBERS.items() if mask >> number & 1}
            return frozenset(held | _IMPLIED_BY_SYS_ADMIN if "CAP_SYS_ADMIN" in held else held)
    return frozenset()


def missing(needed: list[str]) -> list[str]:
    """Those of ``needed`` that this thread lacks."""
    held = effective()
    return [name for name in needed if name not in held]
