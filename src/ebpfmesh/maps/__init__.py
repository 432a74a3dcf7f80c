"""Typed maps: one file for each family.

``objects.load()`` gives the maps of an object, ``create()`` makes one without an object, ``open_pinned()`` opens a pin.
"""

from ebpfmesh.maps.array import ArrayMap, PerCpuArrayMap
from ebpfmesh.maps.families import adopt, create, open_map, open_pinned
from ebpfmesh.maps.hash import HashMap, LruHashMap, LruPerCpuHashMap, PerCpuHashMap
from ebpfmesh.maps.info import MapInfo, possible_cpus
from ebpfmesh.maps.map import Map, Update
from ebpfmesh.maps.mapped import MappedArray
from ebpfmesh.maps.open_map import OpenMap

__all__ = [
    "ArrayMap",
    "HashMap",
    "LruHashMap",
    "LruPerCpuHashMap",
    "Map",
    "MapInfo",
    "MappedArray",
    "OpenMap",
    "PerCpuArrayMap",
    "PerCpuHashMap",
    "Update",
    "adopt",
    "create",
    "open_map",
    "open_pinned",
    "possible_cpus",
]
