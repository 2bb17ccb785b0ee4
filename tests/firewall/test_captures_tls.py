"""The verdict on captured TLS flows, however their octets are cut, ordered, framed and carried."""

import random
import struct
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP, IPOption_Router_Alert
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.layers.l2 import Ether
from scapy.utils import rdpcap, wrpcap

from gate_firewall.dissect import read_capture
from gate_firewall.packet import ACK, SYN, Packet, parse_packet

CAPTURES = Path(__file__).parents[3] / "shared/data/captures"
pytestmark = pytest.mark.skipif(not CAPTURES.is_dir(), reason="../shared is absent")

NAMES = {
    "suricata-verify/tls-client-hello-frag-mtu300": "www.google.com",
    "zeek/chrome-1250-tls-x25519-kyber": "lh3.google.com",
    "zeek/tls13-ech": "cloudflare-ech.com",
}
FIREFOX = "clienthellod/TLS_ClientHello_Firefox_126"
"""A hello alone, without packets around it."""
CUT = NAMES | {FIREFOX: "client.tlsfingerprint.io"}
FIRST = 2**32 - 30  # the numbers pass through 0 within every hello
SMALLEST_FRAME = 60

SERVER_HELLO = b"\x16\3\3\0\x60\2\0\0\x5c\3\3" + bytes(32 + 0x5C - 34)

each_capture = pytest.mark.parametrize("capture", NAMES, ids=Path)
each_hello = pytest.mark.parametrize("capture", CUT, ids=Path)


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
    return one_flow(parse_packet(queued(frame_as(bytes(frame)))) for frame in frames)


def one_flow(packets):
    packets = list(packets)
    initiator = next(p.source_port for p in packets if p.flags & (SYN | ACK) == SYN)
    return [p for p in packets if initiator in (p.source_port, p.destination_port)], initiator


def hello(capture):
    """Return the octets of the first record, put together by their numbers alone."""
    if capture == FIREFOX:
        return (CAPTURES / f"{capture}.bin").read_bytes()
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


def carried(offset, payload, frame_as=untagged):
    """Do the same in IPv4 without options; by hand, as scapy takes a millisecond for each packet."""
    sequence = (FIRST + offset) % 2**32
    ip = struct.pack("!BxH5xB10x", 0x45, 40 + len(payload), 6)
    tcp = struct.pack("!HHI4xBB6x", 1000, 443, sequence, 0x50, ACK)
    return parse_packet(queued(frame_as(bytes(12) + b"\x08\x00" + ip + tcp + payload)))


def connected(segments, octets):
    """Return the packets of a connection in which ``octets`` go by in ``segments``, and are answered."""
    one = segments[0]
    syn = one._replace(sequence=FIRST - 1, flags=SYN, payload=b"")
    end = (FIRST + len(octets)) % 2**32
    answer = Packet(
        one.destination, one.source, one.protocol, one.destination_port, one.source_port,
        0, end, ACK, SERVER_HELLO, whole=True, later_fragment=False,
    )  # fmt: skip
    return [(syn, False), *((segment, False) for segment in segments), (answer, True)]


def expected(capture, *blocked):
    name = CUT[capture]
    # The one real ECH; the name outside is the provider's.
    kind = "ech" if name == "cloudflare-ech.com" else "tls"
    if name in blocked:
        return [("block", "exception", kind, name)]
    return [("block", "matrix", kind, name) if kind == "ech" else ("allow", "default", kind, name)]


@pytest.fixture
def check(verdicts):
    """Demand the verdict on a capture's name, in whatever packets it comes: as it stands, and if the name is blocked."""

    def check(capture, packets):
        for blocked in ((), (CUT[capture],)):
            assert verdicts(packets, *blocked) == expected(capture, *blocked)

    return check


@each_capture
@pytest.mark.parametrize("frame_as", [untagged, tagged])
def test_judge_of_captured_frames(check, capture, frame_as):
    packets, initiator = flow(capture, frame_as)
    check(capture, [(packet, packet.source_port != initiator) for packet in packets])


@each_capture
@pytest.mark.parametrize("vlan", [None, 1281])
def test_judge_of_frames_that_a_capture_gives(check, capture, vlan, tmp_path):
    path = tmp_path / "capture.pcap"
    frames = rdpcap(str(CAPTURES / f"{capture}.pcap"))
    wrpcap(str(path), [Ether((tagged if vlan else untagged)(bytes(frame))) for frame in frames])
    read = list(read_capture(path))
    packets, initiator = one_flow(parse_packet(frame.octets) for frame in read)

    assert {frame.vlan for frame in read} == {vlan}
    check(capture, [(packet, packet.source_port != initiator) for packet in packets])


def ordered(packets, order):
    match order:
        case "reversed":
            packets.reverse()
        case "shuffled":
            shuffle(packets)
        case "each twice":
            return [packet for packet in packets for _ in range(2)]
    return packets


@each_hello
@pytest.mark.parametrize("frame_as", [untagged, tagged])
@pytest.mark.parametrize("size", [1, 40, 536, 1448])
@pytest.mark.parametrize("order", ["in order", "reversed", "shuffled", "each twice"])
def test_judge_however_segments_are_cut_and_ordered(check, capture, size, order, frame_as):
    octets = hello(capture)
    packets = [carried(*segment, frame_as) for segment in segments(octets, size)]
    check(capture, connected(ordered(packets, order), octets))


@each_hello
@pytest.mark.parametrize("record_size", [1, 2, 100])
@pytest.mark.parametrize("size", [40, 536, 1448])
@pytest.mark.parametrize("order", ["shuffled", "each twice"])
def test_judge_however_records_are_cut(check, capture, record_size, size, order):
    octets = recorded(hello(capture), record_size)
    packets = [carried(*segment) for segment in segments(octets, size)]
    check(capture, connected(ordered(packets, order), octets))


@each_hello
@pytest.mark.parametrize("order", ["in order", "reversed", "each twice"])
def test_judge_of_records_in_segments_of_one_octet(check, capture, order):
    octets = recorded(hello(capture), 100)
    packets = [carried(*segment) for segment in segments(octets, 1)]
    check(capture, connected(ordered(packets, order), octets))


@each_hello
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
def test_judge_behind_any_ip_headers(check, capture, header):
    octets = hello(capture)
    packets = [behind(header(), *segment) for segment in segments(octets, 536)]
    check(capture, connected(packets, octets))
