"""From a map's type to the class of its family, and from Python types to the codecs of its keys and values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ebpfmesh.errors import MapTypeError, SpecError
from ebpfmesh.lowlevel import libbpf
from ebpfmesh.lowlevel.descriptor import Descriptor
from ebpfmesh.lowlevel.pin import open_pinned as open_pin
from ebpfmesh.maps.array import ArrayMap, PerCpuArrayMap
from ebpfmesh.maps.codec import Codec
from ebpfmesh.maps.hash import HashMap, LruHashMap, LruPerCpuHashMap, PerCpuHashMap
from ebpfmesh.maps.info import map_info
from ebpfmesh.maps.lpm import LpmTrieMap
from ebpfmesh.maps.map import Map
from ebpfmesh.maps.of_maps import ArrayOfMaps, HashOfMaps, MapOfMaps
from ebpfmesh.maps.open_map import OpenMap, check_name
from ebpfmesh.maps.prog_array import ProgramArrayMap
from ebpfmesh.maps.ringbuf import RingBuffer
from ebpfmesh.maps.sk_storage import SkStorage
from ebpfmesh.maps.sock import SockHash, SockMap
from ebpfmesh.spec.enums import MapFlags, MapType

if TYPE_CHECKING:
    from ebpfmesh.layout import Layout
    from ebpfmesh.spec import MapSpec

FAMILIES: dict[int, type[OpenMap]] = {
    MapType.HASH: HashMap,
    MapType.LRU_HASH: LruHashMap,
    MapType.PERCPU_HASH: PerCpuHashMap,
    MapType.LRU_PERCPU_HASH: LruPerCpuHashMap,
    MapType.ARRAY: ArrayMap,
    MapType.PERCPU_ARRAY: PerCpuArrayMap,
    MapType.LPM_TRIE: LpmTrieMap,
    MapType.ARRAY_OF_MAPS: ArrayOfMaps,
    MapType.HASH_OF_MAPS: HashOfMaps,
    MapType.SOCKMAP: SockMap,
    MapType.SOCKHASH: SockHash,
    MapType.PROG_ARRAY: ProgramArrayMap,
    MapType.RINGBUF: RingBuffer,
    MapType.SK_STORAGE: SkStorage,
}


def codec(wanted: Any, layout: Layout | None, size: int, where: str) -> Codec | None:
    """The codec of a key or value: of the Python type ``wanted``, else of ``layout``, else None (bytes).

    ``layout`` is what BTF says. A ``wanted`` that differs from it, or without BTF in size (bytes; 0: any), is a
    MapTypeError.
    """
    if wanted is None:
        return layout
    if wanted is bytes:
        return None
    from ebpfmesh.layout.codec import check, codec_for

    made: Any = codec_for(wanted)
    if layout is not None:
        check(made, layout, where)
    elif size and made.size != size:
        raise MapTypeError(f"{wanted!r} has {made.size} bytes, the map {size}", where=where)
    return made  # type: ignore[no-any-return]


def open_map(
    descriptor: Descriptor,
    *,
    name: str = "",
    key: Any = None,
    value: Any = None,
    layouts: tuple[Layout | None, Layout | None] = (None, None),
    inner: MapSpec | None = None,
) -> Any:
    """The typed map of an open descriptor, which it then owns.

    ``key`` and ``value`` are Python types (see ebpfmesh.layout), ``bytes``, or None for what ``layouts`` say.
    ``inner`` is what a map of maps holds. A type of map without a family of its own becomes a plain Map of bytes.
    Errors: MapTypeError where types and layouts differ; KernelError.
    """
    info = map_info(descriptor.fd, name)
    where = f"map {name or info.name}"
    key_codec = codec(key, layouts[0], info.key_size, f"{where}, key")
    value_codec = codec(value, layouts[1], info.value_size, f"{where}, value")
    family: Any = FAMILIES.get(info.type, Map)
    more = {"inner": inner} if issubclass(family, MapOfMaps) else {}
    return family(descriptor, info, name=name, key=key_codec, value=value_codec, **more)


def create(
    type: MapType,
    *,
    key: Any = None,
    value: Any = None,
    max_entries: int,
    name: str,
    flags: MapFlags | int = 0,
    key_size: int = 0,
    value_size: int = 0,
    inner: OpenMap | None = None,
) -> Any:
    """Make a map that no object declares; close it like any other.

    ``key`` and ``value`` are Python types; or give ``key_size`` and ``value_size`` in bytes and get a map of bytes.
    A map of maps takes ``inner``, an example of what it will hold.

    Errors: SpecError (a name over 15 characters), KernelError, CapabilityError. Minimum kernel: that of the type.
    Capabilities: CAP_BPF; for socket, device and LRU-free LPM types CAP_NET_ADMIN too.
    """
    check_name(name)
    if type == MapType.SK_STORAGE:
        raise SpecError(
            "socket storage needs BTF of its value", where=f"map {name}", remedy="declare it in an object"
        )
    made_key, made_value = codec(key, None, key_size, name), codec(value, None, value_size, name)
    options = libbpf.opts("bpf_map_create_opts", map_flags=int(flags), inner_map_fd=inner.fd if inner else 0)
    fd = libbpf.call(
        "bpf_map_create",
        int(type),
        name.encode(),
        key_size or (made_key.size if made_key else 0),
        value_size or (made_value.size if made_value else 0),
        max_entries,
        options,
        what=f"map {name}: creating",
        needs="CAP_BPF CAP_NET_ADMIN",
    )
    return open_map(Descriptor(fd, f"map {name}"), name=name, key=key, value=value)


def open_pinned(path: Path | str, *, key: Any = None, value: Any = None) -> Any:
    """The map pinned at ``path``, with the types that its BTF says, checked against ``key`` and ``value`` if given.

    Errors: HostError (nothing there, no bpffs, no map), MapTypeError. Minimum kernel: 4.18 for its BTF. Reading BTF
    by number needs CAP_SYS_ADMIN; without it the map is one of bytes, or of ``key`` and ``value`` checked by size.
    """
    return adopt(Descriptor(open_pin(path, "map"), f"map at {path}"), key=key, value=value)


def adopt(descriptor: Descriptor, *, key: Any = None, value: Any = None) -> Any:
    """The typed map of a descriptor from elsewhere, its layouts read back from the kernel; see open_pinned()."""
    return open_map(descriptor, key=key, value=value, layouts=kernel_layouts(descriptor.fd))


def kernel_layouts(fd: int) -> tuple[Layout | None, Layout | None]:
    """The layouts in the BTF that the map was created with; None where it has none, or we may not read it."""
    from ebpfmesh.errors import CapabilityError
    from ebpfmesh.maps.info import map_layouts

    try:
        return map_layouts(map_info(fd))
    except CapabilityError:
        return None, None
