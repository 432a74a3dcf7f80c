"""Typed maps: one file for each family.

``objects.load()`` gives the maps of an object, ``create()`` makes one without an object, ``open_pinned()`` opens a pin.
"""

from ebpfmesh.maps.array import ArrayMap, PerCpuArrayMap
from ebpfmesh.maps.families import adopt, create, open_map, open_pinned
from ebpfmesh.maps.hash import HashMap, LruHashMap, LruPerCpuHashMap, PerCpuHashMap
from ebpfmesh.maps.info import MapInfo, possible_cpus
from ebpfmesh.maps.lpm import LpmTrieMap, prefix
from ebpfmesh.maps.map import Map, Update
from ebpfmesh.maps.mapped import MappedArray
from ebpfmesh.maps.of_maps import ArrayOfMaps, HashOfMaps, MapOfMaps
from ebpfmesh.maps.open_map import OpenMap
from ebpfmesh.maps.prog_array import ProgramArrayMap
from ebpfmesh.maps.ringbuf import RingBuffer
from ebpfmesh.maps.sk_storage import SkStorage
from ebpfmesh.maps.sock import SockHash, SockMap

__all__ = [
    "ArrayMap",
    "ArrayOfMaps",
    "HashMap",
    "HashOfMaps",
    "LpmTrieMap",
    "LruHashMap",
    "LruPerCpuHashMap",
    "Map",
    "MapInfo",
    "MapOfMaps",
    "MappedArray",
    "OpenMap",
    "PerCpuArrayMap",
    "PerCpuHashMap",
    "ProgramArrayMap",
    "RingBuffer",
    "SkStorage",
    "SockHash",
    "SockMap",
    "Update",
    "adopt",
    "create",
    "open_map",
    "open_pinned",
    "possible_cpus",
    "prefix",
]
