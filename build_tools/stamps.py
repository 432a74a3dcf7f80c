"""What was built from what: a stamp beside the build says whether a target is current."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def is_current(stamp: Path, target: Path, key: str, directory: Path) -> bool:
    """Whether ``target`` is what `write` recorded: same ``key`` (flags, compiler), same inputs, and itself unaltered."""
    try:
        known = json.loads(stamp.read_text())
        inputs = [directory / name for name in known["inputs"]]
        return bool(
            known["key"] == key
            and known["object"] == digest(target.read_bytes())
            and known["sources"] == _digest_of(inputs)
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def write(
    stamp: Path, target: Path, key: str, inputs: Sequence[Path], directory: Path, *, since: int
) -> None:
    """Record what ``target`` was built from; paths below ``directory`` are kept relative to it.

    Nothing is recorded if an input changed after ``since``, nanoseconds of the epoch at which the compiler was started:
    it may have read the old text, and the next build has to decide again.
    """
    if any(path.stat().st_mtime_ns >= since for path in inputs):
        stamp.unlink(missing_ok=True)
        return
    names = [str(path.relative_to(directory) if path.is_relative_to(directory) else path) for path in inputs]
    record = {
        "key": key,
        "object": digest(target.read_bytes()),
        "sources": _digest_of(inputs),
        "inputs": names,
    }
    stamp.write_text(json.dumps(record, indent=1))


def _digest_of(paths: Iterable[Path]) -> str:
    return digest(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in paths))
