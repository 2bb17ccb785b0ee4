"""aioquic, another implementation, packs and unpacks what is read here, and shakes hands with itself."""

import hashlib
import os
import random
import ssl
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path

import pytest
from aioquic.buffer import Buffer, encode_uint_var
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.crypto import CryptoError, CryptoPair
from aioquic.quic.packet import (
    QuicPacketType,
    decode_packet_number,
    encode_long_header_first_byte,
    encode_quic_retry,
    encode_quic_version_negotiation,
    pull_ack_frame,
    pull_quic_header,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import example, given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.utils import rdpcap, wrpcap

from gate_core.clients import Group
from gate_core.policy import Policy
from gate_core.snapshot import NO_LISTS
from gate_firewall.classify import Classifier, Moment, Sighting
from gate_firewall.dissect import read_capture
from gate_firewall.host import MAX_OCTETS
from gate_firewall.marks import Request
from gate_firewall.packet import Packet, parse_packet
from gate_firewall.quic import (
    MAX_CONNECTION_IDS,
    MAX_DATAGRAMS,
    MAX_PACKETS,
    Initials,
    MalformedQuicError,
    begins,
)

VECTORS = Path(__file__).parents[1] / "vectors"
SHARED = Path(os.environ.get("SCHOOLGATE_SHARED", Path(__file__).parents[3] / "shared"))
CAPTURES = SHARED / "data/captures"
needs_captures = pytest.mark.skipif(not CAPTURES.is_dir(), reason="../shared is absent")

V1, V2 = 1, 0x6B3343CF
MAC = "00:00:5e:00:53:01"
DRAFT_29, GREASE, NEGOTIATION = 0xFF00001D, 0x1A2A3A4A, 0
DCID, OTHER, SCID = b"original", b"another!", b"the client's"
PING, PADDING = b"\1", b"\0"
ACK, ACK_ECN = b"\2\x09\x09\1\x09\x09\x09", b"\3\x09\x09\0\x09\x09\x09\x09"
CLOSE = b"\x1c\0\6\3bye"


def openssl_hello(name):
    outgoing = ssl.MemoryBIO()
    connection = ssl.create_default_context().wrap_bio(
        ssl.MemoryBIO(), outgoing, server_hostname=name
    )
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()[5:]  # without the header of its one record


HELLO = openssl_hello("www.example.org")
FALSE_HELLO = openssl_hello("allowed.example")


def crypto(offset, octets):
    return b"\6" + encode_uint_var(offset) + encode_uint_var(len(octets)) + octets


def long_header(kind, version, destination, source):
    first = encode_long_header_first_byte(version, kind, 0)
    ids = bytes((len(destination),)) + destination + bytes((len(source),)) + source
    return bytes((first,)) + version.to_bytes(4) + ids


def initial(
    frames,
    *,
    number=0,
    width=4,
    destination=DCID,
    keys=None,
    source=SCID,
    version=V1,
    token=b"",
    bits=0,
    size=0,
    is_client=True,
):
    """Return an Initial padded to ``size`` octets; ``keys`` come from the destination if not from another ID."""
    header = long_header(QuicPacketType.INITIAL, version, destination, source)
    header = bytes((header[0] ^ bits | width - 1,)) + header[1:]
    header += encode_uint_var(len(token)) + token
    frames += bytes(max(0, size - len(header) - 2 - width - len(frames) - 16))
    header += (0x4000 | width + len(frames) + 16).to_bytes(2)
    header += (number % (1 << 8 * width)).to_bytes(width)
    pair = CryptoPair()
    pair.setup_initial(cid=keys or destination, is_client=is_client, version=version)
    return pair.encrypt_packet(header, frames, number)


def whole(frames, **options):
    """Return a datagram of full size with one Initial."""
    return initial(frames, size=1200, **options)


def other(kind, *, version=V1, destination=DCID, octets=bytes(range(60))):
    header = long_header(kind, version, destination, SCID)
    return header + encode_uint_var(len(octets)) + octets


ZERO_RTT = other(QuicPacketType.ZERO_RTT)
HANDSHAKE = other(QuicPacketType.HANDSHAKE)
ZERO_RTT_2 = other(QuicPacketType.ZERO_RTT, version=V2)
HANDSHAKE_2 = other(QuicPacketType.HANDSHAKE, version=V2)
# No token, and a length of 19: one octet less than header protection takes its sample from.
NO_SAMPLE = long_header(QuicPacketType.INITIAL, V1, DCID, SCID) + b"\0\x13" + bytes(19)
UNKNOWN = long_header(QuicPacketType.INITIAL, DRAFT_29, DCID, SCID) + bytes(1200)


def repacked(hello, size, *, version=V1, seed=0, **options):
    """Return datagrams with ``hello`` in frames of ``size`` octets, shuffled."""
    frames = [crypto(i, hello[i : i + size]) for i in range(0, len(hello), size)]
    random.Random(seed).shuffle(frames)  # noqa: S311
    datagrams, packet = [], b""
    for frame in (*frames, None):
        if frame is None or len(packet + frame) > 1300:
            datagrams.append(whole(packet, number=len(datagrams), version=version, **options))
            packet = b""
        packet += frame or b""
    return datagrams


def last(datagrams):
    """Return what is known after ``datagrams``."""
    initials = Initials()
    return [initials.add(datagram) for datagram in datagrams][-1]


def outcome(datagrams):
    """Return the name after ``datagrams``, or None, or that they are malformed."""
    try:
        hello = last(datagrams)
    except MalformedQuicError:
        return MalformedQuicError
    return hello and hello.name


@pytest.mark.parametrize(("vector", "version"), [("rfc9001_a2", V1), ("rfc9369_a2", V2)])
def test_add_reads_the_vectors(vector, version):
    datagram = bytes.fromhex((VECTORS / f"{vector}_client_initial.hex").read_text())
    initials = Initials()

    assert begins(datagram)
    assert initials.add(datagram) == ("example.com", (b"alpn",), False)
    assert initials.version == version


# The captures.


def client_datagrams(capture):
    """Return what the client sent, of the flow that begins ``capture``."""
    path = CAPTURES / capture
    if path.suffix == ".bin":
        return [path.read_bytes()]
    packets = [p[UDP] for p in rdpcap(str(path)) if UDP in p]
    return [bytes(p.payload) for p in packets if p.sport == packets[0].sport]


def unpacked(datagrams):
    """Return the ClientHello in ``datagrams``, by aioquic."""
    pairs, found = {}, {}
    for datagram in datagrams:
        buffer = Buffer(data=datagram)
        header = pull_quic_header(buffer, host_cid_length=8)
        if header.packet_type != QuicPacketType.INITIAL:
            continue
        pair = CryptoPair()
        pair.setup_initial(cid=header.destination_cid, is_client=False, version=header.version)
        pairs.setdefault(header.destination_cid, pair)
        for candidate in pairs.values():
            try:
                packet = datagram[: header.packet_length]
                _, frames, _ = candidate.decrypt_packet(packet, buffer.tell(), 0)
            except CryptoError:
                continue
            found.update(placed(frames))
            break
    assert sorted(found) == list(range(len(found)))
    return bytes(found[i] for i in range(len(found)))


def placed(frames):
    buffer = Buffer(data=frames)
    while not buffer.eof():
        match buffer.pull_uint_var():
            case 2:
                pull_ack_frame(buffer)
            case 6:
                offset, length = buffer.pull_uint_var(), buffer.pull_uint_var()
                yield from enumerate(buffer.pull_bytes(length), offset)


CAPTURED = [
    ("clienthellod/QUIC_IETF_Firefox_126.bin", V1, "quic.tlsfingerprint.io", (b"h3",)),
    ("clienthellod/QUIC_IETF_Firefox_126_0-RTT.bin", V1, "quic.tlsfingerprint.io", (b"h3",)),
    ("suricata-verify/quic-frag.pcap", V1, "token.services.mozilla.com", (b"h3",)),
    ("suricata-verify/quic-frag-unordered.pcap", V1, "mastodon.social", (b"h3",)),
    ("suricata-verify/quic-frag-wait.pcap", V1, "www.google.com", (b"h3",)),
    ("suricata-verify/quic-initial-not-first.pcap", V1, "scontent-ams4-1.xx.fbcdn.net", (b"h3",)),
    ("suricata-verify/quic-retry-multiple.pcap", V1, "public-api.wordpress.com", (b"h3",)),
    ("suricata-verify/quic-v2.pcap", V2, "", (b"h3",)),
    (
        "zeek/quic-multiple-initial-fragmented-crypto-only-initial.pcap",
        V1,
        "googleads.g.doubleclick.net",
        (b"h3",),
    ),
    ("zeek/quicdoq.pcap", V1, "", (b"doq",)),
    ("zeek/quicv2-echo-443.pcap", V2, "localhost", (b"quic-echo-example",)),
]


@needs_captures
@pytest.mark.parametrize(("capture", "version", "name", "alpn"), CAPTURED)
def test_add_reads_captures_in_any_order(capture, version, name, alpn):
    datagrams = client_datagrams(capture)
    twice = [d for datagram in datagrams[:30] for d in (datagram, datagram)]

    assert begins(datagrams[0])
    for arrivals in (datagrams, datagrams[::-1], twice):
        initials = Initials()
        hello = [initials.add(datagram) for datagram in arrivals][-1]
        assert (hello.name, hello.alpn) == (name, alpn)
        assert initials.version == version


@needs_captures
@pytest.mark.parametrize("version", [V1, V2])
@pytest.mark.parametrize("size", [1, 40, 1200])
@pytest.mark.parametrize(("capture", "name"), [(c, n) for c, _, n, _ in CAPTURED])
def test_add_reads_captures_packed_anew(capture, name, size, version):
    hello = unpacked(client_datagrams(capture))
    datagrams = repacked(hello, size, version=version)

    assert last(datagrams).name == name
    assert last(datagrams[::-1]).name == name
    assert outcome(datagrams[1:] or [b""]) is None


@needs_captures
def test_add_reads_chrome_125_in_either_order():
    both = [
        (CAPTURES / f"clienthellod/QUIC_IETF_Chrome_125_PKN{number}.bin").read_bytes()
        for number in (1, 2)
    ]

    assert [last(both[:1]), last(both[1:])] == [None, None]
    assert outcome(both) == outcome(both[::-1]) == "quic.tlsfingerprint.io"


@needs_captures
def test_add_reads_chrome_124_in_any_order():
    path = CAPTURES / "clienthellod"
    offsets = (0, 1191, 1287, 1561, 1663)
    pieces = {o: (path / f"QUIC_Frame_Chrome_124_CRYPTO_{o}.bin").read_bytes() for o in offsets}
    datagrams = [whole(crypto(o, pieces[o]), number=n) for n, o in enumerate(offsets)]

    assert b"".join(pieces.values()) == (path / "QUIC_ClientHello_Chrome_124.bin").read_bytes()
    for arrivals in permutations(datagrams):
        assert outcome(arrivals[:-1]) is None
        assert outcome(arrivals) == "encrypted-tbn0.gstatic.com"


@needs_captures
def test_answered_by_takes_neither_retry_nor_a_mere_acknowledgement():
    path = CAPTURES / "suricata-verify/quic-retry-multiple.pcap"
    packets = [p[UDP] for p in rdpcap(str(path)) if UDP in p]
    initials, answers = Initials(), []
    for packet in packets[:9]:
        if packet.dport == 443:
            initials.add(bytes(packet.payload))
        else:
            answers.append(initials.answered_by(bytes(packet.payload)))

    # Retry, Retry anew, ACK, ServerHello, a packet without CRYPTO.
    assert answers == [False, False, False, True, False]


def test_size_is_of_what_is_kept():
    initials = Initials()
    assert initials.size == 0
    initials.add(whole(crypto(0, HELLO[:100])))
    assert initials.size == 100
    initials.add(whole(crypto(16_000, b"x"), number=1))
    assert 32_000 < initials.size < 33_000


def test_judge_keeps_no_more_of_half_hellos_than_a_part():
    groups = {"all": Group("all", "All", 1, {}, quic=True)}
    policy = Policy(version=1, groups=groups, rows=(), unknown_group="all", index=NO_LISTS)
    classifier = Classifier({}.get, policy, 1)
    far = whole(crypto(16_000, b"x"))
    again = whole(crypto(16_000, b"x"), destination=bytes(8))
    request = Request(from_router=False, reply=False, decided=False, new=True)
    passed = 0
    for number in range(256):
        for datagram in (far, again):
            packet, _ = carried(datagram, 443)
            packet = packet._replace(source_port=20_000 + number)
            seen = Sighting(packet, request, 0, "00:00:5e:00:53:10", Moment(None, 5.0))
            passed += classifier.judge(seen).mark is not None

    # Of 512 that take 32 kB each, as many as a quarter of 16 MiB holds.
    assert 125 < passed < 140


# The verdict on captures, as they stand and packed anew.


def carried(payload, port, *, reply=False):
    """Return a datagram between a client and ``port`` of a server, and whether it is of the server."""
    client, server = (bytes((192, 0, 2, 1)), 40_000), (bytes((203, 0, 113, 5)), port)
    (source, source_port), (destination, other) = (server, client) if reply else (client, server)
    packet = Packet(
        source, destination, 17, source_port, other, 0, 0, 0, payload, whole=True, later_fragment=False
    )  # fmt: skip
    return packet, reply


CHROME_124, CHROME_125 = "QUIC_ClientHello_Chrome_124.bin", "QUIC_IETF_Chrome_125_PKN{}.bin"
HELLOS = [
    *((capture, name) for capture, _, name, _ in CAPTURED),
    (f"clienthellod/{CHROME_124}", "encrypted-tbn0.gstatic.com"),
    (f"clienthellod/{CHROME_125}", "quic.tlsfingerprint.io"),
]


def captured_hello(capture):
    if capture.endswith(CHROME_124):
        return (CAPTURES / capture).read_bytes()
    parts = (1, 2) if capture.endswith(CHROME_125) else (1,)
    return unpacked([d for part in parts for d in client_datagrams(capture.format(part))])


def expected(capture, name, *blocked):
    if capture == "zeek/quicdoq.pcap":
        return [("block", "matrix", "doq", "")]
    return [("block", "exception", "quic", name) if blocked else ("allow", "default", "quic", name)]


def both(name):
    """Return what is blocked, where a flow is judged as it stands, and where its name is blocked."""
    return ((), (name,)) if name else ((),)


@needs_captures
@pytest.mark.parametrize("vlan", [None, 7])
@pytest.mark.parametrize(
    ("capture", "name"), [(c, n) for c, _, n, _ in CAPTURED if c.endswith(".pcap")]
)
def test_judge_of_frames_that_a_capture_gives(verdicts, capture, name, vlan, tmp_path):
    frames = list(read_capture(CAPTURES / capture))
    if vlan:
        path = tmp_path / "tagged.pcap"
        versions = [IP if frame.octets[0] >> 4 == 4 else IPv6 for frame in frames]
        tagged = [
            Ether(src=MAC, dst=MAC) / Dot1Q(vlan=vlan) / version(frame.octets)
            for frame, version in zip(frames, versions, strict=True)
        ]
        wrpcap(str(path), tagged)
        frames = list(read_capture(path))
    packets = [parse_packet(frame.octets) for frame in frames]
    initiator = packets[0].source_port
    flow = [p for p in packets if initiator in (p.source_port, p.destination_port)]
    answered = any(p.destination_port == initiator for p in flow)

    assert {frame.vlan for frame in frames} == {vlan}
    # A name that is allowed stays open until it is answered.
    for blocked in both(name) if answered else ((name,),):
        judged = verdicts([(p, p.source_port != initiator) for p in flow], *blocked)
        assert judged == expected(capture, name, *blocked)


@needs_captures
@pytest.mark.parametrize("order", ["in order", "reversed", "each twice"])
@pytest.mark.parametrize("size", [1, 40, 536, 1448])
@pytest.mark.parametrize(("capture", "name"), HELLOS)
def test_judge_of_captures_packed_anew(verdicts, capture, name, size, order):
    payloads = repacked(captured_hello(capture), size)
    match order:
        case "reversed":
            payloads.reverse()
        case "each twice":
            payloads = [payload for payload in payloads for _ in range(2)]
    port = 853 if capture == "zeek/quicdoq.pcap" else 443
    packets = [carried(p, port) for p in payloads]
    packets.append(carried(answer(SERVER_HELLO, keys=DCID), port, reply=True))

    for blocked in both(name):
        assert verdicts(packets, *blocked) == expected(capture, name, *blocked)


# Real hands shaken.


@pytest.fixture(scope="module")
def server_configuration():
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "www.example.org")])
    now = datetime(2026, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=3650))
        .sign(key, hashes.SHA256())
    )

    configuration = QuicConfiguration(is_client=False, alpn_protocols=["h3"])
    configuration.certificate, configuration.private_key = certificate, key
    return configuration


def client_connection(version, *preferred):
    """Return a client that begins with ``version`` and would rather have one of ``preferred``."""
    configuration = QuicConfiguration(
        alpn_protocols=["h3"], server_name="www.example.org", verify_mode=ssl.CERT_NONE
    )
    configuration.supported_versions = [*preferred, version]
    configuration.original_version = version
    connection = QuicConnection(configuration=configuration)
    connection.connect(("192.0.2.1", 443), now=0)
    return connection


def shake_hands(client, configuration, *, retry=False):
    """Yield who sends (``client`` or ``server``) and each datagram, until both are done."""
    original = retried = None
    if retry:
        first = [d for d, _ in client.datagrams_to_send(now=0)]
        yield from (("client", d) for d in first)
        header = pull_quic_header(Buffer(data=first[0]))
        original, retried = header.destination_cid, b"retried!"
        answer = encode_quic_retry(V1, retried, header.source_cid, original, b"token")
        yield "server", answer
        client.receive_datagram(answer, ("192.0.2.1", 443), now=0)
    else:
        original = client.original_destination_connection_id
    server = QuicConnection(
        configuration=configuration,
        original_destination_connection_id=original,
        retry_source_connection_id=retried,
    )
    for now in range(1, 9):
        for sender, receiver, side in ((client, server, "client"), (server, client, "server")):
            for datagram, _ in sender.datagrams_to_send(now=now):
                yield side, datagram
                receiver.receive_datagram(datagram, ("192.0.2.1", 443), now=now)


@pytest.mark.parametrize(
    ("versions", "retry"),
    [
        pytest.param((V1,), False, id="version 1"),
        pytest.param((V2,), False, id="version 2"),
        pytest.param((V1,), True, id="retry, and another ClientHello"),
        pytest.param((V1, V2), False, id="from version 1 to 2 on the way"),
    ],
)
def test_add_reads_a_handshake(server_configuration, versions, retry):
    initials = Initials()
    names, answers = [], []
    client = client_connection(*versions)
    for side, datagram in shake_hands(client, server_configuration, retry=retry):
        if side == "client":
            names.append(initials.add(datagram).name)
        else:
            answers.append(initials.answered_by(datagram))

    assert set(names) == {"www.example.org"}
    assert len(names) > 2
    assert answers[: 1 + retry] == [False] * retry + [True]
    # aioquic keeps the keys of version 1 for its Initials of version 2: no server reads those.
    assert initials.version == versions[0]


def test_add_reads_the_version_that_the_server_asked_for():
    client = client_connection(V1)
    first = client.datagrams_to_send(now=0)[0][0]
    header = pull_quic_header(Buffer(data=first))
    greased = first[:1] + GREASE.to_bytes(4) + first[5:]
    negotiation = encode_quic_version_negotiation(header.source_cid, header.destination_cid, [V1])
    initials = Initials()

    assert begins(greased)
    assert initials.add(greased) is None
    assert initials.version == GREASE
    assert not begins(negotiation)
    assert not initials.answered_by(negotiation)
    assert initials.add(first).name == "www.example.org"
    assert initials.version == V1


# One case after the other.

AGAIN = openssl_hello("www.example.org")
HALF = len(HELLO) // 2
FRONT, BACK = crypto(0, HELLO[:HALF]), crypto(HALF, HELLO[HALF:])
WHOLE = crypto(0, HELLO)
FALSE = crypto(0, FALSE_HELLO)


@pytest.mark.parametrize(
    "datagrams",
    [
        pytest.param([whole(WHOLE)], id="one"),
        pytest.param([whole(WHOLE, version=V2)], id="version 2"),
        pytest.param([whole(WHOLE, token=b"t" * 70)], id="token"),
        pytest.param([whole(WHOLE, source=b"")], id="no source ID"),
        pytest.param([whole(WHOLE, bits=0x40)], id="greased by RFC 9287"),
        pytest.param([whole(WHOLE, destination=b"d" * 20)], id="long ID"),
        pytest.param([whole(WHOLE) + b"\0" * 40], id="padding behind"),
        pytest.param([whole(WHOLE) + b"\x40" + b"short header"], id="short header behind"),
        pytest.param([whole(WHOLE) + UNKNOWN], id="unknown version behind"),
        pytest.param([whole(WHOLE) + HANDSHAKE[:-1]], id="cut short behind"),
        pytest.param([ZERO_RTT, whole(WHOLE)], id="0-RTT first"),
        pytest.param([ZERO_RTT + whole(WHOLE) + HANDSHAKE], id="coalesced"),
        pytest.param([HANDSHAKE + initial(WHOLE) + ZERO_RTT * 9], id="full size by others"),
        pytest.param(
            [ZERO_RTT_2 + HANDSHAKE_2 + whole(WHOLE, version=V2)], id="coalesced, version 2"
        ),
        pytest.param([initial(FRONT) + whole(BACK, number=1)], id="two in a datagram"),
        pytest.param([initial(PING), whole(WHOLE, number=1)], id="small without CRYPTO"),
        pytest.param(
            [whole(PING + ACK + PADDING * 3 + BACK + ACK_ECN + FRONT + CLOSE)], id="all frames"
        ),
        pytest.param([whole(BACK), whole(FRONT, number=1)], id="disorder"),
        pytest.param([whole(FRONT), whole(FRONT), whole(BACK, number=1)], id="again"),
        pytest.param([whole(FRONT), whole(WHOLE, number=1)], id="overlap, same octets"),
        pytest.param([whole(crypto(99, b"") + WHOLE)], id="empty CRYPTO"),
        pytest.param(
            [whole(crypto(0, HELLO + HELLO))], id="a second hello, after HelloRetryRequest"
        ),
        pytest.param(
            [whole(FRONT), whole(BACK, number=1, destination=OTHER, keys=DCID)],
            id="the server's ID, first keys",
        ),
        pytest.param(
            [whole(FRONT), whole(WHOLE, number=1, destination=OTHER, token=b"retry")],
            id="keys of a Retry",
        ),
        pytest.param(
            [whole(WHOLE), whole(crypto(0, AGAIN), number=999, destination=b"")],
            id="another hello after a Retry",
        ),
        pytest.param(
            [whole(FRONT), whole(BACK, number=1, version=V2, destination=b"", keys=DCID)],
            id="version 2 by the first ID",
        ),
        pytest.param([whole(WHOLE, destination=OTHER, keys=b"decoy"), whole(WHOLE)], id="a decoy"),
        pytest.param([whole(FALSE, keys=b"decoy"), whole(WHOLE)], id="a decoy with the same ID"),
        pytest.param([bytes(1200), b"", b"\xff" * 1200, whole(WHOLE)], id="junk before"),
        pytest.param([UNKNOWN.replace(b"\xff\0\0\x1d", bytes(4)), whole(WHOLE)], id="version 0"),
        pytest.param([whole(FRONT), whole(BACK, number=255)], id="numbers 255 apart"),
    ],
)
def test_add_reads_what_a_server_reads(datagrams):
    assert outcome(datagrams) == "www.example.org"
    assert outcome([datagrams[0], *datagrams]) == "www.example.org"


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("step", [100, -1])
@pytest.mark.parametrize("first", [1, 200, 0xFFFF, 0x20000, 0x12345600])
def test_add_completes_packet_numbers(first, step, width):
    datagrams = [whole(FRONT, number=first), whole(BACK, number=first + step, width=width)]

    assert outcome(datagrams) == "www.example.org"


@pytest.mark.parametrize(
    "datagrams",
    [
        pytest.param([whole(FRONT), whole(crypto(9, b"?"), number=1)], id="other octets"),
        pytest.param([whole(FALSE), whole(WHOLE, destination=OTHER)], id="two connections"),
        pytest.param(
            [whole(FALSE), whole(WHOLE, destination=OTHER, version=V2)], id="of two versions"
        ),
        pytest.param([whole(crypto(0, AGAIN)), whole(WHOLE)], id="two hellos with one ID"),
        pytest.param([whole(FALSE), whole(WHOLE, version=V2)], id="two versions"),
        pytest.param([whole(FALSE), whole(WHOLE)], id="one packet number"),
        pytest.param([whole(FALSE, number=1 << 31), whole(WHOLE, width=1)], id="numbers apart"),
        pytest.param([whole(FRONT), whole(BACK, number=256)], id="numbers 256 apart"),
        pytest.param([whole(WHOLE), UNKNOWN], id="unknown version after"),
        pytest.param([UNKNOWN, whole(WHOLE)], id="unknown version before"),
        pytest.param([initial(WHOLE)], id="small datagram"),
        pytest.param([initial(WHOLE, size=1199)], id="1199 octets"),
        pytest.param([whole(WHOLE, destination=b"seven..")], id="short ID"),
        pytest.param([whole(WHOLE, destination=b"d" * 21)], id="too long an ID"),
        pytest.param([whole(WHOLE, source=b"s" * 21)], id="too long a source ID"),
        pytest.param([whole(WHOLE, bits=4)], id="first reserved bit"),
        pytest.param([whole(WHOLE, bits=8)], id="second reserved bit"),
        pytest.param([initial(b"")], id="no frames"),
        pytest.param([initial(WHOLE) + whole(PING, destination=OTHER)], id="two IDs"),
        pytest.param([HANDSHAKE + whole(WHOLE, destination=OTHER)], id="two IDs, other kinds"),
        pytest.param([whole(crypto(MAX_OCTETS, b"?"))], id="too long"),
        pytest.param([whole(crypto(1 << 61, b"?"))], id="far too long"),
        pytest.param([whole(crypto(0, b"\2" + HELLO[1:]))], id="no ClientHello"),
        pytest.param([whole(crypto(0, HELLO[:4] + bytes(len(HELLO))))], id="a broken hello"),
        pytest.param([initial(b"\6\0\x44")], id="CRYPTO without octets"),
        pytest.param([initial(b"\6\0\x09?")], id="CRYPTO cut short"),
        pytest.param([initial(b"\2\0\0\x40")], id="ACK cut short"),
        pytest.param([initial(b"\2\0\0\xff" + b"\xff" * 9)], id="ACK of endless ranges"),
        pytest.param([initial(b"\x1c\0\0\x09")], id="reason cut short"),
        *(
            pytest.param([whole(WHOLE + bytes((kind,)))], id=f"frame type {kind:#x}")
            for kind in (4, 5, 7, 8, 0x10, 0x18, 0x1A, 0x1D, 0x1E, 0x30)
        ),
        pytest.param([whole(b"\x40\6" + WHOLE[1:])], id="CRYPTO in two octets"),
    ],
)
def test_add_refuses_what_servers_read_in_two_ways(datagrams):
    assert outcome(datagrams) is MalformedQuicError


@pytest.mark.parametrize(
    "datagrams",
    [
        pytest.param([whole(FRONT)], id="half"),
        pytest.param([whole(BACK)], id="the other half"),
        pytest.param(
            [whole(FRONT), whole(BACK, destination=OTHER)], id="halves of two connections"
        ),
        pytest.param([whole(WHOLE)[:-1]], id="cut short"),
        pytest.param([initial(PING)[:-1]], id="small, cut short"),
        pytest.param([whole(WHOLE)[:-1] + b"?"], id="does not authenticate"),
        pytest.param([NO_SAMPLE], id="no sample"),
        pytest.param([whole(WHOLE, is_client=False)], id="of a server"),
        pytest.param([UNKNOWN], id="unknown version"),
        pytest.param([ZERO_RTT + UNKNOWN], id="unknown version behind 0-RTT"),
        pytest.param([b"\x40" + whole(WHOLE)], id="behind a short header"),
        pytest.param([other(QuicPacketType.RETRY) + whole(WHOLE)], id="behind a Retry"),
        pytest.param(
            [other(QuicPacketType.RETRY, version=V2) + whole(WHOLE, version=V2)],
            id="behind a Retry of version 2",
        ),
        pytest.param([HANDSHAKE[:-1]], id="Handshake cut short"),
    ],
)
def test_add_reads_nothing_that_no_server_reads(datagrams):
    assert outcome(datagrams) is None


def test_version_is_that_of_the_last_initial_that_was_opened():
    initials = Initials()
    seen = []
    for datagram in (
        UNKNOWN.replace(b"\xff\0\0\x1d", GREASE.to_bytes(4)),
        whole(WHOLE),
        whole(PING, number=1, version=V2),
        ZERO_RTT,
    ):
        initials.add(datagram)
        seen.append(initials.version)

    assert seen == [GREASE, V1, V2, V2]


def test_add_is_bounded_in_datagrams():
    initials = Initials()
    for _ in range(MAX_DATAGRAMS):
        assert initials.add(UNKNOWN) is None
    with pytest.raises(MalformedQuicError, match="64 datagrams"):
        initials.add(UNKNOWN)


def test_add_is_bounded_in_packets_of_a_datagram():
    assert outcome([ZERO_RTT * (MAX_PACKETS - 1) + whole(WHOLE) + b"\x40"]) == "www.example.org"
    assert outcome([ZERO_RTT * MAX_PACKETS + whole(WHOLE)]) is MalformedQuicError


def test_add_is_bounded_in_connection_ids():
    retried = [
        whole(WHOLE, number=number, destination=b"retried%d" % number)
        for number in range(MAX_CONNECTION_IDS + 1)
    ]

    assert outcome(retried[:-1]) == "www.example.org"
    assert outcome(retried) is MalformedQuicError


def test_add_is_not_bounded_in_what_does_not_authenticate():
    decoys = [whole(FALSE, destination=b"decoy %3d" % n, keys=b"?") for n in range(MAX_DATAGRAMS)]

    assert outcome([*decoys[1:], whole(WHOLE)]) == "www.example.org"


def test_add_tells_place_and_octets():
    small = initial(WHOLE)

    with pytest.raises(MalformedQuicError) as raised:
        Initials().add(small)
    assert str(raised.value) == (
        f"parsing {len(small)} octets: a ClientHello in a datagram of less than 1200 octets: "
        f"{small[:32].hex()}"
    )


@given(
    st.integers(0, 1 << 31),
    st.lists(st.integers(0, 255), min_size=1, max_size=4),
    st.integers(-300, 600),
    st.integers(1, 4),
    st.integers(-1, 3),
)
@example(base=1000, steps=[0, 250], step=10, width=1, latest=0)
@example(base=1000, steps=[0, 250], step=260, width=1, latest=1)
@example(base=300, steps=[100], step=-250, width=1, latest=-1)
def test_add_misses_no_packet_that_a_server_could_number(base, steps, step, width, latest):
    """Whichever of the earlier packets arrived, what follows them is read, and contradicts them."""
    earlier = [base + s for s in steps]
    number = max(0, base + step)
    highest = -1 if latest < 0 else earlier[latest % len(earlier)]
    truncated = number % (1 << 8 * width)
    initials = Initials()
    for n in earlier:
        initials.add(whole(FALSE, number=n))
    try:
        initials.add(whole(WHOLE, number=number, width=width))
    except MalformedQuicError:
        return
    assert decode_packet_number(truncated, 8 * width, highest + 1) != number


def answer(frames, **options):
    return initial(frames, destination=SCID, source=b"server", is_client=False, **options)


_SERVER_HELLO = b"\2\0\0\x5c\3\3" + bytes(90)
SERVER_HELLO = crypto(0, _SERVER_HELLO)
# RFC 8446, section 4.1.3
_RETRY = _SERVER_HELLO[:6] + hashlib.sha256(b"HelloRetryRequest").digest() + _SERVER_HELLO[38:]
RETRY_HELLO = crypto(0, _RETRY)


@pytest.mark.parametrize(
    ("datagram", "answered"),
    [
        pytest.param(answer(ACK + SERVER_HELLO, keys=DCID), True, id="ServerHello"),
        pytest.param(answer(SERVER_HELLO, keys=DCID, version=V2), True, id="in version 2"),
        pytest.param(answer(ACK, keys=DCID), False, id="ACK"),
        pytest.param(answer(CLOSE, keys=DCID), False, id="CONNECTION_CLOSE"),
        pytest.param(answer(b"\6\0\x09?", keys=DCID), False, id="broken"),
        pytest.param(answer(SERVER_HELLO, keys=OTHER), False, id="another connection"),
        pytest.param(whole(WHOLE), False, id="the client's own"),
        pytest.param(UNKNOWN, False, id="unknown version"),
        pytest.param(b"\x40" + bytes(30), False, id="short header"),
        pytest.param(b"", False, id="nothing"),
    ],
)
def test_answered_by_takes_an_answer_to_the_client_hello_alone(datagram, answered):
    initials = Initials()
    initials.add(whole(FRONT))
    assert not initials.answered_by(datagram)
    initials.add(whole(BACK, number=1))

    assert initials.answered_by(datagram) is answered


def test_answered_by_waits_for_the_second_hello_that_a_server_asks_for():
    initials = Initials()
    initials.add(whole(WHOLE))
    after = answer(crypto(len(_RETRY), _SERVER_HELLO), keys=DCID, number=1)

    assert not initials.answered_by(answer(RETRY_HELLO, keys=DCID))
    assert not initials.answered_by(after)
    initials.add(whole(crypto(len(HELLO), HELLO), number=1))
    assert not initials.answered_by(answer(ACK, keys=DCID, number=2))
    assert initials.answered_by(after)


def test_add_refuses_a_second_hello_with_another_name():
    initials = Initials()
    initials.add(whole(WHOLE))
    with pytest.raises(MalformedQuicError, match="another name"):
        initials.add(whole(crypto(len(HELLO), FALSE_HELLO), number=1))


def test_answered_by_takes_no_answer_to_a_client_hello_that_was_not_read():
    initials = Initials()
    initials.add(whole(WHOLE))
    initials.add(whole(FRONT, destination=OTHER))

    assert not initials.answered_by(answer(ACK, keys=OTHER))
    assert not initials.unread
    assert not initials.answered_by(answer(SERVER_HELLO, keys=OTHER))
    assert initials.unread
    assert initials.answered_by(answer(SERVER_HELLO, keys=DCID))


@pytest.mark.parametrize(
    ("datagram", "expected"),
    [
        pytest.param(whole(WHOLE), True, id="Initial"),
        pytest.param(whole(WHOLE, version=V2), True, id="Initial of version 2"),
        pytest.param(initial(PING), True, id="a small one"),
        pytest.param(ZERO_RTT, True, id="0-RTT"),
        pytest.param(ZERO_RTT_2, True, id="0-RTT of version 2"),
        pytest.param(whole(WHOLE, bits=0x40), True, id="greased by RFC 9287"),
        pytest.param(UNKNOWN, True, id="draft 29"),
        pytest.param(UNKNOWN.replace(b"\xff\0\0\x1d", GREASE.to_bytes(4)), True, id="GREASE"),
        pytest.param(UNKNOWN[:1199], False, id="small and unknown"),
        pytest.param(UNKNOWN[:5] + b"\7" + UNKNOWN[6:], False, id="short ID and unknown"),
        pytest.param(UNKNOWN[:5] + b"\x15" + UNKNOWN[6:], False, id="long ID and unknown"),
        pytest.param(whole(WHOLE, destination=b"d" * 21), False, id="long ID"),
        pytest.param(UNKNOWN.replace(b"\xff\0\0\x1d", bytes(4)), False, id="version 0"),
        pytest.param(b"\x80\x60\0\1\0" + bytes((12,)) * 1280, False, id="RTP"),
        pytest.param(HANDSHAKE, False, id="Handshake"),
        pytest.param(other(QuicPacketType.RETRY, version=V2), False, id="Retry"),
        pytest.param(b"\x40" * 1200, False, id="short header"),
        pytest.param(whole(WHOLE)[:6], False, id="six octets"),
        pytest.param(b"", False, id="nothing"),
    ],
)
def test_begins_tells_quic(datagram, expected):
    assert begins(datagram) is expected


OF_CLIENT = (
    whole(FRONT),
    ZERO_RTT + whole(BACK, number=1),
    whole(WHOLE, version=V2),
    UNKNOWN,
)
OF_SERVER = (
    answer(ACK + SERVER_HELLO, keys=DCID),
    answer(ACK, keys=DCID) + other(QuicPacketType.HANDSHAKE, destination=SCID),
)


def mutated(data, datagram):
    changed = bytearray(datagram)
    for _ in range(data.draw(st.integers(0, 4))):
        # The header more often than what would only no longer authenticate.
        place = data.draw(st.integers(0, 30) | st.integers(0, len(changed) - 1))
        changed[place] = data.draw(st.integers(0, 255))
    return bytes(changed[: data.draw(st.none() | st.integers(0, len(changed)))])


@given(st.data())
def test_mutated_datagrams_give_a_value_or_malformed(data):
    initials = Initials()
    for datagram in data.draw(st.lists(st.sampled_from(OF_CLIENT), max_size=5)):
        begins(changed := mutated(data, datagram))
        try:
            initials.add(changed)
        except MalformedQuicError:
            return
        initials.answered_by(mutated(data, data.draw(st.sampled_from(OF_SERVER))))


@given(st.binary(max_size=60))
def test_any_frames_give_a_value_or_malformed(frames):
    outcome([whole(frames)])
    outcome([whole(b"\6" + frames)])
    initials = Initials()
    initials.add(whole(WHOLE))
    initials.answered_by(answer(frames, keys=DCID))


@given(st.binary(max_size=80), st.sampled_from([b"", b"\xc0\0\0\0\1", b"\xd0\x6b\x33\x43\xcf"]))
def test_any_octets_give_a_value_or_malformed(octets, start):
    begins(start + octets)
    outcome([start + octets])
    Initials().answered_by(start + octets)
