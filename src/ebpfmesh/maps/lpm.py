"""LPM tries: values by address prefix; a lookup finds the longest prefix that matches."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from ebpfmesh.errors import EbpfMeshError, MapTypeError
from ebpfmesh.maps.map import Map, V

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network


class LpmTrieMap(Map[Any, V]):
    """BPF_MAP_TYPE_LPM_TRIE: a key is a struct of a 32-bit prefix length in bits and data of up to 256 bytes.

    A lookup (``m[key]``, ``key in m``) matches the longest prefix that covers the key's data up to its length; writes and
    deletions mean exactly that prefix. It must be made with BPF_F_NO_PREALLOC.

    Minimum kernel: 4.11 (commit b95a5c4db09b), iteration 4.16 (b471f2f1de8b). Capabilities: CAP_BPF, CAP_NET_ADMIN.
    """

    def _error(self, number: int, what: str, key: Any = None) -> EbpfMeshError:
        if number == errno.EINVAL and key is not None:
            bits = (self.key_size - 4) * 8
            return MapTypeError(
                f"{what} of key {key!r}: a prefix has at most {bits} bits", where=self._label()
            )
        return super()._error(number, what, key)


def prefix(network: str | IPv4Network | IPv6Network, *, mapped: bool = False) -> tuple[int, bytes]:
    """The key of an IP network or address, ("10.0.0.0/8" or an ipaddress object): prefix length in bits, and data.

    With ``mapped`` an IPv4 network is given in 128 bits, as ::ffff:10.0.0.0/104. Errors: MapTypeError.
    """
    import ipaddress

    try:
        parsed = ipaddress.ip_network(network)
    except ValueError as error:
        raise MapTypeError(f"{network!r} is no IP network: {error}") from error
    packed = parsed.network_address.packed
    if mapped and parsed.version == 4:
        return parsed.prefixlen + 96, bytes(10) + b"\xff\xff" + packed
    return parsed.prefixlen, packed
