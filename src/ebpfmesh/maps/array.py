"""Arrays: shared (and mappable into memory) or per CPU; every element is always there."""

from __future__ import annotations

import mmap
from typing import Any, NoReturn

from ebpfmesh.errors import MapError, MapKeyError, MapTypeError, NotSupportedError
from ebpfmesh.maps.codec import Codec, PerCpu
from ebpfmesh.maps.info import possible_cpus
from ebpfmesh.maps.map import Map, V
from ebpfmesh.maps.mapped import MappedArray
from ebpfmesh.spec.enums import MapFlags


class ArrayMap(Map[int, V]):
    """BPF_MAP_TYPE_ARRAY: elements 0 to max_entries - 1 are always there, zero at first; none can be deleted.

    In the kernel an element takes a multiple of 8 bytes. Minimum kernel: 3.19 (commit 28fbcfa08d8e).
    """

    array_keys = True

    def mmap(self) -> MappedArray:
        """The array's own memory, writable: what is stored there a program reads at once, with no system call.

        Errors: MapTypeError unless the map was made with BPF_F_MMAPABLE; KernelError (EPERM once it is frozen).
        Minimum kernel: 5.5 (commit fc9702273e2e).
        """
        if not self.flags & MapFlags.MMAPABLE:
            raise MapTypeError(
                "it cannot be mapped into memory",
                where=self._label(),
                remedy="declare it with BPF_F_MMAPABLE",
            )
        stride = -(-self.value_size // 8) * 8
        size = stride * self.max_entries
        try:
            with self.descriptor as fd:
                memory = mmap.mmap(fd, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE)
        except OSError as error:
            raise self._error(error.errno or 0, "mapping into memory") from error
        return MappedArray(memory, self._label(), size=size, stride=stride, value=self.value)

    def delete(self, key: int) -> NoReturn:
        """NotSupportedError: the elements of an array are always there."""
        raise NotSupportedError(
            "elements of an array cannot be deleted", where=self._label(), remedy="write zeros"
        )

    def discard(self, key: int) -> NoReturn:
        """NotSupportedError: the elements of an array are always there."""
        self.delete(key)

    def clear(self) -> None:
        """Write zeros to every element."""
        self.update_batch_raw(
            self.key.pack_many(range(self.max_entries)), bytes(self.max_entries * self._sizes[1])
        )

    def _full(self, number: int, what: str) -> MapError:
        # the kernel's E2BIG means an index past the end here
        error = MapKeyError(f"{what}: the array ends at {self.max_entries - 1}", where=self._label())
        error.errno = number
        return error


class PerCpuArrayMap(ArrayMap[list[V]]):
    """BPF_MAP_TYPE_PERCPU_ARRAY: an element has one value for each possible CPU, a list.

    To write, anything but a list is the same value for every CPU. Minimum kernel: 4.6 (commit a10423b87a7e).
    """

    def _value_codec(self, value: Codec) -> Codec:
        return PerCpu(value, possible_cpus())

    def total(self, key: int) -> Any:
        """The sum over all CPUs, for values that are integers. Errors: MapKeyError."""
        return sum(self[key])

    def mmap(self) -> NoReturn:
        """NotSupportedError: the values of several CPUs have no common memory."""
        raise NotSupportedError("a per-CPU array cannot be mapped into memory", where=self._label())
