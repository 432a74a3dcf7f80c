"""Arrays and hashes of maps: the inner maps are replaced as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ebpfmesh.errors import MapTypeError
from ebpfmesh.lowlevel import libbpf
from ebpfmesh.lowlevel.descriptor import Descriptor
from ebpfmesh.maps.codec import Codec
from ebpfmesh.maps.info import MapInfo
from ebpfmesh.maps.map import K
from ebpfmesh.maps.of_descriptors import MapOfDescriptors

if TYPE_CHECKING:
    from ebpfmesh.spec import MapSpec


class MapOfMaps(MapOfDescriptors[K]):
    """A map whose values are maps: written as open maps, read as their ids.

    The kernel holds what is written, so the writer may close it. Each write waits until no program uses the old map any
    more, 12 to 16 ms; a batch waits once. Every inner map has the type, sizes and flags of the example that the
    outer one was made with, and the same max_entries too for arrays without BPF_F_INNER_MAP.

    Minimum kernel: 4.12 (commit 56f668dfe00d); batches 5.14 or later. Capabilities: CAP_BPF; reading ids into maps
    CAP_SYS_ADMIN.
    """

    def __init__(
        self,
        descriptor: Descriptor,
        info: MapInfo,
        *,
        name: str = "",
        key: Codec | None = None,
        value: Codec | None = None,
        inner: MapSpec | None = None,
    ) -> None:
        super().__init__(descriptor, info, name=name, key=key, value=value)
        self.inner = inner

    def create_inner(
        self, name: str, *, max_entries: int | None = None, key: Any = None, value: Any = None
    ) -> Any:
        """A new map that fits here, not yet in it; close it like any other.

        ``max_entries`` is its capacity (default: the declared one). ``key`` and ``value`` are Python types, by
        default what the object declares. Errors: MapTypeError if the outer map was opened from a pin and declares
        none; as create().
        """
        from ebpfmesh.maps.families import create, open_map

        if (inner := self.inner) is None:
            raise MapTypeError(
                "it does not know what its inner maps are like",
                where=self._label(),
                remedy="load it from its object, or make them with maps.create()",
            )
        made = create(
            inner.type,
            name=name,
            key_size=inner.key_size,
            value_size=inner.value_size,
            max_entries=max_entries or inner.max_entries,
            flags=inner.flags,
        )
        with made:  # once more with its types: create() knows sizes only
            duplicate = Descriptor.duplicate(made.fd, f"map {name}")
        return open_map(duplicate, name=name, key=key, value=value, layouts=(inner.key, inner.value))

    def open_inner(self, key: K, *, key_type: Any = None, value_type: Any = None) -> Any:
        """The inner map of ``key``, opened; close it. Errors: MapKeyError, CapabilityError (CAP_SYS_ADMIN)."""
        from ebpfmesh.maps.families import adopt, open_map

        number = self[key]
        fd = libbpf.call(
            "bpf_map_get_fd_by_id",
            number,
            what=f"{self._label()}: opening the inner map of id {number}",
            needs="CAP_SYS_ADMIN",
        )
        descriptor = Descriptor(fd, f"inner map of {self.name}")
        if self.inner is None:
            return adopt(descriptor, key=key_type, value=value_type)
        layouts = self.inner.key, self.inner.value
        return open_map(descriptor, key=key_type, value=value_type, layouts=layouts)


class ArrayOfMaps(MapOfMaps[int]):
    """BPF_MAP_TYPE_ARRAY_OF_MAPS: by index; an empty element is a missing key. Minimum kernel: 4.12."""

    array_keys = True


class HashOfMaps(MapOfMaps[K]):
    """BPF_MAP_TYPE_HASH_OF_MAPS: by key. Minimum kernel: 4.12 (commit bcc6b1b7ebf8)."""
