"""The kernel's neighbour table: which link-layer address is behind an IP address.

It is read over rtnetlink(7) here, not by pyroute2, which would add 13 MB to each worker.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from struct import Struct
from typing import Final

from gate_core.clients import Address

MAX_AGE_S: Final = 5.0
"""How long the table is believed before it is read again."""

SOLICIT_S: Final = 0.02
"""Longest wait for an address that answers its first solicitation: a switched network takes under 2 ms."""

_SOLICITS_PER_S: Final = 10
# Entries whose link-layer address the kernel vouches for, now or until it hears otherwise (linux/neighbour.h).
_USABLE: Final = 0x02 | 0x04 | 0x08 | 0x10 | 0x80
_DISCARD_PORT: Final = 9

# linux/netlink.h: what the kernel says begins with struct nlmsghdr: length, type, flags, sequence number, port.
_MESSAGE: Final = Struct("=IHHII")
_REQUEST_DUMP: Final = 0x001 | 0x300
_ERROR: Final = 2
_DONE: Final = 3
_READ_OCTETS: Final = 1 << 16
"""More than the kernel puts into a datagram (32 KiB; netlink_dump() in net/netlink/af_netlink.c)."""
_TIMEOUT_S: Final = 1.0

# linux/rtnetlink.h
_GET_ADDRESSES: Final = 22
_GET_NEIGHBOURS: Final = 30
_ATTRIBUTE: Final = Struct("=HH")
"""struct rtattr: length, type."""

# struct ndmsg of linux/neighbour.h: family, state; and its attributes.
_NEIGHBOUR: Final = Struct("=B7xH2x")
_NDA_DST: Final = 1
_NDA_LLADDR: Final = 2

# struct ifaddrmsg of linux/if_addr.h: family, prefix length; and its attribute.
_OWN: Final = Struct("=BB6x")
_IFA_ADDRESS: Final = 1

_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)
_MAC_OCTETS: Final = 6


class MalformedRoutesError(ValueError):
    """Octets that are not what the kernel says over rtnetlink."""


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
        self._routes = Routes(
            socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        )
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
        return self._routes.neighbours()

    def close(self) -> None:
        """Free the netlink socket."""
        self._routes.close()

    def _read(self) -> None:
        self._table = {entry.address: entry.mac for entry in self.entries()}
        # A network of one address is ourselves.
        self._local = tuple(n for n in self._routes.networks() if n.num_addresses > 1)
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


class Routes:
    """What the kernel tells over rtnetlink; it bounds how much that is (net.ipv4.neigh.default.gc_thresh3).

    What changes while it is read may be missing; the next reading has it.
    """

    def __init__(self, kernel: socket.socket) -> None:
        """Take the socket to the kernel, which ``close`` closes."""
        self._kernel = kernel
        self._kernel.settimeout(_TIMEOUT_S)
        self._sequence = 0

    def neighbours(self) -> Iterator[Neighbour]:
        """Yield the usable entries of the neighbour table, read now.

        Raises:
            OSError: The kernel refused, or did not answer.
            MalformedRoutesError: It said what can't be understood.
        """
        found = map(parse_neighbour, self._dump(_GET_NEIGHBOURS, _NEIGHBOUR.size))
        return (neighbour for neighbour in found if neighbour)

    def networks(self) -> Iterator[IPv4Network | IPv6Network]:
        """Yield the networks of our own addresses, read now; faults as ``neighbours``."""
        found = map(parse_network, self._dump(_GET_ADDRESSES, _OWN.size))
        return (network for network in found if network)

    def close(self) -> None:
        """Free the socket."""
        self._kernel.close()

    def _dump(self, kind: int, header_octets: int) -> list[bytes]:
        """Return the content of each message that answers a request for all of a ``kind``, of every family."""
        self._sequence += 1
        length = _MESSAGE.size + header_octets
        header = _MESSAGE.pack(length, kind, _REQUEST_DUMP, self._sequence, 0)
        self._kernel.send(header + bytes(header_octets))
        found: list[bytes] = []
        while True:
            for (_, answer, _, sequence, _), content in _parts(
                self._kernel.recv(_READ_OCTETS), _MESSAGE
            ):
                if sequence != self._sequence:
                    continue  # Left of a dump that a fault cut short.
                if answer in {_ERROR, _DONE}:
                    _raise_for(content)
                    return found
                found.append(content)


def _raise_for(content: bytes) -> None:
    # Both messages that end a dump begin with 0, or with an errno as a negative number.
    if code := -int.from_bytes(content[:4], sys.byteorder, signed=True):
        raise OSError(code, f"reading the kernel's neighbours and addresses: {os.strerror(code)}")


def parse_neighbour(content: bytes) -> Neighbour | None:
    """Return the entry that an RTM_NEWNEIGH message tells of; None where it has no MAC address that holds.

    Args:
        content: What follows the header of the message.

    Raises:
        MalformedRoutesError: It is none.
    """
    (family, state), attributes = _content(content, _NEIGHBOUR)
    mac = attributes.get(_NDA_LLADDR, b"")
    if family not in _FAMILIES or not state & _USABLE or len(mac) != _MAC_OCTETS or not any(mac):
        return None
    try:
        return Neighbour(ip_address(attributes.get(_NDA_DST, b"")), mac.hex(":"))
    except ValueError as e:
        raise MalformedRoutesError(f"parsing a neighbour: {e}") from None


def parse_network(content: bytes) -> IPv4Network | IPv6Network | None:
    """Return the network of the own address that an RTM_NEWADDR message tells of; None for other families.

    Args:
        content: What follows the header of the message.

    Raises:
        MalformedRoutesError: It is none.
    """
    (family, prefix_length), attributes = _content(content, _OWN)
    if family not in _FAMILIES or _IFA_ADDRESS not in attributes:
        return None
    try:
        return ip_network((attributes[_IFA_ADDRESS], prefix_length), strict=False)
    except ValueError as e:
        raise MalformedRoutesError(f"parsing an own address: {e}") from None


def _content(content: bytes, header: Struct) -> tuple[tuple[int, ...], dict[int, bytes]]:
    """Return the header and, by their types, the attributes behind it."""
    if len(content) < header.size:
        raise MalformedRoutesError(f"parsing {len(content)} octets: {content.hex()}: too few")
    attributes = _parts(content[header.size :], _ATTRIBUTE)
    return header.unpack_from(content), {kind: value for (_, kind), value in attributes}


def _parts(octets: bytes, header: Struct) -> Iterator[tuple[tuple[int, ...], bytes]]:
    """Yield the header and the content of each part: both forms begin with its length and are aligned to 4 octets."""
    at = 0
    while at < len(octets):
        rest = len(octets) - at
        fields = header.unpack_from(octets, at) if rest >= header.size else (0,)
        length = fields[0]
        if not header.size <= length <= rest:
            start = octets[at : at + 32].hex()
            raise MalformedRoutesError(f"parsing {rest} octets: {start}: length {length}")
        yield fields, octets[at + header.size : at + length]
        at += (length + 3) & ~3
