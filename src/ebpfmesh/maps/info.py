"""What the kernel says about an open map, and about the machine's CPUs."""

from __future__ import annotations

import struct
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ebpfmesh.errors import HostError
from ebpfmesh.lowlevel import libbpf
from ebpfmesh.spec.enums import MapFlags, MapType

if TYPE_CHECKING:
    from ebpfmesh.layout import Layout
    from ebpfmesh.spec.btf_layout import LayoutReader

# struct bpf_map_info up to map_extra, include/uapi/linux/bpf.h
_INFO = struct.Struct("=IIIIII16sIIQQIIIIQ")


class MapInfo(NamedTuple):
    """An open map as the kernel describes it; sizes are bytes, ``max_entries`` elements (bytes for a ring buffer)."""

    id: int
    name: str
    type: MapType | int
    key_size: int
    value_size: int
    max_entries: int
    flags: MapFlags
    btf_id: int
    btf_key_type_id: int
    btf_value_type_id: int


def map_info(fd: int, where: str = "") -> MapInfo:
    """Describe the map behind ``fd``.

    Errors: KernelError (EBADF, EINVAL if it is not a map). Minimum kernel: 4.13.
    """
    (kind, number, key_size, value_size, max_entries, flags, name, _ifindex, _vmlinux_value, _dev, _ino, btf_id, btf_key,
     btf_value, _vmlinux, _extra) = _INFO.unpack(read_info(fd, _INFO.size, where or f"descriptor {fd}"))  # fmt: skip
    return MapInfo(
        id=number,
        name=name.rstrip(b"\0").decode("ascii", "replace"),
        type=known_type(kind),
        key_size=key_size,
        value_size=value_size,
        max_entries=max_entries,
        flags=MapFlags(flags),
        btf_id=btf_id,
        btf_key_type_id=btf_key,
        btf_value_type_id=btf_value,
    )


def known_type(kind: int) -> MapType | int:
    """``kind`` as a MapType, or as it is where a newer kernel has a type that we do not name."""
    try:
        return MapType(kind)
    except ValueError:
        return kind


def read_info(fd: int, size: int, where: str) -> bytes:
    """The first ``size`` bytes of the kernel's info struct for ``fd`` (map, program or BTF), zero where it is older."""
    ffi = libbpf.ffi
    buffer, length = ffi.new("char[]", size), ffi.new("__u32 *", size)
    libbpf.call("bpf_obj_get_info_by_fd", fd, buffer, length, what=f"{where}: reading its description")
    return bytes(ffi.buffer(buffer, size))


def map_memory(fd: int) -> int:
    """The bytes that the kernel accounts to the map behind ``fd`` (fdinfo's memlock).

    Source: bpf_map_show_fdinfo, kernel/bpf/syscall.c. Since 6.4 (commit 90a5527d7686) each type computes it: what is
    allocated for a preallocated map, what its present elements take for others.
    """
    for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines():
        if line.startswith("memlock:"):
            return int(line.split()[1])
    raise HostError(f"descriptor {fd} is not a BPF map: its fdinfo has no memlock")


@cache
def possible_cpus() -> int:
    """How many CPUs the kernel was prepared for: the number of values of each key of a per-CPU map.

    Not the online ones: a lookup writes a value for each *possible* CPU, whatever buffer it was given
    (num_possible_cpus() in bpf_map_value_size, kernel/bpf/syscall.c).
    """
    text = Path("/sys/devices/system/cpu/possible").read_text().strip()
    ranges = (part.partition("-") for part in text.split(","))
    return sum(int(last or first) - int(first) + 1 for first, _, last in ranges)


def map_layouts(info: MapInfo) -> tuple[Layout | None, Layout | None]:
    """The layouts of an open map's key and value, from the BTF that it was created with; None where it has none."""
    if not info.btf_id or not info.btf_value_type_id:
        return None, None
    reader = types_of(_btf_data(info.btf_id))
    key = reader.layout(info.btf_key_type_id) if info.btf_key_type_id else None
    return key, reader.layout(info.btf_value_type_id)


@lru_cache(maxsize=4)
def types_of(data: bytes) -> LayoutReader:
    """The types of BTF: read once for the maps of one object, which share it. Whoever opens many calls cache_clear()."""
    from ebpfmesh.spec.btf import Btf
    from ebpfmesh.spec.btf_layout import LayoutReader

    return LayoutReader(Btf(data, "a map's BTF"))


def _btf_data(btf_id: int) -> bytes:
    """The raw BTF of the kernel's BTF object ``btf_id``. Needs CAP_SYS_ADMIN, as every bpf(2) "by id" call."""
    import os

    ffi, where = libbpf.ffi, f"BTF {btf_id}"
    fd = libbpf.call("bpf_btf_get_fd_by_id", btf_id, what=f"{where}: opening", needs="CAP_SYS_ADMIN")
    try:
        # struct bpf_btf_info: btf pointer, its size, id
        size = struct.unpack("=QII", read_info(fd, 16, where))[1]
        data, length = ffi.new("char[]", size), ffi.new("__u32 *", 16)
        request = ffi.new("char[]", struct.pack("=QII", int(ffi.cast("uintptr_t", data)), size, 0))
        libbpf.call("bpf_obj_get_info_by_fd", fd, request, length, what=f"{where}: reading")
        return bytes(ffi.buffer(data, size))
    finally:
        os.close(fd)
