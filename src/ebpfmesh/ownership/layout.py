"""The layout map: pinned beside the maps, it tells which pins are ours and which layout each map has.

One row per pin: {SHA-256 of the map's layout, kind, id}. A row is written before its pin and removed after
it, so a pin without a row, or with another id than its row, was made by somebody else.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import NamedTuple

from ebpfmesh.errors import LayoutError, OwnershipError
from ebpfmesh.lowlevel.libbpf import call, ffi, lib
from ebpfmesh.ownership.pinned import identify_descriptor, open_pin, pin

LAYOUT_VERSION = 1
"""The version of the directories, of this map and of what the tiers write. Raised when an older agent cannot
go on.
"""

_NAME = "ebpfmesh_layout"  # 15 characters, all the kernel keeps
_KEY, _ROW, _MAXIMUM = 64, struct.Struct("32sII8x"), 1024
_HASH = 1  # BPF_MAP_TYPE_HASH
_VERSION_KEY = "version"
_KINDS = {"map": 1, "link": 2, "program": 3}


class Row(NamedTuple):
    """``hash`` of the layout (hexadecimal, empty for links), ``kind`` and kernel ``id`` of a pin of ours."""

    hash: str
    kind: str
    id: int


class LayoutMap:
    """The layout map of one agent; `close` ends the use, the pin stays."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self.path = path

    @classmethod
    def create(cls, path: Path) -> LayoutMap:
        """Create it, with this LAYOUT_VERSION, and pin it at ``path``. Capabilities: CAP_BPF."""
        name = ffi.new("char[]", _NAME.encode())
        descriptor = call(
            "bpf_map_create",
            _HASH,
            name,
            _KEY,
            _ROW.size,
            _MAXIMUM,
            ffi.NULL,
            what=f"create the layout map {path}",
        )
        try:
            layouts = cls(descriptor, path)
            layouts._put(_VERSION_KEY, _ROW.pack(bytes(32), 0, LAYOUT_VERSION))
            pin(descriptor, path)
        except BaseException:
            os.close(descriptor)
            raise
        return layouts

    @classmethod
    def open(cls, path: Path) -> LayoutMap:
        """Open the one pinned at ``path``. OwnershipError if that is something else."""
        descriptor = open_pin(path)
        try:
            found = identify_descriptor(descriptor, path)
            sizes = found.detail.get("key_size"), found.detail.get("value_size"), found.detail.get("map_type")
            if found.kind != "map" or sizes != (str(_KEY), str(_ROW.size), str(_HASH)):
                raise OwnershipError(
                    f"{found} is pinned where our layout map belongs",
                    where=str(path),
                    remedy="remove it, or choose another name",
                )
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor, path)

    @property
    def version(self) -> int:
        """The LAYOUT_VERSION of the agent that created it; 0 if it has none."""
        row = self._get(_VERSION_KEY)
        return int(_ROW.unpack(row)[2]) if row else 0

    def check_version(self) -> None:
        """LayoutError if an agent of another layout version made the pins."""
        if self.version != LAYOUT_VERSION:
            raise LayoutError(
                f"made by an agent of layout version {self.version}, this one writes {LAYOUT_VERSION}",
                where=f"map {self.path}",
                remedy=_remedy(self.path),
            )

    def write(self, key: str, row: Row) -> None:
        """Note the pin ``key`` (``maps/NAME`` or ``links/NAME``), before it is made."""
        self._put(
            key,
            _ROW.pack(bytes.fromhex(row.hash) if row.hash else bytes(32), _KINDS.get(row.kind, 0), row.id),
        )

    def read(self, key: str) -> Row | None:
        """The row of the pin ``key``."""
        raw = self._get(key)
        return _row(raw) if raw else None

    def delete(self, key: str) -> None:
        """Forget the pin ``key``, after it is gone."""
        lib().bpf_map_delete_elem(self._descriptor, _key(key))

    def rows(self) -> dict[str, Row]:
        """Every row, by the key of its pin."""
        keys, current = [], ffi.NULL
        while True:
            following = ffi.new(f"char[{_KEY}]")
            if lib().bpf_map_get_next_key(self._descriptor, current, following) < 0:
                break
            keys.append(bytes(ffi.buffer(following)).rstrip(b"\0").decode("utf-8", "replace"))
            current = following
        found = {key: self.read(key) for key in keys if key != _VERSION_KEY}
        return {key: row for key, row in sorted(found.items()) if row}

    def close(self) -> None:
        """Close the descriptor."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _put(self, key: str, value: bytes) -> None:
        call(
            "bpf_map_update_elem",
            self._descriptor,
            _key(key),
            value,
            0,
            what=f"write the row {key} of {self.path}",
        )

    def _get(self, key: str) -> bytes | None:
        value = ffi.new(f"char[{_ROW.size}]")
        if lib().bpf_map_lookup_elem(self._descriptor, _key(key), value) < 0:
            return None
        return bytes(ffi.buffer(value))


def _key(key: str) -> bytes:
    raw = key.encode()
    if len(raw) >= _KEY:
        raise OwnershipError(f"the name of a pin has at most {_KEY - 1} bytes", where=key)
    return raw.ljust(_KEY, b"\0")


def _row(raw: bytes) -> Row:
    digest, number, identifier = _ROW.unpack(raw)
    kind = next((kind for kind, value in _KINDS.items() if value == number), "unknown")
    return Row(digest.hex() if any(digest) else "", kind, identifier)


def _remedy(path: Path) -> str:
    name = path.parent.name
    return f"`ebpfmesh cleanup {name}`, then start this version; or go on with the version that made it"
