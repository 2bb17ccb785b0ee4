"""Addresses that no public name has: an answer with one lets a web page reach into the school's network (DNS rebinding)."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_network
from typing import Final

_V6: Final = tuple(
    ip_network(network) for network in ("::/127", "fc00::/7", "fe80::/10", "fec0::/10")
)
_MAPPED: Final = bytes(10) + b"\xff\xff"
_NAT64: Final = bytes.fromhex("0064ff9b") + bytes(8)
"""RFC 4291, section 2.5.5.2, and RFC 6052, section 2.1: the last four octets are an IPv4 address."""
_V4: Final = {
    0: range(256),  # Many systems take it for themselves.
    10: range(256),
    100: range(64, 128),  # Shared with other customers of the provider (RFC 6598).
    127: range(256),
    169: range(254, 255),
    172: range(16, 32),
    192: range(168, 169),
}
"""First octet of a network to the second octets."""
_V6_FIRST: Final = frozenset((0, 0xFC, 0xFD, 0xFE))


def is_private(address: bytes) -> bool:
    """Tell whether the 4 or 16 octets of ``address`` are private, shared, link-local, of a host itself, or none."""
    if len(address) == 16:
        if address[:12] in (_MAPPED, _NAT64):
            address = address[12:]
        else:
            return address[0] in _V6_FIRST and any(IPv6Address(address) in n for n in _V6)
    return address[0] in _V4 and address[1] in _V4[address[0]]
