from __future__ import annotations

from ipaddress import IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate_dns.messages.addresses import is_private

PRIVATE = [
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.53"),
    *("169.254.169.254", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
    *("::", "::1", "fc00::1", "fdff::1", "fe80::1", "febf::1", "fec0::1"),
    *("192.0.0.1", "192.0.0.255", "198.18.0.1", "198.19.255.255"),
    *("224.0.0.251", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
    *("ff02::fb", "ff0e::1", "64:ff9b:1::1", "64:ff9b:1:ffff:ffff::1"),
    *("::ffff:10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::192.168.1.1"),
    *("::2", "::10.0.0.1", "::ffff:0:10.0.0.1", "::ffff:0:192.168.0.1"),
    *("2002:a00:1::1", "2002:c0a8:101::", "2002:7f00:1::1"),
    # Teredo: the client is 10.0.0.1; the server is.
    *("2001::c000:201:0:0:f5ff:fffe", "2001::a00:1:0:0:3fff:fdfe"),
    *("2001:db8::5efe:10.0.0.1", "2001:db8::200:5efe:192.168.0.1"),
    "2002:c000:201::5efe:10.0.0.1",
]
PUBLIC = [
    *("1.1.1.1", "9.255.255.255", "100.63.255.255", "100.128.0.1", "126.0.0.1", "128.0.0.1"),
    *("169.253.0.1", "172.15.255.255", "172.32.0.1", "192.0.2.1", "192.169.0.1", "192.0.1.0"),
    *("192.0.0.170", "192.0.0.171", "64:ff9b::192.0.0.170"),
    *("198.17.255.255", "198.20.0.0", "223.255.255.255"),
    *("::192.0.2.1", "::ffff:0:192.0.2.1", "2002:c000:201::1", "2001::c000:201:0:0:3fff:fdfe"),
    *("2001:db8::5efe:192.0.2.1", "2001:db8::5eff:10.0.0.1", "64:ff9b:2::1", "2001:1::10.0.0.1"),
    *(
        "2001:db8::1",
        "2a00::1",
        "fbff::1",
        "::ffff:192.0.2.1",
        "64:ff9b::1.1.1.1",
    ),
]


@pytest.mark.parametrize(
    ("address", "private"), [(a, True) for a in PRIVATE] + [(a, False) for a in PUBLIC]
)
def test_is_private_tells_addresses_that_no_public_name_has(address, private):
    assert is_private(ip_address(address).packed) is private


@given(st.ip_addresses())
def test_is_private_holds_for_all_that_the_registry_calls_local_or_a_group(address):
    if (
        address.is_loopback
        or address.is_link_local
        or address.is_unspecified
        or address.is_multicast
    ):
        assert is_private(address.packed)


# 192.0.0.9 and 192.0.0.10 are the nearest of servers that have no names.
@given(st.ip_addresses(v=4).filter(lambda a: a.is_global and not a.is_multicast))
def test_is_private_lets_all_that_the_registry_calls_global_through(address):
    assert is_private(address.packed) is (address.packed[:3] == b"\xc0\0\0")


@given(st.ip_addresses(v=4))
def test_is_private_is_the_same_of_an_address_within_another(address):
    inside = int(address)
    for other in (
        f"::ffff:{address}",
        f"64:ff9b::{address}",
        IPv6Address(0x2002 << 112 | inside << 80 | 1),
        IPv6Address(0x2001 << 112 | 0x0102_0304 << 64 | inside ^ 0xFFFF_FFFF),
    ):
        assert is_private(IPv6Address(other).packed) is is_private(address.packed)
