"""Addresses and sizes: what is read, what it means, and what is refused with a reason."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebpfmesh.errors import ConfigError
from ebpfmesh.policy import size
from ebpfmesh.policy.address import Endpoint, parse

PORTS = st.integers(1, 65535)


def refused(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """The reference: what nothing can be connected to."""
    v4 = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else address
    if v4 is not None:
        return v4.is_unspecified or v4.is_multicast or str(v4) == "255.255.255.255"
    return address.is_unspecified or address.is_multicast or address.is_link_local


@given(address=st.ip_addresses(v=4), port=PORTS)
@settings(deadline=None)
def test_ipv4_is_packed_as_v4_mapped(address: ipaddress.IPv4Address, port: int) -> None:
    for text in (f"{address}:{port}", f"[::ffff:{address}]:{port}"):
        if refused(address):
            with pytest.raises(ConfigError):
                parse(text)
            continue
        endpoint = parse(text)
        assert endpoint == Endpoint(bytes(10) + b"\xff\xff" + address.packed, port)
        assert endpoint.is_v4
        assert str(endpoint) == f"{address}:{port}"
        assert parse(str(endpoint)) == endpoint


@given(address=st.ip_addresses(v=6), port=PORTS, exploded=st.booleans())
@settings(deadline=None)
def test_ipv6_is_packed_however_it_is_written(
    address: ipaddress.IPv6Address, port: int, exploded: bool
) -> None:
    text = f"[{address.exploded.upper() if exploded else address}]:{port}"
    if refused(address):
        with pytest.raises(ConfigError):
            parse(text)
        return
    endpoint = parse(text)
    packed, found = endpoint
    assert (packed, found) == (address.packed, port)
    assert endpoint.is_v4 is (address.ipv4_mapped is not None)
    assert endpoint.identity == address.packed + port.to_bytes(2, "big")
    assert parse(str(endpoint)) == endpoint


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("10.0.0.1", "has no port"),
        ("", "has no port"),
        ("fd00::1", "'1' is no port|IPv6 without brackets"),
        ("fd00::1:80", "IPv6 without brackets"),
        ("10.0.0.1:0", "'0' is no port .ports are 1 to 65535"),
        ("10.0.0.1:65536", "'65536' is no port"),
        ("10.0.0.1:", "'' is no port"),
        ("10.0.0.1:-1", "'-1' is no port"),
        ("10.0.0.1:+80", "is no port"),
        ("10.0.0.1: 80", "is no port"),
        ("10.0.0.1:8_0", "is no port"),
        ("10.0.0.1:080", "is no port"),
        ("10.0.0.1:\u0668\u0660", "is no port"),
        ("10.0.0.1:99999999999999999999", "is no port"),
        ("10.0.0.256:80", "no IPv4 address .write four numbers"),
        ("10.0.0:80", "no IPv4 address"),
        ("010.0.0.1:80", "without leading zeros"),
        ("0x0a.0.0.1:80", "no IPv4 address"),
        (" 10.0.0.1:80", "no IPv4 address"),
        ("10.0.0.1\0:80", "no IPv4 address"),
        ("localhost:80", "names are not resolved"),
        (":80", "no IPv4 address"),
        ("[]:80", "no IPv6 address"),
        ("[fd00::1::]:80", "no IPv6 address"),
        ("[10.0.0.1]:80", "no IPv6 address"),
        ("[fd00::1]80", "is no port|IPv6 without brackets"),
        ("[fe80::1%eth0]:80", "has a zone id"),
        ("[fe80::1]:80", "is link-local"),
        ("[febf::1]:80", "is link-local"),
        ("0.0.0.0:80", "is the unspecified address"),
        ("[::]:80", "is the unspecified address"),
        ("[::ffff:0.0.0.0]:80", "is the unspecified address"),
        ("255.255.255.255:80", "is the broadcast address"),
        ("[::ffff:255.255.255.255]:80", "is the broadcast address"),
        ("224.0.0.1:80", "is a multicast address"),
        ("239.255.255.255:80", "is a multicast address"),
        ("[::ffff:224.0.0.1]:80", "is a multicast address"),
        ("[ff02::1]:80", "is a multicast address"),
    ],
)
def test_what_is_no_usable_address_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        parse(text)


@pytest.mark.parametrize(
    "text", ["127.0.0.1:1", "[::1]:65535", "240.0.0.1:80", "0.1.2.3:80", "[::1.2.3.4]:80"]
)
def test_loopback_reserved_and_odd_addresses_are_taken(text: str) -> None:
    assert parse(text).port in (1, 80, 65535)


@given(text=st.text(max_size=30))
@settings(deadline=None)
def test_any_text_is_an_endpoint_or_a_config_error(text: str) -> None:
    try:
        assert len(parse(text).packed) == 16
    except ConfigError as error:
        assert error.what


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1),
        ("1", 1),
        ("512 B", 512),
        ("256MiB", 256 << 20),
        (" 64 kib ", 64 << 10),
        ("1.5GB", 1_500_000_000),
        ("0.1GiB", 107374182),
        ("2TiB", 2 << 40),
    ],
)
def test_sizes_are_read_exactly(value: int | str, expected: int) -> None:
    assert size.parse(value) == expected


@pytest.mark.parametrize("value", ["", "MiB", "-1", "0", "0.1B", 0, -5, "1e9", "256 MiBs", "1,5GB", "٣MiB"])
def test_what_is_no_size_is_refused(value: int | str) -> None:
    with pytest.raises(ConfigError, match="is no size"):
        size.parse(value)
