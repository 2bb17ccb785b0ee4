import json
import random
from ipaddress import ip_address
from pathlib import Path

import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate_core.protocols import BY_ID
from gate_firewall.hello import Hello, read_records
from gate_firewall.signatures import RESOLVERS, of_datagram, of_hello, of_ip_protocol, of_stream

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/protocols.json").read_text())
"""What real programs sent first; see the README beside the file."""

ANY_PORT = 7777


def vectors(kind):
    return [
        pytest.param(
            v["protocol"], bytes.fromhex(v["octets"]), v["port"], id=f"{v['origin']} {v['port']}"
        )
        for v in VECTORS
        if v["kind"] == kind
    ]


@pytest.mark.parametrize(("protocol", "octets", "port"), vectors("datagram"))
def test_of_datagram_tells_what_real_programs_sent(protocol, octets, port):
    assert of_datagram(octets, port) == protocol


@pytest.mark.parametrize(("protocol", "octets", "port"), vectors("initiator"))
def test_of_stream_tells_what_real_programs_sent(protocol, octets, port):
    assert of_stream(octets, b"", port) == protocol


@pytest.mark.parametrize(("protocol", "octets", "port"), vectors("initiator"))
def test_of_stream_says_nothing_wrong_before_all_has_come(protocol, octets, port):
    found = [of_stream(octets[:end], b"", port) for end in range(len(octets))]

    assert set(found) <= {None, protocol}
    # Once it is told, it stays so.
    assert found == sorted(found, key=lambda f: f is not None)


@pytest.mark.parametrize(("protocol", "octets", "port"), vectors("responder"))
def test_of_stream_tells_what_real_servers_say_first(protocol, octets, port):
    assert of_stream(b"", octets, port) == protocol


@pytest.mark.parametrize(("protocol", "octets", "port"), vectors("hello"))
def test_of_hello_tells_what_real_programs_sent(protocol, octets, port):
    assert of_hello(read_records(octets), port) == protocol


def test_protocols_are_known_to_the_policy():
    assert {v["protocol"] for v in VECTORS if v["protocol"]} <= set(BY_ID)


# What no program at hand sends, by the public descriptions.

PUBLIC_KEY = bytes(range(100, 132))
WIREGUARD = b"\1\0\0\0" + bytes(range(1, 129)) + bytes(16)
STUN = b"\0\1\0\0\x21\x12\xa4\x42" + bytes(range(12))
TAILSCALE_STUN = (
    b"\0\1\0\x14\x21\x12\xa4\x42" + bytes(range(12)) + b"\x80\x22\0\x08tailnode\x80\x28\0\4crc!"
)
ZEROTIER = (
    bytes(range(8))  # packet id
    + b"\x11\x22\x33\x44\x55"  # destination
    + b"\x66\x77\x88\x99\xaa"  # source
    + b"\0"  # flags, cipher, hops
    + bytes(range(8))  # MAC
    + b"\x01\x0c\x01\x0e\0\0"  # verb HELLO, versions
    + b"\0\0\x01\x90\0\0\0\0"  # time
    + b"\x66\x77\x88\x99\xaa\0"  # identity
    + bytes(65)
)
RDP_SYN = b"\xff\xff\xff\xff\0\x40\0\1\0\1\2\3\x04\xd0\x04\xd0".ljust(1232, b"\0")
IKE_AUTH = bytes(range(1, 17)) + b"\x2e\x20\x23\x08\0\0\0\1\0\0\0\x40" + bytes(36)
ESP = b"\xc0\xff\xee\1\0\0\0\1" + bytes(range(56))


@pytest.mark.parametrize(
    ("protocol", "payload", "port"),
    [
        pytest.param("wireguard", WIREGUARD, 53, id="WireGuard on another port"),
        pytest.param(
            "wireguard",
            WIREGUARD[:-16] + bytes(range(1, 17)),
            ANY_PORT,
            id="WireGuard, server under load",
        ),
        pytest.param("warp", WIREGUARD, 2408, id="WARP without a client id"),
        pytest.param("warp", b"\1\xab\xcd\xef" + WIREGUARD[4:], 4500, id="WARP with its client id"),
        pytest.param("tailscale", "TS💬".encode() + PUBLIC_KEY * 3, 41641, id="Tailscale disco"),
        pytest.param("tailscale", TAILSCALE_STUN, 3478, id="Tailscale STUN"),
        pytest.param("zerotier", ZEROTIER, 9993, id="ZeroTier HELLO"),
        pytest.param("rdp", RDP_SYN, 3389, id="RDP over UDP"),
        pytest.param("ipsec", bytes(4) + IKE_AUTH, 4500, id="IKE continued on 4500"),
        pytest.param("ipsec", ESP, 4500, id="ESP in UDP"),
        pytest.param("ipsec", b"\xff", 4500, id="NAT keepalive"),
        pytest.param(
            "l2tp",
            b"\xc8\x03\0\x14" + bytes(8) + b"\x80\x08\0\0\0\0\0\1",
            ANY_PORT,
            id="L2TPv3",
        ),
        pytest.param(
            "softether",
            b"\0\0\0\3\0\0\0\7opcode\0\0\0\2\0\0\0\1\0\0\0\x09get_token",
            5004,
            id="SoftEther NAT traversal",
        ),
        pytest.param(
            "teamviewer", bytes(10) + b"\3\x17\x24\x47\x50\0\5" + bytes(79), 36037, id="TeamViewer"
        ),
        pytest.param("dnscrypt", b"r6fnvWj8" + PUBLIC_KEY * 2, 443, id="DNSCrypt answer"),
        pytest.param("bittorrent", b"d2:ip6:\1\2\3\4\5\0061:rd2:id20:" + bytes(20) + b"e1:t1:a1:y1:re", 6881, id="DHT answer"),
    ],
)  # fmt: skip
def test_of_datagram_tells_what_is_described(protocol, payload, port):
    assert of_datagram(payload, port) == protocol


@pytest.mark.parametrize(
    ("payload", "port"),
    [
        pytest.param(STUN, 3478, id="STUN of calls"),
        pytest.param(
            b"\0\1\0\x0c\x21\x12\xa4\x42" + bytes(12) + b"\x80\x22\0\x08WhatsApp", 3478, id="SOFTWARE"
        ),
        pytest.param(b"\x40\0\0\x64" + bytes(100), 3478, id="ChannelData"),
        pytest.param(b"\x90\x6f\0\1" + bytes(160), 3479, id="RTP with extension"),
        pytest.param(b"\5\x10\1\0\0\0\x0c" + bytes(120), 8801, id="Zoom"),
        pytest.param(b"\1\0\0\0" + bytes(range(1, 120)), 8801, id="as WireGuard, other length"),
        pytest.param(b"\1\2\3\4" + bytes(range(1, 145)), 8801, id="as WARP, last field used"),
        pytest.param(b"\1\0\0\0" + bytes(144), 27015, id="as WireGuard, a record with gaps"),
        pytest.param(b"\4\0\0\0\7" + bytes(59), 27015, id="as data, a record with gaps"),
        pytest.param(b"\1a" * 130, 27015, id="as ZeroTier, a pattern"),
        pytest.param(b"A" + bytes(19), 27015, id="as uTP, a record with gaps"),
        pytest.param(b"8\1" + bytes(12), 27015, id="as OpenVPN, a record with gaps"),
        pytest.param(b"PLAYERJOI" + bytes(5), 27015, id="as OpenVPN, text"),
        pytest.param(b"\4\0\0\0" + bytes(range(1, 61)), ANY_PORT, id="as data, high counter"),
        pytest.param(ESP, ANY_PORT, id="as ESP on another port"),
        pytest.param(b"\xff", 443, id="as NAT keepalive on another port"),
        pytest.param(bytes(4) + IKE_AUTH, 3479, id="as IKE, continued on another port"),
        pytest.param(bytes(148), ANY_PORT, id="zeros"),
        pytest.param(bytes(16), 4500, id="zeros on 4500"),
        pytest.param(b"M-SEARCH * HTTP/1.1\r\nMAN: \"ssdp:discover\"\r\n\r\n", 1900, id="SSDP"),
        pytest.param(b"\x38" + bytes(41), 5684, id="as OpenVPN, packet 0"),
        pytest.param(b"d1:ad2:id20:", 6881, id="as DHT, cut short"),
        pytest.param(b"\xff\xff\xff\xffgetinfo xxx", 27960, id="Quake"),
        pytest.param(b"", ANY_PORT, id="empty"),
    ],
)  # fmt: skip
def test_of_datagram_lets_others_pass(payload, port):
    assert of_datagram(payload, port) == ""


def query(name="www.example.org", rdtype="A", **options):
    return dns.message.make_query(name, rdtype, **options).to_wire()


def test_of_datagram_tells_queries_on_any_port():
    assert of_datagram(query(), 8053) == "dns"
    assert of_datagram(query(use_edns=0, payload=1232, want_dnssec=True), 443) == "dns"
    assert of_datagram(query("."), 5353) == "dns"
    assert of_datagram(query("2.dnscrypt-cert.example.org", "TXT", use_edns=0, pad=128), 443) == (
        "dnscrypt"
    )


@pytest.mark.parametrize("end", range(len(query())))
def test_of_datagram_needs_the_whole_query(end):
    assert of_datagram(query()[:end], 8053) == ""


@pytest.mark.parametrize(
    ("message", "port"),
    [
        pytest.param(dns.message.make_response(dns.message.make_query("a.example", "A")).to_wire(), 8053, id="response"),
        pytest.param(query() + b"x", 8053, id="octets behind it"),
        pytest.param(query(use_edns=0) + b"x", 8053, id="octets behind EDNS"),
        pytest.param(query(rdclass="CH"), 8053, id="another class"),
        pytest.param(query("printer.local", flags=0), 5353, id="multicast DNS"),
        pytest.param(query("printer", flags=0), 5355, id="LLMNR"),
        pytest.param(query("CKAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", 33), 137, id="NetBIOS name"),
        pytest.param(query().replace(b"\3www", b"\xc0\x0cww"), 8053, id="pointer as a name"),
        pytest.param(bytes(4) + b"\0\1" + bytes(6) + b"\1a" * 130 + b"\0\0\1\0\1", 8053, id="name too long"),
    ],
)  # fmt: skip
def test_of_datagram_lets_what_only_looks_like_a_query_pass(message, port):
    assert of_datagram(message, port) == ""


@pytest.mark.parametrize(
    ("protocol", "initiator", "responder", "port"),
    [
        pytest.param("ssh", b"", b"hello\r\nSSH-2.0-x\r\n", 22, id="SSH behind other lines"),
        pytest.param("ssh", b"junk", b"SSH-2.0-x\r\n", 443, id="SSH server, whatever was sent"),
        pytest.param("socks", b"\5\1\0\5\1\0\3\x0bexample.org\0\x50", b"", 443, id="SOCKS 5 at once"),
        pytest.param("ipsec", b"IKETCP\0\0", b"", 4500, id="IKE over TCP"),
        pytest.param("rdp", b"\3\0\0\x0b\6\xe0\0\0\0\0\0", b"", 3389, id="RDP of version 4"),
        pytest.param("rdp", b"\3\0\0\x13\x0e\xe0\0\0\0\0\0\1\0\x08\0\3\0\0\0", b"", 443, id="RDP negotiation"),
        pytest.param("teamviewer", b"\x17\x24\x0a\x20", b"", 5938, id="TeamViewer"),
        pytest.param("teamviewer", b"\x17\x24\x0a\x20", b"\x17\x24\x0a\x20", 443, id="TeamViewer, both ways"),
        pytest.param("dns", len(query()).to_bytes(2) + query() * 2, b"", 8053, id="queries behind one another"),
        pytest.param("", b"", b"220 mail.example.org ESMTP\r\n", 25, id="SMTP"),
        pytest.param("", b"", b"RFB 003.008\n", 5900, id="VNC"),
        pytest.param("", b"\x17\x24\x0a\x20", b"HTTP", 443, id="as TeamViewer, another answer"),
        pytest.param("", b"\5\0\x0b\3\x10\0\0\0", b"", 135, id="DCE/RPC"),
        pytest.param("", b"\3\0\0\x16\x11\xe0\0\0\0\1\0\xc0\1\x0a\xc1\2\1\0\xc2\2\1\2", b"", 102, id="S7"),
        pytest.param("", b"\0\3\0\1" + bytes(12), b"", 548, id="AFP"),
        pytest.param("", b"\4\1\0\x50\xc0\0\2\x09\0tail", b"", 1080, id="as SOCKS 4, with more behind"),
        pytest.param("", b"\0\x9c\0\1\x1a\x2b\x3c\x4e" + bytes(148), b"", 1723, id="as PPTP, another magic"),
    ],
)  # fmt: skip
def test_of_stream_by_either_side(protocol, initiator, responder, port):
    assert of_stream(initiator, responder, port) == protocol


@pytest.mark.parametrize(
    ("initiator", "responder"),
    [(b"", b""), (b"", b"SS"), (b"S", b""), (b"\x17", b""), (b"\x17\x24", b"\x17"), (b"\0", b"")],
)
def test_of_stream_waits_while_more_could_tell(initiator, responder):
    assert of_stream(initiator, responder, 443) is None


@pytest.mark.parametrize(
    ("protocol", "hello", "port"),
    [
        ("dot", Hello("dns.example"), 853),
        ("dot", Hello("www.example.org", (b"dot",)), 443),
        ("doq", Hello("dns.example", (b"doq",)), 853),
        ("doq", Hello("dns.example", (b"doq-i11",)), 8853),
        ("tor", Hello("www.ct7ctrgb6cr7.com"), 443),
        ("tor", Hello("www.gomfxlrs.com"), 9001),
        ("anydesk", Hello(""), 7070),
        ("", Hello("www.ct7ctrgb6cr7.com", (b"h2", b"http/1.1")), 443),
        ("", Hello("www.ct7ctrgb6cr7.org"), 443),
        ("", Hello("www.amazon.com"), 443),
        ("", Hello("www.office365.com"), 443),
        ("", Hello("www.nightschool.com"), 443),
        ("", Hello("relay.example", ()), 7070),
        ("", Hello("teams.microsoft.com", (b"h2",), ech=True), 443),
        ("ech", Hello("cloudflare-ech.com", (b"h2",), ech=True), 443),
        ("", Hello("cloudflare-ech.com", (b"h2",)), 443),
        ("doq", Hello("cloudflare-ech.com", (b"doq",), ech=True), 443),
        ("", Hello("", ()), 443),
    ],
)
def test_of_hello_by_what_it_offers(protocol, hello, port):
    assert of_hello(hello, port) == protocol


@pytest.mark.parametrize(
    ("number", "protocol"), [(47, "pptp"), (50, "ipsec"), (51, "ipsec"), (115, "l2tp"), (1, ""), (132, "")]
)  # fmt: skip
def test_of_ip_protocol(number, protocol):
    assert of_ip_protocol(number) == protocol


def test_resolvers_are_public_addresses():
    assert ip_address("1.1.1.1").packed in RESOLVERS
    assert ip_address("2001:4860:4860::8844").packed in RESOLVERS
    assert all(ip_address(address).is_global for address in RESOLVERS)


@given(st.binary(max_size=1500), st.integers(0, 65535))
def test_of_datagram_of_any_octets_is_a_protocol_or_none(payload, port):
    assert of_datagram(payload, port) in {"", *BY_ID}


@given(st.binary(max_size=1500), st.binary(max_size=100), st.integers(0, 65535))
def test_of_stream_of_any_octets_is_a_protocol_none_or_open(initiator, responder, port):
    assert of_stream(initiator, responder, port) in {None, "", *BY_ID}


@given(st.binary(min_size=4, max_size=40))
def test_of_stream_does_not_wait_for_ever(initiator):
    assert of_stream(initiator.ljust(1500, initiator[-1:]), b"answered", 443) is not None


def test_random_octets_show_nothing():
    chance = random.Random(5)  # noqa: S311 - the same each time
    ports = (443, 500, 1701, 2408, 3478, 4500, 5353, 5938, 27015)
    found = [
        (length, port, protocol)
        for length in range(1, 201)
        for port in ports
        for _ in range(10)
        if (protocol := of_datagram(chance.randbytes(length), port))
    ]

    assert found == []
