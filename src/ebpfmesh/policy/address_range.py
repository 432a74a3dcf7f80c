"""Ranges of addresses, "10.0.0.0/8" or "fd00::/8", as a prefix of 128 bits; IPv4 is v4-mapped, as everywhere."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import NamedTuple

from ebpfmesh.errors import ConfigError
from ebpfmesh.policy.address import V4_MAPPED

_MAPPED_BITS = 96
_REMEDY = 'write "10.0.0.0/8", "fd00::/8", or one address'


class AddressRange(NamedTuple):
    """The addresses that begin with the first ``bits`` bits of ``packed``, whose others are 0.

    A range of IPv6 holds no IPv4 address, even where it holds the numbers that these have here: "::/0" is all of IPv6.
    """

    packed: bytes
    """16 bytes."""
    bits: int
    """0 to 128."""

    def __contains__(self, address: object) -> bool:
        if not isinstance(address, bytes) or len(address) != 16:
            return False
        if self.bits < _MAPPED_BITS and address.startswith(V4_MAPPED):
            return False
        away = int.from_bytes(address) ^ int.from_bytes(self.packed)
        return away >> (128 - self.bits) == 0

    def __str__(self) -> str:
        if self.bits >= _MAPPED_BITS and self.packed.startswith(V4_MAPPED):
            return str(ipaddress.IPv4Network((self.packed[12:], self.bits - _MAPPED_BITS)))
        return str(ipaddress.IPv6Network((self.packed, self.bits)))


@lru_cache(maxsize=4096)
def parse(text: str) -> AddressRange:
    """Read a range or one address; ConfigError without a path if it is none, or has bits behind its prefix."""
    address, slash, bits = text.partition("/")
    if slash and not (bits.isascii() and bits.isdigit()):  # "10.0.0.0/255.0.0.0" is taken by ipaddress
        raise ConfigError(f"{text!r}: {bits!r} is no length of a prefix", remedy=_REMEDY)
    if "%" in address:
        raise ConfigError(f"{text!r} has a zone id", remedy="leave it out")
    try:
        network = ipaddress.ip_network(text, strict=False)
        given = ipaddress.ip_address(address)
    except ValueError:
        raise ConfigError(f"{text!r} is no range of addresses", remedy=_REMEDY) from None
    if given != network.network_address:
        raise ConfigError(f"{text!r} has bits set behind its prefix", remedy=f'write "{network}"')
    if network.version == 4:
        return AddressRange(V4_MAPPED + network.network_address.packed, _MAPPED_BITS + network.prefixlen)
    return AddressRange(network.network_address.packed, network.prefixlen)
