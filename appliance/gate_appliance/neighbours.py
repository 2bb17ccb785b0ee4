"""The kernel's neighbour table: which link-layer address is behind an IP address."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface
from typing import Any, Final

from pyroute2 import IPRoute

from gate_core.clients import Address

MAX_AGE_S: Final = 5.0
"""How long the table is believed before it is read again."""

SOLICIT_S: Final = 0.02
"""Longest wait for an address that answers its first solicitation: a switched network takes under 2 ms."""

_SOLICITS_PER_S: Final = 10
# Entries whose link-layer address the kernel vouches for, now or until it hears otherwise (linux/neighbour.h).
_USABLE: Final = 0x02 | 0x04 | 0x08 | 0x10 | 0x80
_DISCARD_PORT: Final = 9


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An entry of the table."""

    address: Address
    mac: str


class KernelNeighbours:
    """Neighbour look-ups for one thread (``gate_core.ports.NeighbourTable``).

    A device's first query reaches us before the kernel has had a reason to learn its address, so an unknown
    address of a local network is solicited: a datagram to its discard port makes the kernel ask for it.
    At most ten such waits of 20 ms a second, so that forged addresses can't hold up the rest.
    """

    def __init__(self) -> None:
        self._route = IPRoute()
        self._table: dict[Address, str] = {}
        self._local: tuple[IPv4Network | IPv6Network, ...] = ()
        self._read_at = float("-inf")
        self._second = 0
        self._solicits = 0

    def mac(self, address: Address) -> str | None:
        """Return the canonical MAC address of ``address``; None where the kernel knows none."""
        if address.is_loopback:
            return None
        if time.monotonic() - self._read_at > MAX_AGE_S:
            self._read()
        found = self._table.get(address)
        if found is None and self._may_solicit(address):
            self._solicit(address)
            found = self._table.get(address)
        return found

    def entries(self) -> Iterator[Neighbour]:
        """Yield the usable entries, read now."""
        for entry in self._route.get_neighbours():
            mac = entry.get_attr("NDA_LLADDR")
            destination = entry.get_attr("NDA_DST")
            if mac and destination and entry["state"] & _USABLE and mac != "00:00:00:00:00:00":
                yield Neighbour(ip_address(destination), mac)

    def close(self) -> None:
        """Free the netlink socket."""
        self._route.close()

    def _read(self) -> None:
        self._table = {entry.address: entry.mac for entry in self.entries()}
        self._local = tuple(
            _network(a) for a in self._route.get_addr() if a.get_attr("IFA_ADDRESS")
        )
        self._read_at = time.monotonic()

    def _may_solicit(self, address: Address) -> bool:
        if not any(address.version == n.version and address in n for n in self._local):
            return False
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._solicits = second, 0
        self._solicits += 1
        return self._solicits <= _SOLICITS_PER_S

    def _solicit(self, address: Address) -> None:
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        with socket.socket(family, socket.SOCK_DGRAM) as datagram:
            try:
                datagram.sendto(b"", (str(address), _DISCARD_PORT))
            except OSError:
                return  # No way to it, so no neighbour.
        deadline = time.monotonic() + SOLICIT_S
        while address not in self._table and time.monotonic() < deadline:
            time.sleep(0.001)
            self._read()


def _network(entry: Any) -> IPv4Network | IPv6Network:
    return ip_interface(f"{entry.get_attr('IFA_ADDRESS')}/{entry['prefixlen']}").network
