"""What is pinned at a path: a map, a link or a program, with its id, as the kernel tells it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ebpfmesh.errors import KernelError
from ebpfmesh.lowlevel.libbpf import call, ffi
from ebpfmesh.lowlevel.pin import pin as pin_at

_KINDS = (
    ("link_id", "link"),
    ("map_id", "map"),
    ("prog_id", "program"),
)  # a link has a prog_id too: it goes first


class Pinned(NamedTuple):
    """An object pinned at ``path``. ``kind`` is map, link, program or unknown; ``detail`` the kernel's
    fdinfo fields.
    """

    path: Path
    kind: str
    id: int
    detail: dict[str, str]

    def __str__(self) -> str:
        kind = f"{self.detail['link_type']} link" if "link_type" in self.detail else self.kind
        attach = f", attach type {self.detail['attach_type']}" if "attach_type" in self.detail else ""
        return f"a {kind} (id {self.id}{attach})"


def open_pin(path: Path) -> int:
    """A descriptor of what is pinned at ``path``. Errors: CapabilityError, KernelError. Capabilities:
    CAP_BPF.
    """
    return call("bpf_obj_get", ffi.new("char[]", str(path).encode()), what=f"open the pin {path}")


def identify(path: Path) -> Pinned:
    """What is pinned at ``path``. Minimum kernel: 5.8 (link ids). Errors: CapabilityError, KernelError."""
    descriptor = open_pin(path)
    try:
        return identify_descriptor(descriptor, path)
    finally:
        os.close(descriptor)


def identify_descriptor(descriptor: int, path: Path) -> Pinned:
    """What the open BPF object ``descriptor`` is; ``path`` is only noted."""
    lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
    detail = {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
    for field, kind in _KINDS:
        if field in detail:
            return Pinned(path, kind, int(detail[field]), detail)
    return Pinned(path, "unknown", 0, detail)


def pin(descriptor: int, path: Path) -> None:
    """Pin the BPF object ``descriptor`` at ``path``, which must be free, mode 0600. Errors: as `lowlevel.pin.pin`."""
    pin_at(descriptor, path, where=f"pin {path}")
    path.chmod(0o600)


def detach(path: Path) -> None:
    """Detach the link pinned at ``path`` at once and remove the pin.

    Removing the last pin alone detaches too, but later, from a work queue. Links that know no detach (before
    5.9, or of a type without it) end by the removal. Source: kernel commit 73b11c2ab072 (5.9).
    """
    descriptor = open_pin(path)
    try:
        with suppress(KernelError):  # EOPNOTSUPP, EINVAL: the removal of the pin below does it
            call("bpf_link_detach", descriptor)
        path.unlink()
    finally:
        os.close(descriptor)
