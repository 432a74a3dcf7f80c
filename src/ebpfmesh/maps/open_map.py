"""OpenMap: what every open map has, whatever its family: a descriptor, its description, pins, errors that name it."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any, Self

from ebpfmesh.errors import (
    CapabilityError,
    EbpfMeshError,
    MapError,
    MapFullError,
    MapKeyError,
    NotSupportedError,
    SpecError,
)
from ebpfmesh.lowlevel import libbpf
from ebpfmesh.lowlevel.descriptor import Descriptor, Owned
from ebpfmesh.lowlevel.pin import pin
from ebpfmesh.maps.batch import ENOTSUPP
from ebpfmesh.maps.info import MapInfo, map_info, map_memory
from ebpfmesh.spec.enums import MapType

NAME_LENGTH = 15  # BPF_OBJ_NAME_LEN is 16 with the closing zero; the kernel would cut a longer name silently


class OpenMap(Owned):
    """An open map: ``name``, ``id``, ``type``, ``flags``, sizes in bytes, ``max_entries``; a context manager.

    Minimum kernel: 4.13 for its description. Capabilities: CAP_BPF.
    """

    def __init__(self, descriptor: Descriptor, info: MapInfo, name: str = "") -> None:
        super().__init__(descriptor)
        self.name = name or info.name
        self.id, self.type, self.flags = info.id, info.type, info.flags
        self.key_size, self.value_size, self.max_entries = info.key_size, info.value_size, info.max_entries

    def __enter__(self) -> Self:
        return self

    def __repr__(self) -> str:
        kind = self.type.name if isinstance(self.type, MapType) else f"type {self.type}"
        return f"<{type(self).__name__} {self.name} ({kind}), {'closed' if self.closed else f'id {self.id}'}>"

    def _label(self) -> str:
        return f"map {self.name}"

    def info(self) -> MapInfo:
        """What the kernel says of it now."""
        with self.descriptor as fd:
            return map_info(fd, self._label())

    def memory(self) -> int:
        """The bytes that the kernel accounts to it now (fdinfo's memlock)."""
        with self.descriptor as fd:
            return map_memory(fd)

    def pin(self, path: Path | str) -> None:
        """Pin it at ``path`` on a bpffs: it then lives on without this process. Errors: HostError, KernelError (EEXIST)."""
        with self.descriptor as fd:
            pin(fd, path, self._label())

    def freeze(self) -> None:
        """Refuse every later write from user space, for ever. Minimum kernel: 5.2 (commit 87df15de441b)."""
        with self.descriptor as fd:
            result = -libbpf.lib().bpf_map_freeze(fd)
        if result != 0:
            raise self._error(result, "freeze")

    def _error(self, number: int, what: str, key: Any = None) -> EbpfMeshError:
        """What errno ``number`` of operation ``what`` means."""
        where, at = self._label(), "" if key is None else f" of key {key!r}"
        if number == errno.ENOENT:
            return MapKeyError(f"{what}{at}: no such key", where=where)
        if number == errno.EEXIST:
            return MapKeyError(f"{what}{at}: the key is there already", where=where)
        if number in (errno.E2BIG, errno.ENOSPC):
            return self._full(number, f"{what}{at}")
        if number in (ENOTSUPP, errno.EOPNOTSUPP):
            return NotSupportedError(f"{what}: a map of this type has no such operation", where=where)
        error = libbpf.failure(f"{where}: {what}{at}", number)
        return (
            error
            if isinstance(error, CapabilityError)
            else MapError(f"{what}{at}", errno=number, where=where)
        )

    def _full(self, number: int, what: str) -> MapError:
        error = MapFullError(
            f"{what}: the map is full, it holds {self.max_entries}",
            capacity=self.max_entries,
            where=self._label(),
            remedy="delete elements, or load it with a larger max_entries",
        )
        error.errno = number  # kept for programs; for people "argument list too long" would only mislead
        return error


def check_name(name: str) -> None:
    """SpecError if the kernel would cut ``name``."""
    if len(os.fsencode(name)) > NAME_LENGTH:
        raise SpecError(
            f"its name has {len(name)} characters, the kernel keeps {NAME_LENGTH}",
            where=f"map {name}",
            remedy="choose a shorter name",
        )
