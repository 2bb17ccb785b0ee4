import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.packet import Raw

from gate_firewall.packet import MAX_EXTENSION_HEADERS, MalformedPacketError, parse_packet

V4 = {"src": "192.0.2.1", "dst": "198.51.100.2"}
V6 = {"src": "2001:db8::1", "dst": "2001:db8::2"}
SEGMENT = TCP(sport=1000, dport=443, seq=77, ack=88, flags="PA", options=[("Timestamp", (1, 2))])
PACKETS = [
    pytest.param(IP(**V4) / SEGMENT / b"text", id="ipv4"),
    pytest.param(
        IP(**V4, options=[IPOption_NOP()] * 8) / SEGMENT / b"text", id="ipv4 with options"
    ),
    pytest.param(IPv6(**V6) / SEGMENT / b"text", id="ipv6"),
    pytest.param(
        IPv6(**V6)
        / IPv6ExtHdrHopByHop()
        / IPv6ExtHdrRouting()
        / IPv6ExtHdrDestOpt()
        / SEGMENT
        / b"text",
        id="ipv6 with extension headers",
    ),
    pytest.param(
        IPv6(**V6) / IPv6ExtHdrFragment(m=1) / SEGMENT / b"text", id="first fragment of ipv6"
    ),
    pytest.param(IP(**V4, flags="MF") / SEGMENT / b"text", id="first fragment of ipv4"),
]


@pytest.mark.parametrize("built", PACKETS)
def test_parse_packet_reads_a_tcp_segment(built):
    packet = parse_packet(bytes(built))

    assert (packet.source_port, packet.destination_port, packet.sequence) == (1000, 443, 77)
    assert (packet.acknowledged, packet.flags) == (88, 0x18)
    assert (packet.payload, packet.whole, packet.later_fragment) == (
        b"text",
        True,
        False,
    )
    assert len(packet.source) == (4 if IP in built else 16)


@pytest.mark.parametrize("built", PACKETS)
def test_parse_packet_leaves_padding_out_of_a_segment(built):
    packet = parse_packet(bytes(built) + bytes(14))

    assert (packet.payload, packet.whole) == (b"text", True)


@pytest.mark.parametrize("built", PACKETS)
def test_parse_packet_tells_what_the_queue_cut_off_a_segment(built):
    packet = parse_packet(bytes(built)[:-1])

    assert (packet.payload, packet.whole) == (b"tex", False)


def test_parse_packet_reads_a_datagram_and_leaves_padding_out():
    packet = parse_packet(bytes(IP(**V4) / UDP(sport=1, dport=9) / b"text") + bytes(14))

    assert (packet.source, packet.destination) == (bytes([192, 0, 2, 1]), bytes([198, 51, 100, 2]))
    assert (packet.protocol, packet.destination_port, packet.payload) == (17, 9, b"text")


@pytest.mark.parametrize(
    "built",
    [
        pytest.param(IP(**V4, frag=1, proto=6) / Raw(bytes(30)), id="ipv4"),
        pytest.param(IP(**V4, frag=1) / SEGMENT, id="ipv4, like a segment"),
        pytest.param(IP(**V4, frag=8191, proto=6) / Raw(b"x"), id="ipv4, short"),
        pytest.param(IPv6(**V6) / IPv6ExtHdrFragment(offset=1, nh=6) / Raw(bytes(30)), id="ipv6"),
    ],
)
def test_parse_packet_reads_no_ports_in_a_later_fragment(built):
    packet = parse_packet(bytes(built))

    assert (packet.later_fragment, packet.protocol, packet.destination_port) == (True, 6, 0)


def test_parse_packet_tells_what_the_queue_cut_off():
    octets = bytes(IP(**V4) / UDP(sport=1, dport=9) / bytes(3000))

    packet = parse_packet(octets[:1000])

    assert (packet.whole, len(packet.payload)) == (False, 1000 - 28)


@pytest.mark.parametrize(
    ("octets", "message"),
    [
        pytest.param(b"", "cut short", id="nothing"),
        pytest.param(b"\x50" + bytes(40), "neither IPv4 nor IPv6", id="version 5"),
        pytest.param(b"\x44" + bytes(40), "lengths of the IPv4 header", id="header of 16 octets"),
        pytest.param(bytes(IP(**V4) / SEGMENT)[:30], "cut short", id="half a tcp header"),
        pytest.param(
            bytes(IP(**V4) / TCP(dataofs=15)),
            "length of the TCP header",
            id="options beyond the end",
        ),
        pytest.param(
            bytes(IP(**V4) / TCP(dataofs=4)), "length of the TCP header", id="offset of 4"
        ),
        pytest.param(
            bytes(IP(**V4) / SEGMENT)[:45], "length of the TCP header", id="half the tcp options"
        ),
        pytest.param(
            bytes(IP(**V4, len=45) / SEGMENT), "length of the TCP header", id="end in tcp options"
        ),
        pytest.param(bytes(IP(**V4) / UDP(len=7)), "length of the UDP header", id="udp length 7"),
        pytest.param(bytes(IP(**V4) / UDP(len=9)), "length of the UDP header", id="udp length 9"),
        pytest.param(
            bytes(
                IPv6(**V6, nh=60) / bytes([60, 0, 0, 0, 0, 0, 0, 0] * (MAX_EXTENSION_HEADERS + 1))
            ),
            "extension headers",
            id="too many extension headers",
        ),
        pytest.param(
            bytes(IPv6(**V6, nh=60, plen=8) / bytes([59, 9, 0, 0, 0, 0, 0, 0])),
            "longer than the packet",
            id="extension header beyond the end",
        ),
    ],
)
def test_parse_packet_refuses_what_contradicts_itself(octets, message):
    with pytest.raises(MalformedPacketError, match=message):
        parse_packet(octets)


def _parses_or_is_malformed(octets):
    try:
        packet = parse_packet(octets)
    except MalformedPacketError:
        return
    assert len(packet.payload) <= len(octets)


@given(st.binary(max_size=120), st.sampled_from([b"", b"\x45", b"\x46", b"\x60"]))
def test_parse_packet_of_any_octets_gives_a_packet_or_malformed(octets, start):
    _parses_or_is_malformed(start + octets)


@given(st.sampled_from([bytes(p.values[0]) for p in PACKETS]), st.data())
def test_parse_packet_of_a_mutated_packet_gives_a_packet_or_malformed(octets, data):
    mutated = bytearray(octets)
    for _ in range(data.draw(st.integers(1, 4))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))

    _parses_or_is_malformed(bytes(mutated[: data.draw(st.integers(0, len(mutated)))]))
