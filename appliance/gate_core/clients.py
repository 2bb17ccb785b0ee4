"""Clients: which device asks, and in which group it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from gate_core.acceptable_use import Cell
from gate_core.safesearch import YouTube
from gate_core.timetable import Span, WeeklySpan

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")


class DefaultAction(Enum):
    """What a group's clients get for names in no category."""

    ALLOW = "allow"
    BLOCK = "block"


class OnFault(Enum):
    """What a group's undecided flows get while the classifier can't judge them."""

    CLOSED = "closed"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Group:
    """People who share a column of the policy, and what the policy says of them."""

    id: str
    title: str
    number: int
    """Place in packet marks, 1 to 63; never used again for another group."""
    cells: Mapping[str, Cell]
    """Row id to cell; a row without an entry counts as unacceptable."""
    default: DefaultAction = DefaultAction.ALLOW
    pausable: bool = True
    """Whether the button for the internet pause reaches the group."""
    quic: bool = False
    """Whether UDP port 443 is open; browsers go back to TCP where it is not."""
    on_fault: OnFault = OnFault.CLOSED
    times: tuple[WeeklySpan, ...] | None = None
    """The group's own certain times; None for the school's."""
    teacher_minutes: int = 0
    """How long a teacher may open a site for a lesson without anybody's approval; 0: not at all."""
    safe_search: bool = True
    """Whether search engines answer by their safe versions, and those that have none are a category."""
    youtube: YouTube = YouTube.STRICT
    """How much of YouTube, where the table opens it."""
    named_only: bool = False
    """Whether a device reaches only addresses that our own name service gave it."""


@dataclass(frozen=True, slots=True)
class Membership:
    """Where devices of a network belong that the school has not named one by one."""

    group: str
    room: str = ""


@dataclass(frozen=True, slots=True)
class Device:
    """A device the school knows, by its MAC address."""

    mac: str
    """Six octets in lower-case hexadecimal, with colons."""
    name: str
    group: str
    person: str | None = None
    isolated: bool = False
    """Cut off until somebody ends it."""
    suspended: Span | None = None
    """Cut off for a time."""
    essentials_stay: bool = False
    """Whether a suspension leaves the essential list."""
    room: str = ""


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks: one device at one address, with its group."""

    address: Address
    mac: str | None
    """None where the neighbour table has no entry."""
    group: str
    name: str
    """Name of the device; its address where the school gave it none."""
    person: str | None = None
    isolated: bool = False
    suspended: Span | None = None
    known: bool = False
    """Whether the school has put the device into a group."""
    essentials_stay: bool = False
    room: str = ""


class MalformedMacError(ValueError):
    """A text that is no MAC address."""


def parse_mac(text: str) -> str:
    """Return a MAC address in lower case with colons.

    Raises:
        MalformedMacError: ``text`` is not six octets in hexadecimal, joined by ':' or '-'.
    """
    mac = text.strip().lower().replace("-", ":")
    if not _MAC.fullmatch(mac):
        raise MalformedMacError(
            f"{text[:40]!r}: not six pairs of hexadecimal digits, such as 00:00:5e:00:53:01"
        )
    return mac


def is_randomised(mac: str) -> bool:
    """Tell whether ``mac`` is locally administered, as the private addresses of phones are (IEEE 802c)."""
    return bool(int(mac[:2], 16) & 0b10)


def identify(
    address: Address,
    mac: str | None,
    *,
    devices: Mapping[str, Device],
    members: Mapping[str, Membership],
    networks: Mapping[Network, Membership],
    unknown_group: str,
) -> Client:
    """Return the client at ``address``.

    Args:
        address: Source of a query or flow. IPv4 mapped into IPv6 counts as IPv4.
        mac: What the link layer says, canonical; None where it says nothing.
        devices: MAC address to device: decides first.
        members: MAC address to where its VLAN belongs: decides next.
        networks: Network to where it belongs: the narrowest that holds ``address`` decides then.
        unknown_group: Group of everyone else, the strictest.
    """
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    device = devices.get(mac) if mac else None
    if device:
        return Client(
            address,
            mac,
            device.group,
            device.name,
            person=device.person,
            isolated=device.isolated,
            suspended=device.suspended,
            known=True,
            essentials_stay=device.essentials_stay,
            room=device.room,
        )
    found = members.get(mac) if mac else None
    width = -1
    for network, membership in networks.items() if found is None else ():
        if network.prefixlen > width and address.version == network.version and address in network:
            width, found = network.prefixlen, membership
    if found is None:
        return Client(address, mac, unknown_group, str(address))
    return Client(address, mac, found.group, str(address), known=True, room=found.room)
