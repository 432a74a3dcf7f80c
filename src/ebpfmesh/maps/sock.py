"""Maps of sockets, whose programs (sk_msg, sk_skb) then see their data."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any

from ebpfmesh.errors import EbpfMeshError, MapError, NotSupportedError
from ebpfmesh.maps import batch
from ebpfmesh.maps.map import K
from ebpfmesh.maps.of_descriptors import MapOfDescriptors


class SocketMap(MapOfDescriptors[K]):
    """A map whose values are sockets: written as sockets or their descriptors, read as cookies.

    Reading needs values of 8 bytes. A socket gets the programs that are attached to the map when it is written, and keeps
    them; the kernel takes it out when it closes. TCP sockets must be established, or listening.
    Deleting a live socket with unread data loses that data and leaves its connection unreadable: let it close instead.

    Capabilities: CAP_BPF, CAP_NET_ADMIN.
    """

    def _error(self, number: int, what: str, key: Any = None) -> EbpfMeshError:
        if number == errno.ENOSPC and self.value_size != 8 and what in ("lookup", "iteration"):
            return NotSupportedError(
                "its sockets cannot be read", where=self._label(), remedy="declare values of 8 bytes: cookies"
            )
        if number == errno.EOPNOTSUPP:
            return MapError(
                f"{what} of key {key!r}", errno=number, where=self._label(),
                remedy="only established or listening TCP, and UDP or Unix sockets without TLS or MPTCP fit",
            )  # fmt: skip
        return super()._error(number, what, key)


class SockMap(SocketMap[int]):
    """BPF_MAP_TYPE_SOCKMAP: sockets by index. Minimum kernel: 4.14 (commit 174a79ff9515); cookies 5.6 (1d59f3bcee5c)."""

    array_keys = True


class SockHash(SocketMap[K]):
    """BPF_MAP_TYPE_SOCKHASH: sockets by key. Minimum kernel: 4.18 (commit 81110384441a)."""

    def __iter__(self) -> Iterator[K]:
        seen: set[bytes] = set()
        try:
            with self.descriptor as fd:
                for key in batch.keys_one_by_one(fd, self.key_size):
                    if key not in seen:  # after a deletion the walk starts over
                        seen.add(key)
                        yield self.key.unpack(key)
        except OSError as error:
            raise self._error(error.errno or 0, "iteration") from error

    def count(self) -> int:
        """How many sockets are there now; walks the whole map."""
        return sum(1 for _ in self)
