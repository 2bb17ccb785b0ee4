"""Who has which address in the laboratory, and which address of its internet belongs to which name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final


@dataclass(frozen=True, slots=True)
class Host:
    """One machine of the school's network."""

    name: str
    number: str
    """Last part of each of its addresses."""
    group: str = ""
    """The policy's group; "" for what is part of the network."""

    @property
    def v4(self) -> str:
        return f"10.77.0.{self.number}"

    @property
    def v6(self) -> str:
        return f"fd77::{self.number}"

    @property
    def mac(self) -> str:
        return f"00:00:5e:00:53:{int(self.number):02d}"


ROUTER: Final = Host("router", "1")
BOX: Final = Host("box", "2")
LAPTOP: Final = Host("laptop", "10", "ks2")
TABLET: Final = Host("tablet", "11", "ks2")
STAFF: Final = Host("staff", "20", "staff")
GUEST: Final = Host("guest", "30", "guest")
CLIENTS: Final = (LAPTOP, TABLET, STAFF, GUEST)

UNRESOLVED: Final = "198.51.100.66"
"""Serves every name, and no name resolves to it."""
UNRESOLVED_V6: Final = "2001:db8:66::66"
RESOLVER: Final = "198.51.100.53"
"""A public resolver: ports 53, 853 (DoT) and 443 (DoH)."""
RESOLVER_V6: Final = "2001:db8:53::53"
RESOLVER_NAME: Final = "resolver.example"

INTERNET: Final = ("203.0.113.0/24", "198.51.100.0/24", "2001:db8::/32")


def address_of(name: str) -> IPv4Address:
    """Return the IPv4 address of a public name: 203.0.113.16 to .199, always the same."""
    if name == RESOLVER_NAME:
        return IPv4Address(RESOLVER)
    digest = hashlib.sha256(name.encode()).digest()
    return IPv4Address("203.0.113.0") + 16 + digest[0] % 184


def address6_of(name: str) -> IPv6Address:
    """Return the IPv6 address of a public name."""
    if name == RESOLVER_NAME:
        return IPv6Address(RESOLVER_V6)
    digest = hashlib.sha256(name.encode()).digest()
    return IPv6Address("2001:db8:113::") + int.from_bytes(digest[:4])
