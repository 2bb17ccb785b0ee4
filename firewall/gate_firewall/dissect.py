"""Takes the frames of a capture apart with scapy, as far as the packet that the classifier would be handed.

For diagnosis only: nothing that filters imports it. A capture is read as a stream, and what is wrong with it is told where it
is found: the frames before that place are good.
"""

from __future__ import annotations

import logging
import struct
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from io import BufferedReader
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from scapy.error import Scapy_Exception
from scapy.layers.dns import DNS, dnsqtypes
from scapy.layers.l2 import CookedLinux, CookedLinuxV2, Dot1Q, Ether, Loopback
from scapy.utils import RawPcapNgReader

from gate_core.names import parse_name

_MAGICS: Final = (
    *(bytes.fromhex(magic) for magic in ("a1b2c3d4", "d4c3b2a1", "a1b23c4d", "4d3cb2a1")),
    b"\x0a\x0d\x0d\x0a",
)
"""Of pcap in both orders of octets, with microseconds and nanoseconds, and of pcapng."""

_MAX_BLOCK_OCTETS: Final = 1 << 20
"""Far above the longest frame: what asks for more at once is damaged."""

# https://www.tcpdump.org/linktypes.html
_LINKS: Final = {1: (Ether, 14), 113: (CookedLinux, 16), 276: (CookedLinuxV2, 20)}
"""Link type to scapy's class and the length of its header."""
_LOOPBACKS: Final = (0, 108)
_BARE_IP: Final = (12, 14, 101, 228, 229)

_IPV4: Final = 0x0800
_ARP: Final = 0x0806
_VLAN: Final = 0x8100
_IPV6: Final = 0x86DD
_LOWEST_TYPE: Final = 0x0600
_WORDS: Final = {
    _ARP: "ARP",
    _VLAN: "two VLAN tags (QinQ)",
    0x88A8: "a service provider's VLAN tag (QinQ)",
    0x9100: "an old form of two VLAN tags (QinQ)",
    0x8863: "PPPoE discovery",
    0x8864: "PPPoE",
}
_ADDRESS_TYPES: Final = (1, 28)
"""A and AAAA."""
_MAX_IP_OCTETS: Final = 0xFFFF
_BRIDGES: Final = "01:80:c2:00:00:00"
"""Where bridge protocol units go (IEEE 802.1Q, table 8-1)."""


class CaptureError(ValueError):
    """A file that is no capture, or one that is damaged or cut short; the message tells where and what is allowed."""


class Content(Enum):
    """What a frame holds, as far as the rules for frames tell it apart."""

    IP = "ip"
    ARP = "arp"
    BRIDGE = "bridge"
    """A protocol unit of bridges, such as spanning tree."""
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a capture."""

    number: int
    """From 1, as in Wireshark."""
    since_s: float
    """Since the first frame of the capture."""
    content: Content
    words: str
    """What it holds, for a person."""
    octets: bytes
    """Content.IP: from the IP header on, perhaps with padding behind the packet."""
    source: str | None = None
    """MAC address, canonical; None where the capture has none."""
    destination: str | None = None
    to_many: bool = False
    """Broadcast or multicast on the link."""
    vlan: int | None = None
    missing_octets: int = 0
    """How much longer the frame was than what was captured of it."""


def read_capture(path: Path) -> Iterator[Frame]:
    """Yield the frames of a capture, one by one.

    Args:
        path: A file in pcap or pcapng, with frames of Ethernet, Linux cooked, loopback or bare IP.

    Raises:
        CaptureError: It is no such file, or damaged behind the frames that were yielded.
        OSError: It can't be opened or read.
    """
    runtime = logging.getLogger("scapy.runtime")
    with path.open("rb") as file:
        magic = file.peek(4)[:4]
        if magic not in _MAGICS:
            raise CaptureError(
                f"{path}: begins with {magic.hex() or 'nothing'}; allowed are captures in pcap or pcapng, not compressed"
            )
        source = _Source(file)
        # What scapy warns of is told below, once.
        runtime.addFilter(_never)
        number = 0
        try:
            for frame in _frames(source):
                if source.fault:
                    break
                number = frame.number
                yield frame
        except (Scapy_Exception, struct.error, ValueError, LookupError, EOFError) as e:
            raise CaptureError(f"{path}: behind packet {number}: {e}") from e
        finally:
            runtime.removeFilter(_never)
        if source.fault or file.read(1):
            raise CaptureError(f"{path}: behind packet {number}: {source.fault or 'damaged'}")


def _never(_: logging.LogRecord) -> bool:
    return False


class _Source:
    """A file as scapy reads it; notes where it ends too early, and gives no more than a frame can need."""

    def __init__(self, file: BufferedReader) -> None:
        self._file = file
        self.fault = ""

    def read(self, count: int) -> bytes:
        if count > _MAX_BLOCK_OCTETS:
            self.fault = (
                f"damaged: a block of {count} octets; at most {_MAX_BLOCK_OCTETS} are allowed"
            )
            raise OSError(self.fault)
        octets = self._file.read(count)
        if 0 < len(octets) < count or (not octets and count not in (0, 4, 16)):
            # Every record begins with 16 octets (pcap) or 4 (pcapng): there a whole file ends.
            self.fault = "the file is cut short"
        return octets

    def close(self) -> None:
        self._file.close()


def _frames(source: _Source) -> Iterator[Frame]:
    # Either of the two, by the first octets of the file; their metadata differ.
    reader: Any = RawPcapNgReader(source)  # type: ignore[arg-type]  # it takes files as well
    first: float | None = None
    for number, (octets, metadata) in enumerate(reader, start=1):
        if not isinstance(reader, RawPcapNgReader):
            link = reader.linktype
            at_s = metadata.sec + metadata.usec / (1e9 if reader.nano else 1e6)
        else:
            link = metadata.linktype
            if metadata.tshigh is None:
                at_s = first or 0.0  # a simple packet block has no time
            else:
                at_s = (metadata.tshigh << 32 | metadata.tslow) / metadata.tsresol
        first = at_s if first is None else first
        missing = max(0, metadata.wirelen - len(octets))
        yield _frame(link, octets, number, at_s - first, missing)


def _frame(link: int, octets: bytes, number: int, since_s: float, missing: int) -> Frame:
    if link in _BARE_IP:
        return Frame(number, since_s, Content.IP, "IP", octets, missing_octets=missing)
    if link in _LOOPBACKS:
        ip = Loopback(octets).payload.original if len(octets) > 4 else b""
        return Frame(number, since_s, Content.IP, "IP", ip, missing_octets=missing)
    if link not in _LINKS:
        allowed = (
            "Ethernet (1), Linux cooked (113, 276), loopback (0, 108), bare IP (101, 228, 229)"
        )
        raise CaptureError(f"frames of link type {link}; allowed are {allowed}")
    header, length = _LINKS[link]
    if len(octets) < length:
        what = "a frame shorter than its header"
        return Frame(number, since_s, Content.OTHER, what, b"", missing_octets=missing)
    layer = header(octets)
    if header is Ether:
        sender, receiver = layer.src, layer.dst
        to_many = bool(octets[0] & 1)
        # Read here: what is no EtherType but a length (IEEE 802.3), scapy makes another class of.
        kind = int.from_bytes(octets[12:14])
    else:
        sender = _mac(layer.src) if layer.lladdrlen == 6 else None
        receiver = None
        # By the capturing machine's account: 1 is broadcast, 2 multicast.
        to_many = layer.pkttype in (1, 2)
        kind = layer.proto
    vlan = None
    if kind == _VLAN and isinstance(layer.payload, Dot1Q):
        layer = layer.payload
        vlan, kind = layer.vlan, layer.type
    content, words = _content(kind, receiver)
    return Frame(
        number,
        since_s,
        content,
        words,
        layer.payload.original,
        sender,
        receiver,
        to_many,
        vlan,
        missing,
    )


def _mac(address: bytes) -> str:
    return address[:6].hex(":")


def _content(kind: int, receiver: str | None) -> tuple[Content, str]:
    if kind in (_IPV4, _IPV6):
        return Content.IP, "IP"
    if kind == _ARP:
        return Content.ARP, "ARP"
    if receiver == _BRIDGES:
        return Content.BRIDGE, "a message between switches (spanning tree)"
    if kind < _LOWEST_TYPE:
        return Content.OTHER, "a frame without an EtherType (IEEE 802.3)"
    return Content.OTHER, f"{_WORDS.get(kind, 'another protocol')}, EtherType {kind:#06x}"


@dataclass(frozen=True, slots=True)
class Answer:
    """A response of DNS, as far as it gives addresses."""

    name: str
    """The qname; canonical."""
    addresses: tuple[tuple[str, bytes], ...]
    """Of each A and AAAA record its owner name, canonical, and its address, 4 or 16 octets."""


def read_answer(payload: bytes) -> Answer | None:
    """Return the response in a datagram of DNS; None where it is none, or one without addresses."""
    try:
        message = DNS(payload)
        if not message.qr or not message.qd:
            return None
        found = tuple(
            (_name(record.rrname), ip_address(record.rdata).packed)
            for record in message.an
            if record.type in _ADDRESS_TYPES
        )
        return Answer(_name(message.qd[0].qname), found) if found else None
    except (Scapy_Exception, struct.error, ValueError, LookupError, TypeError, AttributeError):
        # Scapy makes objects without these fields of what it can't take apart.
        return None


def read_question(payload: bytes) -> str | None:
    """Return what a message of DNS asks or answers, such as ``www.example.com AAAA``; None where it can't be told."""
    if not payload:
        # Scapy makes a message of nothing, with a question of its own.
        return None
    try:
        asked = DNS(payload).qd[0]
        return f"{_name(asked.qname)} {dnsqtypes.get(asked.qtype, f'type {asked.qtype}')}"
    except (Scapy_Exception, struct.error, ValueError, LookupError, TypeError, AttributeError):
        return None


def _name(octets: bytes) -> str:
    return parse_name(octets.decode("ascii"))


class Fragments:
    """Puts IP fragments together, as the kernel does before anybody judges them."""

    _LIMIT: Final = 64
    """Packets of which some fragments are still missing."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[bytes, dict[int, tuple[bytes, bool]]] = OrderedDict()

    def add(self, octets: bytes) -> bytes | None:
        """Take an IP packet; return it, or the one it completes; None while fragments are missing.

        Fragments that overlap are never put together, as by RFC 5722 and by the kernel.
        """
        found = _fragment4(octets) if octets[:1] and octets[0] >> 4 == 4 else _fragment6(octets)
        if found is None:
            return octets
        parts = self._waiting.setdefault(found.key, {})
        if found.offset == 0:
            parts[-1] = (found.head, True)
        parts[found.offset] = (found.content, found.more)
        whole = _joined(parts)
        if whole is not None or sum(len(content) for content, _ in parts.values()) > _MAX_IP_OCTETS:
            del self._waiting[found.key]
        elif len(self._waiting) > self._LIMIT:
            self._waiting.popitem(last=False)
        return whole


@dataclass(frozen=True, slots=True)
class _Fragment:
    key: bytes
    head: bytes
    """What comes before the content of the whole packet, as it is there without fragments but for its length."""
    offset: int
    content: bytes
    more: bool


def _fragment4(octets: bytes) -> _Fragment | None:
    place = int.from_bytes(octets[6:8])
    start, end = (octets[0] & 0x0F) * 4, int.from_bytes(octets[2:4])
    if len(octets) < 20 or not place & 0x3FFF or not 20 <= start <= end <= len(octets):
        return None
    # RFC 791, section 3.1: identification, protocol, addresses; 0x2000 says that more follow.
    key = octets[4:6] + octets[9:10] + octets[12:20]
    head = octets[:6] + b"\0\0" + octets[8:start]
    return _Fragment(key, head, (place & 0x1FFF) * 8, octets[start:end], bool(place & 0x2000))


def _fragment6(octets: bytes) -> _Fragment | None:
    # RFC 8200, section 4.5, with the fragment header right behind the first, where every system puts it.
    if len(octets) < 48 or octets[0] >> 4 != 6 or octets[6] != 44:
        return None
    end = 40 + int.from_bytes(octets[4:6])
    place = int.from_bytes(octets[42:44])
    if not place & 0xFFF9 or not 48 <= end <= len(octets):
        return None
    head = octets[:6] + octets[40:41] + octets[7:40]
    key = octets[44:48] + octets[8:40]
    return _Fragment(key, head, place & 0xFFF8, octets[48:end], bool(place & 1))


def _joined(parts: dict[int, tuple[bytes, bool]]) -> bytes | None:
    """Return the packet of the fragments by offset, its head at -1; None where one is missing or they overlap."""
    if -1 not in parts:
        return None
    content = b""
    for offset, (octets, more) in sorted(parts.items()):
        if offset < 0:
            continue
        if offset != len(content):
            return None
        content += octets
        if not more:
            break
    else:
        return None
    head = parts[-1][0]
    if len(content) > _MAX_IP_OCTETS - len(head):
        return None
    if head[0] >> 4 == 4:
        return head[:2] + (len(head) + len(content)).to_bytes(2) + head[4:] + content
    return head[:4] + len(content).to_bytes(2) + head[6:] + content
