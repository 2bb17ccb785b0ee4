from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate_dns.addresses import is_private

PRIVATE = [
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.53"),
    *("169.254.169.254", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
    *("::", "::1", "fc00::1", "fdff::1", "fe80::1", "febf::1", "fec0::1"),
    *("::ffff:10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::192.168.1.1"),
]
PUBLIC = [
    *("1.1.1.1", "9.255.255.255", "100.63.255.255", "100.128.0.1", "126.0.0.1", "128.0.0.1"),
    *("169.253.0.1", "172.15.255.255", "172.32.0.1", "192.0.2.1", "192.169.0.1", "224.0.0.251"),
    *(
        "2001:db8::1",
        "2a00::1",
        "::2",
        "fbff::1",
        "ff02::1",
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
def test_is_private_holds_for_all_that_the_registry_calls_loopback_or_link_local(address):
    if address.is_loopback or address.is_link_local or address.is_unspecified:
        assert is_private(address.packed)
    if address.is_global and not getattr(address, "ipv4_mapped", None):
        nat64 = address.version == 6 and address.packed.startswith(b"\0\x64\xff\x9b")
        assert nat64 or not is_private(address.packed)
