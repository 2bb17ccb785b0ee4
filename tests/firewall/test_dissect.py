import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.dns import DNS, DNSQR, DNSRR
from scapy.layers.inet import IP, TCP, UDP, fragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, fragment6
from scapy.layers.l2 import ARP, LLC, STP, CookedLinux, CookedLinuxV2, Dot1AD, Dot1Q, Dot3, Ether
from scapy.layers.ppp import PPP, PPPoE
from scapy.packet import Raw
from scapy.utils import PcapNgWriter, PcapWriter, wrpcap, wrpcapng

from gate_firewall.dissect import (
    Answer,
    CaptureError,
    Content,
    Fragments,
    read_answer,
    read_capture,
    read_question,
)

CLIENT, ROUTER = "00:00:5e:00:53:10", "00:00:5e:00:53:01"
ETHER = Ether(src=CLIENT, dst=ROUTER)
SEGMENT = IP(src="192.0.2.10", dst="203.0.113.5") / TCP(sport=40_000, dport=443) / b"octets"
SEGMENT6 = (
    IPv6(src="2001:db8::10", dst="2001:db8:113::5") / UDP(sport=40_000, dport=443) / b"octets"
)
EVERY = [
    ETHER / SEGMENT,
    ETHER / SEGMENT6,
    ETHER / Dot1Q(vlan=7) / SEGMENT,
    ETHER / Dot1Q(vlan=7) / ARP(),
    Ether(src=CLIENT, dst="ff:ff:ff:ff:ff:ff") / ARP(),
    ETHER / Dot1Q(vlan=7) / Dot1Q(vlan=8) / SEGMENT,
    ETHER / Dot1AD(vlan=7) / Dot1Q(vlan=8) / SEGMENT,
    ETHER / PPPoE() / PPP() / SEGMENT,
    Dot3(src=CLIENT, dst="01:80:c2:00:00:00") / LLC() / STP(),
    ETHER / Raw(b"x"),
]


@pytest.fixture(params=[wrpcap, wrpcapng], ids=["pcap", "pcapng"])
def write(request, tmp_path):
    def write(frames):
        path = tmp_path / "capture"
        request.param(str(path), frames)
        return path

    return write


def frames_until_fault(path):
    frames, fault = [], None
    try:
        for frame in read_capture(path):
            frames.append(frame)  # what came before the fault counts
    except CaptureError as e:
        fault = str(e)
    return frames, fault


def test_read_capture_tells_every_kind_of_frame(write):
    frames = list(read_capture(write(EVERY)))
    assert [(f.number, f.content, f.words, f.vlan) for f in frames] == [
        (1, Content.IP, "IP", None),
        (2, Content.IP, "IP", None),
        (3, Content.IP, "IP", 7),
        (4, Content.ARP, "ARP", 7),
        (5, Content.ARP, "ARP", None),
        (6, Content.OTHER, "two VLAN tags (QinQ), EtherType 0x8100", 7),
        (7, Content.OTHER, "a service provider's VLAN tag (QinQ), EtherType 0x88a8", None),
        (8, Content.OTHER, "PPPoE, EtherType 0x8864", None),
        (9, Content.BRIDGE, "a message between switches (spanning tree)", None),
        (10, Content.OTHER, "another protocol, EtherType 0x9000", None),
    ]
    assert {f.octets for f in (frames[0], frames[2])} == {bytes(SEGMENT)}
    assert frames[1].octets == bytes(SEGMENT6)
    assert (frames[0].source, frames[0].destination) == (CLIENT, ROUTER)
    assert [f.to_many for f in frames[:5]] == [False, False, False, False, True]


@pytest.mark.parametrize(
    ("link", "head", "mac"),
    [
        pytest.param(
            113, CookedLinux(src=bytes.fromhex(CLIENT.replace(":", "")), lladdrlen=6), CLIENT
        ),
        pytest.param(
            276,
            CookedLinuxV2(src=bytes.fromhex(CLIENT.replace(":", "")), lladdrlen=6, proto=0x0800),
            CLIENT,
        ),
        pytest.param(108, Raw(struct.pack("!I", 2)), None),
        pytest.param(101, None, None),
    ],
)
def test_read_capture_knows_link_type(tmp_path, link, head, mac):
    path = tmp_path / "capture"
    with PcapWriter(str(path), linktype=link) as writer:
        writer.write(head / SEGMENT if head else SEGMENT)
    (frame,) = read_capture(path)
    assert (frame.content, frame.octets, frame.source, frame.destination) == (
        Content.IP,
        bytes(SEGMENT),
        mac,
        None,
    )


def test_read_capture_refuses_other_link_type(tmp_path):
    path = tmp_path / "capture"
    with PcapWriter(str(path), linktype=105) as writer:
        writer.write(Raw(b"a frame of Wi-Fi"))
    with pytest.raises(
        CaptureError, match=r"packet 0: frames of link type 105; allowed are Ethernet"
    ):
        list(read_capture(path))


@pytest.mark.parametrize("octets", [b"", b"\x1f\x8b\x08\0", b"<html>", b"\xd4\xc3\xb2"])
def test_read_capture_refuses_what_is_none(tmp_path, octets):
    path = tmp_path / "capture"
    path.write_bytes(octets)
    said = octets[:4].hex() or "nothing"
    with pytest.raises(
        CaptureError, match=f"capture: begins with {said}; allowed are captures in pcap"
    ):
        list(read_capture(path))


def test_read_capture_of_no_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        list(read_capture(tmp_path / "none"))


def test_read_capture_yields_what_is_whole_of_a_file_cut_anywhere(write):
    path = write(EVERY[:3])
    octets = path.read_bytes()
    whole = list(read_capture(path))
    silent = 0
    for end in range(4, len(octets)):
        path.write_bytes(octets[:end])
        frames, fault = frames_until_fault(path)
        assert frames == whole[: len(frames)]
        silent += fault is None
    # Cut between two packets, a capture is a shorter one; of pcapng that holds between two blocks, or in front of a length.
    assert silent <= 12


def test_read_capture_of_mutated_files_raises_nothing_else(write):
    chance = random.Random(5)  # noqa: S311  # no secret
    path = write(EVERY)
    octets = path.read_bytes()
    faults = 0
    for _ in range(300):
        mutated = bytearray(octets)
        for _ in range(chance.randint(1, 8)):
            mutated[chance.randrange(4, len(octets))] = chance.choice((0, 1, 0x7F, 0xFF))
        path.write_bytes(mutated)
        faults += frames_until_fault(path)[1] is not None
    assert faults > 10


def test_read_capture_does_not_wait_for_gigabytes(tmp_path):
    path = tmp_path / "capture"
    with PcapNgWriter(str(path)) as writer:
        writer.write(ETHER / SEGMENT)
    with path.open("ab") as file:
        file.write(struct.pack("<II", 6, 0xFFFF_FFFC) + bytes(64))
    frames, fault = frames_until_fault(path)
    assert len(frames) == 1
    assert "behind packet 1: damaged: a block of 4294967280 octets; at most 1048576" in fault


def test_read_capture_tells_time_and_what_was_not_captured(tmp_path):
    path = tmp_path / "capture"
    octets = bytes(ETHER / SEGMENT)
    with PcapWriter(str(path), linktype=1) as writer:
        writer.write_header(None)
        writer.write_packet(octets, sec=5, usec=250_000)
        writer.write_packet(octets[:40], sec=6, usec=0, caplen=40, wirelen=len(octets))
    first, second = read_capture(path)
    assert (first.since_s, first.missing_octets) == (0.0, 0)
    assert (second.since_s, second.missing_octets) == (0.75, len(octets) - 40)


RECORD = DNSRR(rrname="Maths.Example.", type="A", rdata="192.0.2.7")
QUESTION = DNSQR(qname="maths.example")


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(bytes(DNS(qd=QUESTION)), id="query"),
        pytest.param(bytes(DNS(qr=1, qd=QUESTION)), id="no address"),
        pytest.param(bytes(DNS(qr=1, qd=[], an=[RECORD])), id="no question"),
        pytest.param(bytes(DNS(qr=1, qd=QUESTION, an=[RECORD]))[:-2], id="cut short"),
    ],
)
def test_read_answer_of_what_gives_no_address_is_none(payload):
    assert read_answer(payload) is None


def test_read_answer_gives_names_and_addresses():
    payload = bytes(DNS(qr=1, qd=DNSQR(qname="A.example"), an=[RECORD]))
    address = bytes((192, 0, 2, 7))
    assert read_answer(payload) == Answer("a.example", (("maths.example", address),))


@given(st.binary(max_size=300), st.integers(0, 60))
def test_read_answer_of_any_octets_is_an_answer_or_none(octets, place):
    whole = bytes(DNS(qr=1, qd=QUESTION, an=[RECORD]))
    for payload in (octets, whole[:place] + octets, whole[:place] + octets + whole[place:]):
        assert isinstance(read_answer(payload), Answer | None)


@pytest.mark.parametrize(
    ("payload", "question"),
    [
        (bytes(DNS(qd=DNSQR(qname="A.example", qtype="AAAA"))), "a.example AAAA"),
        (bytes(DNS(qr=1, qd=DNSQR(qname="a.example", qtype=65))), "a.example HTTPS"),
        (bytes(DNS(qd=DNSQR(qname="a.example", qtype=65_280))), "a.example type 65280"),
        (b"", None),
        (bytes(12), None),
        (bytes(DNS(qd=DNSQR(qname="a.example")))[:11], None),
    ],
)
def test_read_question_gives_what_is_asked(payload, question):
    assert read_question(payload) == question


@given(st.binary(max_size=300), st.integers(0, 60))
def test_read_question_of_any_octets_is_a_text_or_none(octets, place):
    whole = bytes(DNS(qd=QUESTION))
    for payload in (octets, whole[:place] + octets, whole[:place] + octets + whole[place:]):
        assert isinstance(read_question(payload), str | None)


LARGE = (
    IP(src="192.0.2.10", dst="203.0.113.5", id=9) / UDP(sport=1, dport=2) / (bytes(range(256)) * 8)
)
LARGE6 = (
    IPv6(src="2001:db8::10", dst="2001:db8:113::5")
    / IPv6ExtHdrFragment(id=9)
    / UDP(sport=1, dport=2)
    / (bytes(range(256)) * 8)
)


def pieces(packet):
    if IPv6 in packet:
        return [bytes(p) for p in fragment6(packet, 700)]
    return [bytes(p) for p in fragment(packet, 600)]


def whole(packet):
    octets = bytearray(bytes(packet))
    if IPv6 in packet:
        return bytes(
            octets[:4] + (len(octets) - 48).to_bytes(2) + b"\x11" + octets[7:40] + octets[48:]
        )
    # The checksum is not filled in: nobody looks at it.
    octets[10:12] = pieces(packet)[0][10:12]
    return bytes(octets)


@pytest.mark.parametrize("packet", [LARGE, LARGE6], ids=["ipv4", "ipv6"])
def test_fragments_give_the_whole_in_any_order(packet):
    for seed in range(10):
        parts = pieces(packet)
        random.Random(seed).shuffle(parts)  # noqa: S311  # no secret
        fragments = Fragments()
        given = [fragments.add(part) for part in parts]
        assert given[:-1] == [None] * (len(parts) - 1)
        assert given[-1] == whole(packet)


@pytest.mark.parametrize("packet", [LARGE, LARGE6], ids=["ipv4", "ipv6"])
def test_fragments_that_overlap_or_are_missing_give_nothing(packet):
    parts = pieces(packet)
    fragments = Fragments()
    assert [fragments.add(part) for part in (*parts[:1], *parts[2:])] == [None] * (len(parts) - 1)
    shorter = IP(parts[1]) if IPv6 not in packet else None
    if shorter:
        shorter.frag -= 1
        fragments = Fragments()
        assert fragments.add(bytes(shorter)) is None
        assert [fragments.add(part) for part in parts] == [None] * len(parts)


def test_fragments_leave_other_packets_alone():
    fragments = Fragments()
    for octets in (
        bytes(SEGMENT),
        bytes(SEGMENT6),
        b"",
        b"\x45",
        b"\x60" * 50,
        b"\x45\0\0\1\0\0\x20\0",
    ):
        assert fragments.add(octets) == octets


def test_fragments_keep_few():
    fragments = Fragments()
    first, *rest = pieces(LARGE)
    assert fragments.add(first) is None
    for number in range(100, 164):
        assert fragments.add(first[:4] + number.to_bytes(2) + first[6:]) is None
    assert [fragments.add(part) for part in rest] == [None] * len(rest)
