"""Addresses that no public name has: an answer with one lets a web page reach into the school's network (DNS rebinding)."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_network
from typing import Final

_V4: Final = {
    0: range(256),  # Many systems take it for themselves.
    10: range(256),
    100: range(64, 128),  # Shared with other customers of the provider (RFC 6598).
    127: range(256),
    169: range(254, 255),
    172: range(16, 32),
    192: (0, 168),  # Of the first, protocols have a part.
    198: range(18, 20),  # Benchmarks (RFC 2544).
    **dict.fromkeys(range(224, 256), range(256)),  # Multicast, reserved, broadcast.
}
"""First octet of a network to the second octets."""
_V4_SECOND: Final = tuple(frozenset(_V4.get(first, ())) for first in range(256))
_PROTOCOLS: Final = bytes((192, 0, 0))
"""192.0.0.0/24 (RFC 6890, section 2.2.2)."""
_IPV4ONLY: Final = (170, 171)
"""Last octets of the addresses of ipv4only.arpa, by which devices find out how NAT64 is done (RFC 7050); nobody has them."""

_V6: Final = tuple(
    ip_network(network)
    # The second is for NAT64 within a network (RFC 8215).
    for network in ("::/127", "64:ff9b:1::/48", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8")
)
_V6_FIRST: Final = frozenset((0, 0xFC, 0xFD, 0xFE, 0xFF))
_BEFORE_V4: Final = frozenset(
    (
        bytes(12),  # IPv4-compatible (RFC 4291, section 2.5.5.1).
        bytes(10) + b"\xff\xff",  # IPv4-mapped (section 2.5.5.2).
        bytes(8) + b"\xff\xff\0\0",  # IPv4-translated (RFC 2765, section 2.1).
        bytes.fromhex("0064ff9b") + bytes(8),  # NAT64 (RFC 6052, section 2.1).
    )
)
"""First twelve octets where the last four are an IPv4 address."""
_ISATAP: Final = (b"\0\0\x5e\xfe", b"\2\0\x5e\xfe")
"""The four octets before such an address in an interface identifier of RFC 5214, section 6.1."""
_6TO4: Final = b"\x20\x02"
_TEREDO: Final = b"\x20\x01\0\0"


def is_private(address: bytes) -> bool:
    """Tell whether no public name has ``address``, or an IPv4 address within it.

    Those are the private and shared ones, those of a link, of a host itself, of groups, of benchmarks, and the reserved.

    Args:
        address: 4 or 16 octets.
    """
    if len(address) == 4:
        return address[1] in _V4_SECOND[address[0]] and _is_private_v4(address)
    if address[0] in _V6_FIRST and any(IPv6Address(address) in network for network in _V6):
        return True
    return any(map(_is_private_v4, _v4_within(address)))


def _is_private_v4(address: bytes) -> bool:
    if address[:2] == _PROTOCOLS[:2]:
        return address[:3] == _PROTOCOLS and address[3] not in _IPV4ONLY
    return address[1] in _V4_SECOND[address[0]]


def _v4_within(address: bytes) -> list[bytes]:
    """Return the IPv4 addresses that packets to the IPv6 ``address`` may be sent on to."""
    found = []
    if address[:12] in _BEFORE_V4 or address[8:12] in _ISATAP:
        found.append(address[12:])
    if address[:2] == _6TO4:
        found.append(address[2:6])
    elif address[:4] == _TEREDO:
        # RFC 4380, section 4: the server's, and the client's with its bits inverted.
        found += [address[4:8], bytes(octet ^ 0xFF for octet in address[12:])]
    return found
