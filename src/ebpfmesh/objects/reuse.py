"""Whether an open map can stand for one that an object declares: every difference is named before anything is loaded."""

from __future__ import annotations

import mmap

from ebpfmesh.errors import LayoutError
from ebpfmesh.maps.families import kernel_layouts
from ebpfmesh.maps.info import map_info, possible_cpus
from ebpfmesh.spec import MapFlags, MapSpec, MapType

# the kernel gives these a page-rounded or computed size, whatever was asked for
_OWN_VALUE_SIZE = {MapType.RINGBUF, MapType.USER_RINGBUF, MapType.STRUCT_OPS}


def differences(spec: MapSpec, fd: int) -> list[str]:
    """What differs between the declaration ``spec`` and the open map: type, sizes, capacity, flags, layouts.

    libbpf would take the open map's sizes over silently, and the programs would read its bytes as something else.
    A layout is compared where the kernel has BTF of the map and we may read it (CAP_SYS_ADMIN).
    """
    info, found = map_info(fd), []
    pairs: list[tuple[str, object, object]] = [("type", _name(spec.type), _name(info.type))]
    if spec.type not in _OWN_VALUE_SIZE:
        pairs += [
            ("key size", spec.key_size, info.key_size),
            ("value size", spec.value_size, info.value_size),
        ]
    if spec.max_entries:
        pairs.append(("max_entries", _granted(spec), info.max_entries))
    pairs.append(("flags", int(spec.flags), int(info.flags)))
    found = [f"{what} is {there}, not {wanted}" for what, wanted, there in pairs if wanted != there]
    if found:
        return found
    for what, wanted, there in zip(("key", "value"), (spec.key, spec.value), kernel_layouts(fd), strict=True):
        if wanted is not None and there is not None and wanted != there:
            found.append(f"{what} is {there.format}, not {wanted.format}")
    return found


def check(spec: MapSpec, fd: int) -> None:
    """LayoutError with all differences, unless the open map fits the declaration."""
    if found := differences(spec, fd):
        raise LayoutError(
            f"the open map is not what the object declares: {'; '.join(found)}",
            where=f"map {spec.name}",
            remedy="migrate its contents to a new map, or load the object that made it",
        )


def _granted(spec: MapSpec) -> int:
    """The capacity that comes of the declared one."""
    wanted = spec.max_entries
    if spec.type in (MapType.RINGBUF, MapType.USER_RINGBUF):  # libbpf's adjust_ringbuf_sz()
        wanted = max(wanted, mmap.PAGESIZE)
        return 1 << (wanted - 1).bit_length()
    if spec.flags & MapFlags.NO_COMMON_LRU:  # htab_map_alloc(): as many for each CPU
        return -(-wanted // possible_cpus()) * possible_cpus()
    return wanted


def _name(kind: MapType | int) -> str:
    return kind.name if isinstance(kind, MapType) else str(kind)
