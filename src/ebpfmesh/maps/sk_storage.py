"""Socket storage: a value that lives and dies with a socket."""

from __future__ import annotations

import errno
from typing import Any, Generic

from ebpfmesh.errors import EbpfMeshError, MapError, MapKeyError, MapTypeError
from ebpfmesh.lowlevel import libbpf
from ebpfmesh.lowlevel.descriptor import Descriptor
from ebpfmesh.lowlevel.libbpf import ffi
from ebpfmesh.maps.codec import Codec, Raw
from ebpfmesh.maps.info import MapInfo
from ebpfmesh.maps.map import Update, V
from ebpfmesh.maps.of_descriptors import DescriptorValue, HasDescriptor
from ebpfmesh.maps.open_map import OpenMap


class SkStorage(OpenMap, Generic[V]):
    """BPF_MAP_TYPE_SK_STORAGE: at most one ``V`` for each socket; a key is a socket of this process, or its descriptor.

    The kernel frees a value with its socket. There is no walk over all sockets here; a bpf_iter program does that.
    It must be made with BPF_F_NO_PREALLOC, max_entries 0 and BTF, which an object has.

    Minimum kernel: 5.2 (commit 6ac99e8f23d4). Capabilities: CAP_BPF.
    """

    def __init__(
        self,
        descriptor: Descriptor,
        info: MapInfo,
        *,
        name: str = "",
        key: Codec | None = None,
        value: Codec | None = None,
    ) -> None:
        super().__init__(descriptor, info, name)
        self.value: Any = value or Raw(info.value_size)
        self._key = DescriptorValue(4)

    def __getitem__(self, socket: HasDescriptor | int) -> V:
        if (found := self._read(socket)) is None:
            raise MapKeyError(f"nothing is stored for socket {socket!r}", where=self._label())
        return self.value.unpack(found)  # type: ignore[no-any-return]

    def lookup(self, socket: HasDescriptor | int, default: V | None = None) -> V | None:
        """What is stored for ``socket``, or ``default``."""
        return default if (found := self._read(socket)) is None else self.value.unpack(found)

    def __contains__(self, socket: HasDescriptor | int) -> bool:
        return self._read(socket) is not None

    def __setitem__(self, socket: HasDescriptor | int, value: V) -> None:
        self.update(socket, value)

    def update(self, socket: HasDescriptor | int, value: V, flags: Update | int = Update.ANY) -> None:
        """Store ``value`` for ``socket``. Errors: as Map.update(); MapError (EBADF, ENOTSOCK)."""
        try:
            packed = self.value.pack(value)
        except MapTypeError as error:
            raise MapTypeError(error.what, where=f"{self._label()}, value", remedy=error.remedy) from None
        key = self._key.pack(socket)
        with self.descriptor as fd:
            result = -libbpf.lib().bpf_map_update_elem(fd, key, packed, int(flags))
        if result != 0:
            raise self._error(result, "update", socket)

    def __delitem__(self, socket: HasDescriptor | int) -> None:
        key = self._key.pack(socket)
        with self.descriptor as fd:
            result = -libbpf.lib().bpf_map_delete_elem(fd, key)
        if result != 0:
            raise self._error(result, "delete", socket)

    def _read(self, socket: HasDescriptor | int) -> bytes | None:
        key, value = self._key.pack(socket), ffi.new("char[]", self.value_size)
        with self.descriptor as fd:
            result = -libbpf.lib().bpf_map_lookup_elem(fd, key, value)
        if result not in (0, errno.ENOENT):
            raise self._error(result, "lookup", socket)
        return bytes(ffi.buffer(value)) if result == 0 else None

    def _error(self, number: int, what: str, key: Any = None) -> EbpfMeshError:
        if number in (errno.EBADF, errno.ENOTSOCK):
            return MapError(f"{what}: {key!r} is no open socket", errno=number, where=self._label())
        return super()._error(number, what, key)
