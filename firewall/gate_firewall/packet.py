"""Reads a packet from its IP header on: addresses, ports, sequence number, payload.

Pure, bounded, and quick: it runs for every queued packet.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

TCP: Final = 6
UDP: Final = 17

SYN: Final = 0x02
RST: Final = 0x04
ACK: Final = 0x10
URG: Final = 0x20

MAX_EXTENSION_HEADERS: Final = 8

_HOP_BY_HOP: Final = 0
_ROUTING: Final = 43
_FRAGMENT: Final = 44
_DESTINATION_OPTIONS: Final = 60

_IPV4_WITHOUT_OPTIONS: Final = 0x45
# Such a header, and the TCP header behind it up to its flags.
_IPV4_TCP: Final = struct.Struct("!2xH2xH4x4s4sHHIIBB")
_unpack_usual: Final = _IPV4_TCP.unpack_from
_TCP_HEADER: Final = struct.Struct("!HHIIBB")
_UDP_HEADER: Final = struct.Struct("!HHH")


class MalformedPacketError(ValueError):
    """Octets that are no IP packet; the message has the first of them."""


class Packet(NamedTuple):
    """One packet. A tuple, not a dataclass: it is made for each queued packet, and a tuple costs a fifth."""

    source: bytes
    """Address, 4 or 16 octets."""
    destination: bytes
    protocol: int
    """As in the registry; behind IPv6 extension headers the last one's next header."""
    source_port: int
    """0 where the protocol has none, as all ports below."""
    destination_port: int
    sequence: int
    """TCP only, of the first octet; a SYN's own number."""
    acknowledged: int
    """TCP only: the number its sender expects next, where ``flags`` has ACK."""
    flags: int
    """TCP only."""
    payload: bytes
    """What follows the TCP or UDP header, or the IP headers."""
    whole: bool
    """Whether nothing is missing at the end: the queue copies a bounded number of octets."""
    later_fragment: bool
    """A fragment other than the first: no ports, no payload of a known place."""


def parse_packet(octets: bytes) -> Packet:
    """Return the packet that ``octets`` begin with; padding behind it is left out.

    Args:
        octets: From the first octet of the IP header on.

    Raises:
        MalformedPacketError: A header is cut short or contradicts itself.
    """
    # The usual packet first, in one step: a TCP segment in IPv4 without options.
    if len(octets) >= 40 and octets[0] == _IPV4_WITHOUT_OPTIONS and octets[9] == TCP:
        (
            end,
            offset,
            source,
            destination,
            source_port,
            destination_port,
            sequence,
            acknowledged,
            words,
            flags,
        ) = _unpack_usual(octets)
        start = 20 + (words >> 4) * 4
        if not offset & 0x1FFF and 40 <= start <= end and start <= len(octets):
            return tuple.__new__(
                Packet,
                (
                    source,
                    destination,
                    TCP,
                    source_port,
                    destination_port,
                    sequence,
                    acknowledged,
                    flags,
                    octets[start:end],
                    end <= len(octets),
                    False,
                ),
            )
    try:
        match octets[0] >> 4:
            case 4:
                return _transport(octets, _ipv4(octets))
            case 6:
                return _transport(octets, _ipv6(octets))
    except (IndexError, struct.error) as e:
        raise _malformed(octets, "a header cut short") from e
    raise _malformed(octets, "neither IPv4 nor IPv6")


class _Network(NamedTuple):
    """What the IP headers say."""

    source: bytes
    destination: bytes
    protocol: int
    start: int
    """Where the transport header begins."""
    end: int
    """Where the packet ends, by its own account."""
    later: bool


def _malformed(octets: bytes, what: str) -> MalformedPacketError:
    return MalformedPacketError(f"parsing {len(octets)} octets: {what}: {octets[:32].hex()}")


def _ipv4(octets: bytes) -> _Network:
    start = (octets[0] & 0x0F) * 4
    end = int.from_bytes(octets[2:4])
    if not 20 <= start <= end or start > len(octets):
        raise _malformed(octets, "lengths of the IPv4 header")
    # RFC 791, section 3.1: thirteen bits of offset.
    later = bool(int.from_bytes(octets[6:8]) & 0x1FFF)
    return _Network(octets[12:16], octets[16:20], octets[9], start, end, later)


def _ipv6(octets: bytes) -> _Network:
    if len(octets) < 40:
        raise _malformed(octets, "a header cut short")
    start = 40
    end = start + int.from_bytes(octets[4:6])
    header = octets[6]
    later = False
    for _ in range(MAX_EXTENSION_HEADERS + 1):
        if later or header not in (_HOP_BY_HOP, _ROUTING, _FRAGMENT, _DESTINATION_OPTIONS):
            if start > end:
                raise _malformed(octets, "extension headers longer than the packet")
            return _Network(octets[8:24], octets[24:40], header, start, end, later)
        if header == _FRAGMENT:
            # RFC 8200, section 4.5: thirteen bits of offset, from the left.
            later = bool(int.from_bytes(octets[start + 2 : start + 4]) & 0xFFF8)
            length = 8
        else:
            length = (octets[start + 1] + 1) * 8
        header = octets[start]
        start += length
    raise _malformed(octets, f"more than {MAX_EXTENSION_HEADERS} extension headers")


def _transport(octets: bytes, network: _Network) -> Packet:
    source, destination, protocol, start, end, later = network
    whole = end <= len(octets)
    source_port = destination_port = sequence = acknowledged = flags = 0
    if later:
        pass
    elif protocol == TCP:
        header = _TCP_HEADER.unpack_from(octets, start)
        source_port, destination_port, sequence, acknowledged, offset, flags = header
        length = (offset >> 4) * 4
        if length < 20 or start + length > min(end, len(octets)):
            raise _malformed(octets, "length of the TCP header")
        start += length
    elif protocol == UDP:
        source_port, destination_port, length = _UDP_HEADER.unpack_from(octets, start)
        if length < 8 or start + length > end:
            raise _malformed(octets, "length of the UDP header")
        end = start + length
        start += 8
    return Packet(
        source,
        destination,
        protocol,
        source_port,
        destination_port,
        sequence,
        acknowledged,
        flags,
        octets[start:end],
        whole,
        later,
    )
