"""Addresses with ports: text in, 16 packed bytes and a port out; IPv4 is v4-mapped IPv6 everywhere.

Sources: RFC 4291 (section 2.5.5.2 v4-mapped, 2.7 multicast), RFC 4007 (zone ids), RFC 3986 (section 3.2.2 brackets).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Any

import msgspec

from ebpfmesh.errors import ConfigError

V4_MAPPED = bytes(10) + b"\xff\xff"
"""The first 12 bytes of a v4-mapped address, ::ffff:0:0/96."""

_V4 = int(AF_INET)  # an enum's member is converted at each call

_KEPT = 1 << 17  # 10,000 services of 10 backends are parsed once; some 30 MB when full


class Endpoint(msgspec.Struct, frozen=True, order=True, gc=False, cache_hash=True):
    """An address and a port, normalised: equal endpoints are the same to the kernel side, however they were written.

    It unpacks like a pair. It is no tuple because the garbage collector would walk 100,000 of them again and again.
    """

    packed: bytes
    """16 bytes; IPv4 as ::ffff:a.b.c.d."""
    port: int
    """1 to 65535, in host order."""

    def __iter__(self) -> Iterator[Any]:
        return iter((self.packed, self.port))

    @property
    def is_v4(self) -> bool:
        """Whether it is an IPv4 address, written as such or v4-mapped."""
        return self.packed.startswith(V4_MAPPED)

    @property
    def identity(self) -> bytes:
        """18 bytes: the packed address and the port in network order; what consistent hashing hashes."""
        return self.packed + self.port.to_bytes(2)

    def __str__(self) -> str:
        if self.is_v4:
            return f"{inet_ntop(AF_INET, self.packed[12:])}:{self.port}"
        return f"[{inet_ntop(AF_INET6, self.packed)}]:{self.port}"


@lru_cache(maxsize=_KEPT)
def parse(text: str) -> Endpoint:
    """Read "10.96.0.10:80", "[fd00::1]:80" or "[::ffff:10.0.0.1]:80"; the last is the endpoint 10.0.0.1:80.

    ConfigError without a path when it is not an address with a port, or one that nothing can be connected to:
    unspecified, multicast, broadcast, link-local IPv6 (which needs an interface), or with a zone id.
    """
    host, _, port_text = text.rpartition(":")
    # The usual case in few steps: 100,000 backends are parsed when a large mesh starts.
    try:
        v4, port = inet_pton(_V4, host), _port(port_text)
        if port and 0 < v4[0] < 224:
            return Endpoint(V4_MAPPED + v4, port)
    except (OSError, ValueError):
        pass
    return _read(text)


def _read(text: str) -> Endpoint:
    host, colon, port_text = text.rpartition(":")
    if not colon:
        raise ConfigError(f"{text!r} has no port", remedy='write "10.96.0.10:80" or "[fd00::1]:80"')
    port = _port(port_text)
    if not port:
        raise ConfigError(f"{text!r}: {port_text!r} is no port", remedy="ports are 1 to 65535")
    if host[:1] == "[" and host[-1:] == "]":
        packed = _v6(host[1:-1], text)
    elif ":" in host:
        raise ConfigError(f"{text!r} is IPv6 without brackets", remedy='write "[fd00::1]:80"')
    else:
        packed = V4_MAPPED + _v4(host, text)
    reason = unusable(packed)
    if reason:
        raise ConfigError(f"{text!r} {reason}")
    return Endpoint(packed, port)


def unusable(packed: bytes) -> str | None:
    """Why no service or backend can have this address of 16 bytes, or None."""
    reason = None
    v4 = packed[12:] if packed.startswith(V4_MAPPED) else None
    if packed == bytes(16) or v4 == b"\0\0\0\0":
        reason = "is the unspecified address; a service or backend needs one address"
    elif v4 == b"\xff\xff\xff\xff":
        reason = "is the broadcast address; nothing can be connected to it"
    elif packed[0] == 0xFF or (v4 and 224 <= v4[0] < 240):
        reason = "is a multicast address; nothing can be connected to it"
    elif packed[0] == 0xFE and packed[1] & 0xC0 == 0x80:
        reason = "is link-local; it means nothing without an interface, which an entry cannot carry"
    return reason


@lru_cache(maxsize=4096)  # many backends, few ports
def _port(text: str) -> int:
    # int() also takes " 80", "+80", "8_0" and digits of other scripts. 0 is no port.
    plain = text.isascii() and text.isdigit() and len(text) <= 5 and text[0] != "0"
    port = int(text) if plain else 0
    return port if port <= 65535 else 0


def _v4(host: str, whole: str) -> bytes:
    try:
        return inet_pton(AF_INET, host)
    except (OSError, ValueError):
        if any(letter.isalpha() for letter in host):
            remedy = "names are not resolved; write the address"
        else:
            remedy = "write four numbers of 0 to 255 without leading zeros"
        raise ConfigError(f"{whole!r}: {host!r} is no IPv4 address", remedy=remedy) from None


def _v6(host: str, whole: str) -> bytes:
    if "%" in host:
        raise ConfigError(
            f"{whole!r} has a zone id", remedy="an entry cannot carry an interface; leave it out"
        )
    try:
        return inet_pton(AF_INET6, host)
    except (OSError, ValueError):
        raise ConfigError(f"{whole!r}: {host!r} is no IPv6 address") from None
