"""Remembering what was measured until the kernel changes: a file that is good for one boot of one kernel.

What has no answer is kept too, for ``status`` to say why something is left out; who is to decide by it measures again.
"""

from __future__ import annotations

import hashlib
import os
import platform
from contextlib import suppress
from pathlib import Path

import msgspec

from ebpfmesh.tiers.l7.behaviour import catalogue
from ebpfmesh.tiers.l7.behaviour.outcome import Behaviour
from ebpfmesh.tiers.l7.behaviour.site import object_path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_LIVEPATCHES = Path("/sys/kernel/livepatch")


class _Kept(msgspec.Struct, frozen=True):
    key: str
    behaviour: Behaviour


def remembered(path: Path) -> Behaviour | None:
    """What `remember` wrote to ``path`` under the same boot, kernel, live patches and probes; None if there is nothing."""
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=_Kept)
    except (OSError, msgspec.DecodeError):
        return None
    if kept.key != _key():
        return None
    return msgspec.structs.replace(kept.behaviour, remembered=True)


def remember(path: Path, behaviour: Behaviour) -> None:
    """Write ``behaviour`` to ``path``, readable by its owner only. Errors: OSError of the file."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(
            os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb"
        ) as file:
            file.write(msgspec.json.encode(_Kept(_key(), behaviour)))
        draft.replace(path)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise


def _key() -> str:
    """What the answers depend on."""
    digest = hashlib.sha256()
    digest.update(_BOOT_ID.read_bytes())
    digest.update(f"{platform.release()} {platform.version()} {platform.machine()}".encode())
    with suppress(OSError):
        digest.update(" ".join(sorted(entry.name for entry in _LIVEPATCHES.iterdir())).encode())
    with suppress(OSError):
        digest.update(object_path().read_bytes())
    for probe in catalogue.every():
        digest.update(f"{probe.name}\0{probe.proves}\0{probe.disables}\0".encode())
    return digest.hexdigest()
