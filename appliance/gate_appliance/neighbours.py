"""The kernel's neighbour table: which link-layer address is behind an IP address.

It is read over rtnetlink(7) here, not by pyroute2, which brings asyncio and a database into each worker.
"""

from __future__ import annotations

import errno
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
"""How long our own networks are believed before they are read again."""

# Entries whose link-layer address the kernel vouches for, now or until it hears otherwise (linux/neighbour.h).
_USABLE: Final = 0x02 | 0x04 | 0x08 | 0x10 | 0x80
_DISCARD_PORT: Final = 9

# linux/netlink.h: what the kernel says begins with struct nlmsghdr: length, type, flags, sequence number, port.
_MESSAGE: Final = Struct("=IHHII")
_REQUEST: Final = 0x001
_DUMP: Final = 0x300
_ERROR: Final = 2
_DONE: Final = 3
_READ_OCTETS: Final = 1 << 16
"""More than the kernel puts into a datagram (32 KiB; netlink_dump() in net/netlink/af_netlink.c)."""

# linux/rtnetlink.h
_GET_ADDRESSES: Final = 22
_GET_NEIGHBOURS: Final = 30
_ATTRIBUTE: Final = Struct("=HH")
"""struct rtattr: length, type."""

# struct ndmsg of linux/neighbour.h: family, index of the link, state; and its attributes.
_NEIGHBOUR: Final = Struct("=B3xIH2x")
_NDA_DST: Final = 1
_NDA_LLADDR: Final = 2

# struct ifaddrmsg of linux/if_addr.h: family, prefix length, index of the link; and its attribute.
_OWN: Final = Struct("=BB2xI")
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
"""Ours, where the other is that of the one on the far end of a point-to-point link."""

_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)
_MAC_OCTETS: Final = 6
# No such entry; or its link has gone since we read of it (neigh_get() in net/core/neighbour.c).
_ABSENT: Final = frozenset((errno.ENOENT, errno.ENODEV))


class MalformedRoutesError(ValueError):
    """Octets that are not what the kernel says over rtnetlink."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An entry of the table."""

    address: Address
    mac: str


@dataclass(frozen=True, slots=True)
class OwnNetwork:
    """The network of one of our own addresses."""

    address: Address
    network: IPv4Network | IPv6Network
    link: int
    """Index of the network interface that has the address."""


class KernelNeighbours:
    """Neighbour look-ups for one thread (``gate_core.ports.NeighbourTable``).

    The kernel is asked for the one address, and nothing is kept: forged addresses can fill no table here.

    A redirected query, or one from an address that its device has just made up, can reach us before the kernel has had a
    reason to learn who is there: ``solicit`` gives it one.
    """

    def __init__(self) -> None:
        self._routes = Routes(
            socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        )
        self._own: tuple[OwnNetwork, ...] = ()
        self._read_at = float("-inf")

    def mac(self, address: Address) -> str | None:
        """Return the canonical MAC address of ``address``; None where the kernel knows none.

        Raises:
            OSError: The kernel refused, or did not answer.
            MalformedRoutesError: It said what can't be understood.
        """
        if address.is_loopback:
            return None
        # A route may lead to neighbours in whose network we have no address.
        for link in self._links(address) or self._all_links(address):
            if neighbour := self._routes.neighbour(address, link):
                return neighbour.mac
        return None

    def solicit(self, address: Address) -> bool:
        """Make the kernel ask for ``address`` by a datagram to its discard port; tell whether it can.

        Raises:
            OSError: The kernel did not tell our networks.
            MalformedRoutesError: It said what can't be understood.
        """
        if address.is_loopback or any(o.address == address for o in self._networks()):
            return False
        # On every link, as an address of the link alone may be on each of them.
        ways = [_send_nothing(address, link) for link in self._links(address)]
        return any(ways)

    def _links(self, address: Address) -> set[int]:
        """Return where ``address`` is in one of our own networks."""
        # A network of one address is ourselves.
        return {
            o.link for o in self._networks() if address in o.network and o.network.num_addresses > 1
        }

    def _all_links(self, address: Address) -> set[int]:
        return {o.link for o in self._networks() if o.network.version == address.version}

    def _networks(self) -> tuple[OwnNetwork, ...]:
        now = time.monotonic()
        if now - self._read_at > MAX_AGE_S:
            self._own, self._read_at = tuple(self._routes.networks()), now
        return self._own

    def entries(self) -> Iterator[Neighbour]:
        """Yield the usable entries, read now."""
        return self._routes.neighbours()

    def close(self) -> None:
        """Free the netlink socket."""
        self._routes.close()


def _send_nothing(address: Address, link: int) -> bool:
    """Send an empty datagram to the discard port of ``address``; tell whether there is a way to it."""
    family, scope = (socket.AF_INET, ()) if address.version == 4 else (socket.AF_INET6, (0, link))
    host = socket.inet_ntop(family, address.packed)
    with socket.socket(family, socket.SOCK_DGRAM) as datagram:
        datagram.setblocking(False)
        try:
            datagram.sendto(b"", (host, _DISCARD_PORT, *scope))
        except OSError:
            return False
    return True


class Routes:
    """What the kernel tells over rtnetlink; it bounds how much that is (net.ipv4.neigh.default.gc_thresh3).

    What changes while it is read may be missing; the next reading has it.
    """

    def __init__(self, kernel: socket.socket) -> None:
        """Take the socket to the kernel, which ``close`` closes."""
        self._kernel = kernel
        # Its answer is there once it has been asked.
        self._kernel.setblocking(False)
        self._sequence = 0

    def neighbours(self) -> Iterator[Neighbour]:
        """Yield the usable entries of the neighbour table, read now.

        Raises:
            OSError: The kernel refused, or did not answer.
            MalformedRoutesError: It said what can't be understood.
        """
        found = map(parse_neighbour, self._dump(_GET_NEIGHBOURS, _NEIGHBOUR.size))
        return (neighbour for neighbour in found if neighbour)

    def neighbour(self, address: Address, link: int) -> Neighbour | None:
        """Return the usable entry of ``address`` at the link with that index; None where there is none.

        Raises:
            OSError: The kernel refused, or did not answer.
            MalformedRoutesError: It said what can't be understood.
        """
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        wanted = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(address.packed), _NDA_DST) + address.packed
        self._ask(_GET_NEIGHBOURS, 0, _NEIGHBOUR.pack(family, link, 0) + wanted)
        kind, content = next(self._answers())
        if kind != _ERROR:
            return parse_neighbour(content)
        try:
            _raise_for(content)
        except OSError as e:
            if e.errno not in _ABSENT:
                raise
        return None

    def networks(self) -> Iterator[OwnNetwork]:
        """Yield the networks of our own addresses, read now; faults as ``neighbours``."""
        found = map(parse_network, self._dump(_GET_ADDRESSES, _OWN.size))
        return (network for network in found if network)

    def close(self) -> None:
        """Free the socket."""
        self._kernel.close()

    def _dump(self, kind: int, header_octets: int) -> list[bytes]:
        """Return the content of each message that answers a request for all of a ``kind``, of every family."""
        self._ask(kind, _DUMP, bytes(header_octets))
        found: list[bytes] = []
        for answer, content in self._answers():
            if answer in {_ERROR, _DONE}:
                _raise_for(content)
                break
            found.append(content)
        return found

    def _ask(self, kind: int, flags: int, content: bytes) -> None:
        self._sequence += 1
        length = _MESSAGE.size + len(content)
        header = _MESSAGE.pack(length, kind, _REQUEST | flags, self._sequence, 0)
        self._kernel.send(header + content)

    def _answers(self) -> Iterator[tuple[int, bytes]]:
        """Yield type and content of what answers the last request."""
        while True:
            for (_, kind, _, sequence, _), content in _parts(
                self._kernel.recv(_READ_OCTETS), _MESSAGE
            ):
                # Others are left of a dump that a fault cut short.
                if sequence == self._sequence:
                    yield kind, content


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
    (family, _, state), attributes = _content(content, _NEIGHBOUR)
    mac = attributes.get(_NDA_LLADDR, b"")
    if family not in _FAMILIES or not state & _USABLE or len(mac) != _MAC_OCTETS or not any(mac):
        return None
    try:
        return Neighbour(ip_address(attributes.get(_NDA_DST, b"")), mac.hex(":"))
    except ValueError as e:
        raise MalformedRoutesError(f"parsing a neighbour: {e}") from None


def parse_network(content: bytes) -> OwnNetwork | None:
    """Return the network of the own address that an RTM_NEWADDR message tells of; None for other families.

    Args:
        content: What follows the header of the message.

    Raises:
        MalformedRoutesError: It is none.
    """
    (family, prefix_length, link), attributes = _content(content, _OWN)
    if family not in _FAMILIES or _IFA_ADDRESS not in attributes:
        return None
    try:
        address = ip_address(attributes.get(_IFA_LOCAL, attributes[_IFA_ADDRESS]))
        network = ip_network((attributes[_IFA_ADDRESS], prefix_length), strict=False)
    except ValueError as e:
        raise MalformedRoutesError(f"parsing an own address: {e}") from None
    return OwnNetwork(address, network, link)


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
