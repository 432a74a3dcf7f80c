"""Sizes in bytes as people write them: 1048576, "256MiB", "1.5 GB"."""

from __future__ import annotations

import re

from ebpfmesh.errors import ConfigError

_UNITS = {
    "": 1, "b": 1,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip

_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([a-zA-Z]{0,3})")


def parse(value: int | str) -> int:
    """The number of bytes, at least 1; ConfigError without a path for anything that is not a size."""
    number = _read(value) if isinstance(value, str) else value
    if number < 1:
        raise ConfigError(f"{value!r} is no size", remedy="a size is at least 1 byte")
    return number


def _read(text: str) -> int:
    match = _SIZE.fullmatch(text.strip())
    unit = _UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise ConfigError(f"{text!r} is no size", remedy='write bytes as a number, or "256MiB", "1GB"')
    whole, _, decimals = match[1].partition(".")
    number: int = int(whole + decimals) * unit // 10 ** len(decimals)  # a float would be off by bytes
    return number
