"""Ranges of addresses and rates: what is read, what it means, what is refused."""

from __future__ import annotations

import ipaddress
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebpfmesh.errors import ConfigError
from ebpfmesh.policy import Limit, rate
from ebpfmesh.policy.address import V4_MAPPED
from ebpfmesh.policy.address_range import AddressRange, parse

NETWORKS = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.integers(0, 32)), st.tuples(st.ip_addresses(v=6), st.integers(0, 128))
).map(lambda pair: ipaddress.ip_network(pair, strict=False))


def packed(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bytes:
    return V4_MAPPED + address.packed if address.version == 4 else address.packed


@given(network=NETWORKS, other=st.ip_addresses(), inside=st.integers(0))
@settings(deadline=None)
def test_a_range_holds_what_the_network_holds(
    network: ipaddress.IPv4Network | ipaddress.IPv6Network, other: ipaddress.IPv4Address, inside: int
) -> None:
    found = parse(str(network))
    assert parse(str(found)) == found
    chosen = network[inside % network.num_addresses]
    mapped_in_six = chosen.version == 6 and chosen.ipv4_mapped is not None and network.prefixlen < 96
    assert (packed(chosen) in found) is not mapped_in_six
    mapped = other.ipv4_mapped or other if isinstance(other, ipaddress.IPv6Address) else other
    if isinstance(network, ipaddress.IPv4Network):
        assert (packed(other) in found) is (mapped in network)
    elif other.version == 6:
        assert (packed(other) in found) is (
            other in network and (other.ipv4_mapped is None or found.bits >= 96)
        )


def test_one_address_is_a_range_of_one() -> None:
    assert parse("10.0.0.7") == AddressRange(V4_MAPPED + bytes([10, 0, 0, 7]), 128)
    assert parse("10.0.0.0/8").bits == 104
    assert parse("::ffff:10.0.0.0/104") == parse("10.0.0.0/8")
    assert str(parse("::ffff:10.0.0.0/104")) == "10.0.0.0/8"
    assert V4_MAPPED + b"\x0a\0\0\x01" in parse("0.0.0.0/0")
    assert b"\x0a\0\0\x01" not in parse("0.0.0.0/0")
    assert "10.0.0.1" not in parse("0.0.0.0/0")
    assert V4_MAPPED + b"\x0a\0\0\x01" not in parse("::/0")
    assert b"\xfd" + bytes(15) in parse("::/0")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("10.0.0.1/8", r"has bits set behind its prefix .write \"10.0.0.0/8\""),
        ("fd00::1/8", r"has bits set behind its prefix .write \"fd00::/8\""),
        ("10.0.0.0/33", "is no range of addresses"),
        ("10.0.0.0/-1", "'-1' is no length of a prefix"),
        ("10.0.0.0/255.0.0.0", "is no length of a prefix"),
        ("10.0.0.0/", "'' is no length of a prefix"),
        ("10.0.0.0/٨", "is no length of a prefix"),
        ("10.0.0/8", "is no range of addresses"),
        ("", "is no range of addresses"),
        ("localhost", "is no range of addresses"),
        ("fe80::1%eth0/64", "has a zone id"),
    ],
)
def test_what_is_no_range_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        parse(text)


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("1/s", 1_000_000_000),
        ("100/s", 10_000_000),
        ("5/m", 12_000_000_000),
        ("1000/h", 3_600_000_000),
        (" 3 / s ", 333_333_334),
        ("1000000/s", 1000),
        ("3600000000/h", 1000),
    ],
)
def test_a_rate_is_nanoseconds_a_request_rounded_up(text: str, interval: int) -> None:
    assert rate.parse(text).interval == interval


@given(requests=st.integers(1, 10**9), unit=st.sampled_from("smh"))
def test_no_rate_admits_more_than_it_says_and_hardly_less(requests: int, unit: str) -> None:
    seconds = {"s": 1, "m": 60, "h": 3600}[unit]
    if requests > 1_000_000 * seconds:
        with pytest.raises(ConfigError, match="more than can be limited"):
            rate.parse(f"{requests}/{unit}")
        return
    admitted = Fraction(10**9, rate.parse(f"{requests}/{unit}").interval)
    assert Fraction(999, 1000) <= admitted / Fraction(requests, seconds) <= 1


@pytest.mark.parametrize(
    "text", ["", "100", "/s", "0/s", "-1/s", "1.5/s", "100/d", "100/S", "1e3/s", "٣/s", "100/s/s"]
)
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no rate"):
        rate.parse(text)


def test_the_burst_is_the_number_in_the_rate_unless_it_is_given() -> None:
    assert Limit("l", "100/s").tokens == 100
    assert Limit("l", "5/m").tokens == 5
    assert Limit("l", "5/m", burst=1).tokens == 1
    assert Limit("l", "5/m", key="header:X-User").header == "x-user"
    assert Limit("l", "5/m", key="identity").header is None
