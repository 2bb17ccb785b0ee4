"""The names in captured TLS flows, however their octets are cut, ordered, framed and carried."""

import random
import struct
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP, IPOption_Router_Alert
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.utils import rdpcap

from gate_firewall.opening import Opening
from gate_firewall.packet import ACK, SYN, parse_packet

CAPTURES = Path(__file__).parents[3] / "shared/data/captures"
pytestmark = pytest.mark.skipif(not CAPTURES.is_dir(), reason="../shared is absent")

NAMES = {
    "suricata-verify/tls-client-hello-frag-mtu300": "www.google.com",
    "zeek/chrome-1250-tls-x25519-kyber": "lh3.google.com",
    "zeek/tls13-ech": "cloudflare-ech.com",
}
FIRST = 2**32 - 30  # the numbers pass through 0 within every hello
SMALLEST_FRAME = 60

each_capture = pytest.mark.parametrize(("capture", "name"), NAMES.items(), ids=Path)


def untagged(frame):
    return frame


def tagged(frame):
    # Priority 2 and VLAN 1281: with the tag left in place the packet would begin like one of IPv4.
    return frame[:12] + b"\x81\x00\x45\x01" + frame[12:]


def queued(frame):
    """Return what the queue gives of a frame: the bridge takes one tag off, and padding stays."""
    padded = frame.ljust(SMALLEST_FRAME, b"\xff")
    return padded[18:] if padded[12:14] == b"\x81\x00" else padded[14:]


def flow(capture, frame_as=untagged):
    """Return the packets of the first flow of which the capture has the beginning, and its initiator."""
    frames = rdpcap(str(CAPTURES / f"{capture}.pcap"))
    packets = [parse_packet(queued(frame_as(bytes(frame)))) for frame in frames]
    initiator = next(p.source_port for p in packets if p.flags & (SYN | ACK) == SYN)
    return [p for p in packets if initiator in (p.source_port, p.destination_port)], initiator


def hello(capture):
    """Return the octets of the first record, put together by their numbers alone."""
    packets, initiator = flow(capture)
    sent = [p for p in packets if p.source_port == initiator and p.payload]
    octets = b""
    for packet in sent:
        if packet.sequence == (sent[0].sequence + len(octets)) % 2**32:
            octets += packet.payload
    return octets[: 5 + int.from_bytes(octets[3:5])]


def recorded(octets, size):
    """Return the octets of one record in records of ``size``."""
    message = octets[5:]
    parts = [message[i : i + size] for i in range(0, len(message), size)]
    return b"".join(octets[:3] + len(part).to_bytes(2) + part for part in parts)


def segments(octets, size):
    return [(i, octets[i : i + size]) for i in range(0, len(octets), size)]


def shuffle(packets):
    random.Random(len(packets)).shuffle(packets)  # noqa: S311  # the same order in every run


def behind(header, offset, payload):
    sequence = (FIRST + offset) % 2**32
    segment = TCP(sport=1000, dport=443, seq=sequence, flags="A")
    return parse_packet(bytes(header / segment / payload))


def carried(offset, payload):
    """Do the same in IPv4 without options; by hand, as scapy takes a millisecond for each packet."""
    sequence = (FIRST + offset) % 2**32
    ip = struct.pack("!BxH5xB10x", 0x45, 40 + len(payload), 6)
    tcp = struct.pack("!HHI4xBB6x", 1000, 443, sequence, 0x50, ACK)
    return parse_packet(ip + tcp + payload)


def reading(packets):
    """Return what the flow is; once that is known it must not change."""
    opening = Opening(FIRST, None)
    found = [opening.read(packet, reply=False) for packet in packets]
    known = [reading for reading in found if reading]
    assert len(set(known)) == 1
    assert found[len(found) - len(known) :] == known
    return known[0].kind, known[0].name


@each_capture
@pytest.mark.parametrize("frame_as", [untagged, tagged])
def test_read_knows_the_name_in_captured_frames(capture, name, frame_as):
    packets, initiator = flow(capture, frame_as)
    opening = Opening((packets[0].sequence + 1) % 2**32, None)
    for packet in packets:
        found = opening.read(packet, reply=packet.source_port != initiator)
        if opening.acknowledged:
            break

    assert (found.kind, found.name) == ("tls", name)
    assert packet.source_port == 443


@each_capture
@pytest.mark.parametrize("size", [1, 40, 536, 1448])
@pytest.mark.parametrize("order", ["in order", "reversed", "shuffled", "each twice"])
def test_read_knows_the_name_however_segments_are_cut_and_ordered(capture, name, size, order):
    packets = [carried(*segment) for segment in segments(hello(capture), size)]
    match order:
        case "reversed":
            packets.reverse()
        case "shuffled":
            shuffle(packets)
        case "each twice":
            packets = [packet for packet in packets for _ in range(2)]

    assert reading(packets) == ("tls", name)


@each_capture
@pytest.mark.parametrize("record_size", [1, 2, 100])
@pytest.mark.parametrize("size", [40, 536, 1448])
def test_read_knows_the_name_however_records_are_cut(capture, name, record_size, size):
    octets = recorded(hello(capture), record_size)
    packets = [carried(*segment) for segment in segments(octets, size)]
    shuffle(packets)

    assert reading(packets) == ("tls", name)


@each_capture
@pytest.mark.parametrize(
    "header",
    [
        pytest.param(lambda: IP(options=[IPOption_Router_Alert()]), id="ipv4 with options"),
        pytest.param(lambda: IPv6(src="2001:db8::1", dst="2001:db8::2"), id="ipv6"),
        pytest.param(
            lambda: (
                IPv6(src="2001:db8::1", dst="2001:db8::2")
                / IPv6ExtHdrHopByHop()
                / IPv6ExtHdrDestOpt()
                / IPv6ExtHdrFragment()
            ),
            id="ipv6 with extension headers",
        ),
    ],
)
def test_read_knows_the_name_behind_any_ip_headers(capture, name, header):
    packets = [behind(header(), *segment) for segment in segments(hello(capture), 536)]

    assert reading(packets) == ("tls", name)
