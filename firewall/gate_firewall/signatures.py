"""Tells by its first octets which of the protocols that get round a filter a flow speaks.

Precise first: a false alarm cuts a lesson, so each signature rests on several fixed octets, on lengths that agree, or on
both. What looks like random octets by design (Shadowsocks, obfs4, encrypted BitTorrent) has none; only its lack of a
name tells.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final

from gate_firewall.hello import Hello

_MAGICS: Final = (
    (b"SSH-", "ssh"),  # RFC 4253, section 4.2
    (b"\x13BitTorrent protocol", "bittorrent"),  # BEP 3
    (b"\x00\x9c\x00\x01\x1a\x2b\x3c\x4d", "pptp"),  # RFC 2637, section 2.1
    (b"IKETCP", "ipsec"),  # RFC 9329, section 3
    # What these say under TLS, where something in front of them has taken that off.
    (b"SSTP_DUPLEX_POST ", "sstp"),
    (b"POST /vpnsvc/", "softether"),
)
_LONGEST_BANNER: Final = 2048
"""Octets of a server in which its SSH version is looked for; lines may stand before it (RFC 4253, section 4.2)."""

_QUERY_COUNTS: Final = (b"\0\1\0\0\0\0\0\0", b"\0\1\0\0\0\0\0\1")
"""One question, and at most one additional record."""
_NO_QUERY_FLAGS: Final = 0xFFFF & ~0x0130
"""All but recursion desired, authentic data and checking disabled (RFC 4035, sections 3.2.2 and 4.6)."""
_LONGEST_QUERY: Final = 512
_NETBIOS_PORT: Final = 137
"""NetBIOS names (RFC 1002): the same messages as DNS."""
_LOCAL_NAME_PORTS: Final = (5353, 5355)
"""Multicast DNS (RFC 6762) and LLMNR (RFC 4795): these too, but never with recursion desired."""

_OPENVPN_RESETS: Final = (0x38, 0x50)
"""P_CONTROL_HARD_RESET_CLIENT_V2 and _V3 with key 0."""
_OPENVPN_DIGESTS: Final = (16, 20, 28, 32, 48, 64)
"""Octets of the digests that tls-auth may use."""
_OPENVPN_WRAPPED: Final = 54
"""Octets of a first packet under tls-crypt; with version 2 the client's own key follows."""
_LONGEST_OPENVPN: Final = _OPENVPN_WRAPPED + 1024

_WARP_PORT: Final = 2408
_IPSEC_PORTS: Final = (500, 4500)
_IKE_EXCHANGES: Final = {0x10: (2, 4, 5, 6), 0x20: (34, 35, 36, 37, 43)}
"""By version: RFC 2408, section 3.1; RFC 7296, section 3.1, and RFC 9242."""
_L2TP_START: Final = bytes(8) + b"\x80\x08\0\0\0\0\0\1"
"""No ids and numbers yet; the mandatory attribute Message Type, SCCRQ."""
_TEAMVIEWER_PORT: Final = 5938
_TEAMVIEWER_MAGIC: Final = b"\x17\x24"
_ANYDESK_PORTS: Final = (6568, 7070)
_DOT_PORT: Final = 853
_TOR_PORT: Final = 9001

_ECH_PUBLIC_NAMES: Final = frozenset(("cloudflare-ech.com", "cover.defo.ie", "public.tls-ech.dev"))
"""What clients call their servers in the clear when they have an ECH configuration of these providers (RFC 9849, section 4)."""

# Tor makes a new name up for each connection; so do few others, but many an honest one has this form by chance.
_TOR_NAME: Final = re.compile(r"www\.([a-z2-7]{4,25})\.com")
_DIGITS: Final = re.compile(r"[2-7]+")
_UNSPEAKABLE: Final = re.compile(r"[^aeiouy]{5}")

_IP_PROTOCOLS: Final = {47: "pptp", 50: "ipsec", 51: "ipsec", 115: "l2tp"}


def of_stream(initiator: bytes, responder: bytes, port: int) -> str | None:
    """Return what a TCP connection shows that is neither TLS nor HTTP.

    Args:
        initiator: What its initiator has sent, from the first octet on.
        responder: The same of the other side.
        port: The responder's.

    Returns:
        Id of one of ``gate_core.protocols``; "" where it shows none; None while more octets could tell.
    """
    if responder.startswith(b"SSH-"):
        return "ssh"
    if not initiator:
        return _of_banner(responder)
    open_ = False
    for magic, protocol in _MAGICS:
        if initiator.startswith(magic):
            return protocol
        open_ = open_ or magic.startswith(initiator)
    for shape in _STREAM_SHAPES.get(initiator[0], ()):
        found = shape(initiator, responder, port)
        if found:
            return found
        open_ = open_ or found is None
    return None if open_ else ""


def of_datagram(payload: bytes, port: int) -> str:
    """Return what one of the first datagrams of a flow shows.

    Args:
        payload: The datagram's. An answer shows DNSCrypt and WireGuard as well.
        port: The responder's.

    Returns:
        Id of one of ``gate_core.protocols``; "" where it shows none.
    """
    if not payload:
        return ""
    shape = _DATAGRAM_SHAPES.get(payload[0])
    return (
        (shape is not None and shape(payload, port))
        or _query(payload, port)
        or _ipsec(payload, port)
        or _zerotier(payload)
    )


_OF_THE_WEB: Final = frozenset((b"http/1.1", b"h2", b"h3"))


def of_hello(hello: Hello, port: int) -> str:
    """Return what a ClientHello shows, of TLS or QUIC, besides its name.

    Args:
        hello: As read.
        port: The responder's.

    Returns:
        Id of one of ``gate_core.protocols``; "" where it shows none.
    """
    if not _OF_THE_WEB.issuperset(hello.alpn):
        # RFC 9250, and its drafts with a number.
        if any(alpn.startswith(b"doq") for alpn in hello.alpn):
            return "doq"
        if b"dot" in hello.alpn:
            return "dot"
    if port == _DOT_PORT:
        return "dot"
    # One that is GREASE stands beside the name of the server itself.
    if hello.ech and hello.name in _ECH_PUBLIC_NAMES:
        return "ech"
    if port in _ANYDESK_PORTS and not hello.name:
        return "anydesk"
    return "tor" if not hello.alpn and _is_made_up(hello.name, port) else ""


def of_ip_protocol(number: int) -> str:
    """Return what packets of an IP protocol other than TCP and UDP show: GRE, ESP, AH, L2TP; "" for all else."""
    return _IP_PROTOCOLS.get(number, "")


def _is_made_up(name: str, port: int) -> bool:
    """Tell whether Tor made ``name`` up: 4 to 25 random characters of base32 (version 0.4.9)."""
    match = _TOR_NAME.fullmatch(name)
    if match is None:
        return False
    if port == _TOR_PORT:
        return True
    # Of random names 56 % are like this; of 202,000 of the form on block lists, 1 in 760, most of them random as well.
    return len(_DIGITS.findall(match[1])) >= 2 and _UNSPEAKABLE.search(match[1]) is not None


def _of_banner(responder: bytes) -> str | None:
    """Tell SSH, whose server may say something else first."""
    if b"\nSSH-" in responder[:_LONGEST_BANNER]:
        return "ssh"
    return None if b"SSH-".startswith(responder) else ""


def _framed(initiator: bytes, _responder: bytes, port: int) -> str | None:
    """Tell OpenVPN and DNS by their first message, which its length in two octets precedes."""
    if len(initiator) < 3:
        return None
    length = int.from_bytes(initiator[:2])
    message = initiator[2 : 2 + length]
    if len(message) == length:
        return _openvpn(message, port) or _query(message, port)
    could_be_openvpn = initiator[2] in _OPENVPN_RESETS and 14 <= length <= _LONGEST_OPENVPN
    could_be_query = (
        17 <= length <= _LONGEST_QUERY
        and not int.from_bytes(message[2:4].ljust(2, b"\0")) & _NO_QUERY_FLAGS
        and any(counts.startswith(message[4:12]) for counts in _QUERY_COUNTS)
    )
    return None if could_be_openvpn or could_be_query else ""


def _rdp(initiator: bytes, _responder: bytes, _port: int) -> str | None:
    """MS-RDPBCGR, section 2.2.1.1: TPKT, a connection request of X.224, then a cookie, a negotiation, or nothing."""
    if not b"\3\0".startswith(initiator[:2]) or initiator[5:6] not in (b"", b"\xe0"):
        return ""
    if len(initiator) < 11:
        return None
    length = int.from_bytes(initiator[2:4])
    if initiator[4] != length - 5 or initiator[6:8] != b"\0\0" or initiator[10]:
        return ""
    rest = initiator[11:length]
    # S7 and others on the same transport have parameters of X.224 here.
    is_negotiation = rest[:1] == b"\1" and rest[2:4] == b"\x08\0"
    if length == 11 or is_negotiation or rest.startswith(b"Cookie: "):
        return "rdp"
    complete = len(rest) >= 8 or len(initiator) >= length
    return "" if complete or rest[:1] not in (b"", b"\1", b"C") else None


def _socks4(initiator: bytes, _responder: bytes, _port: int) -> str | None:
    """Tell the request of SOCKS 4 or 4a: command, port, address, user id, and where that has none, the name."""
    if initiator[1:2] not in (b"", b"\1", b"\2") or initiator[2:4] == b"\0\0":
        return ""
    texts = 2 if initiator[4:7] == b"\0\0\0" else 1
    *ended, rest = initiator[8:].split(b"\0")
    if len(ended) > texts or any(not text.isascii() for text in (*ended, rest)):
        return ""
    if len(ended) < texts:
        return None if len(initiator) < 300 else ""
    return "" if rest else "socks"


def _socks5(initiator: bytes, _responder: bytes, _port: int) -> str | None:
    """RFC 1928, section 3: the methods offered, each once; some clients send their request along."""
    methods = initiator[2 : 2 + initiator[1]] if len(initiator) > 1 else b""
    if len(set(methods)) < len(methods) or any(method > 9 for method in methods):
        return ""
    if len(initiator) < 2 or len(methods) < initiator[1]:
        return None
    behind = initiator[2 + len(methods) :]
    return "socks" if methods and behind[:1] in (b"", b"\1", b"\5") else ""


def _teamviewer(initiator: bytes, responder: bytes, port: int) -> str | None:
    """Tell its magic; two octets are few, so that on other ports than its own the answer must begin with them too."""
    sides = (initiator[:2],) if port == _TEAMVIEWER_PORT else (initiator[:2], responder[:2])
    if all(side == _TEAMVIEWER_MAGIC for side in sides):
        return "teamviewer"
    return None if all(_TEAMVIEWER_MAGIC.startswith(side) for side in sides) else ""


_STREAM_SHAPES: Final[dict[int, tuple[Callable[[bytes, bytes, int], str | None], ...]]] = {
    0x00: (_framed,),
    0x01: (_framed,),
    0x02: (_framed,),
    0x03: (_framed, _rdp),
    0x04: (_framed, _socks4),
    0x05: (_socks5,),
    0x17: (_teamviewer,),
}
"""By the first octet of the initiator."""


def _query(message: bytes, port: int) -> str:
    """Tell a DNS query as stub resolvers send it: flags, counts, name, class, and nothing behind but EDNS."""
    if message[4:12] not in _QUERY_COUNTS or int.from_bytes(message[2:4]) & _NO_QUERY_FLAGS:
        return ""
    if port == _NETBIOS_PORT or (port in _LOCAL_NAME_PORTS and not message[2] & 1):
        return ""
    place = 12
    while place < len(message) and 0 < message[place] < 64:
        place += 1 + message[place]
    end = place + 5  # the root, type and class
    if message[place : place + 1] != b"\0" or place > 12 + 254 or message[end - 2 : end] != b"\0\1":
        return ""
    behind = message[end:]
    if not (_is_edns(behind) if message[11] else behind == b""):
        return ""
    # What DNSCrypt asks for first, the certificate: the text of a name that begins with the version of the protocol.
    is_certificate = message[12:14] == b"\x012" and message[end - 4 : end - 2] == b"\0\x10"
    return "dnscrypt" if is_certificate else "dns"


def _is_edns(record: bytes) -> bool:
    """RFC 6891, section 6.1.2: the root as owner, type 41, which dnscrypt-proxy leaves at 0, and a length that agrees."""
    is_opt = record[:3] in (b"\0\0\x29", b"\0\0\0")
    return is_opt and int.from_bytes(record[9:11]) == len(record) - 11


def _openvpn(packet: bytes, _port: int) -> str:
    """Tell the first packet of an OpenVPN client: session id, then by ``tls-auth``, ``tls-crypt`` or neither."""
    length = len(packet)
    if length < 14 or packet[0] not in _OPENVPN_RESETS or bytes(2) in packet[1:9]:
        return ""
    # Nothing to acknowledge, packet 0.
    if packet[0] == _OPENVPN_RESETS[0] and packet[-5:] == bytes(5):
        with_digest = length - 22 in _OPENVPN_DIGESTS and _is_replay_id(packet[-13:-9])
        return "openvpn" if length == 14 or with_digest else ""
    if not _is_replay_id(packet[9:13]):
        return ""
    # With version 2 of tls-crypt, the client's own key is behind, and the length of that at its end.
    key = int.from_bytes(packet[-2:]) if packet[0] == _OPENVPN_RESETS[1] else 0
    return "openvpn" if length == _OPENVPN_WRAPPED + key else ""


def _is_replay_id(octets: bytes) -> bool:
    """Tell whether these are the number of one of the first packets.

    Version 2.6 counts from 0x0f000000 under the second tls-crypt, versions before its release from 0x0a010000.
    """
    return octets[:3] in (b"\0\0\0", b"\x0f\0\0", b"\x0a\x01\0") and octets[3] > 0


def _wireguard(payload: bytes, port: int) -> str:
    """Tell a message of WireGuard by type, length and what is zero in it; WARP puts a client's id in there."""
    length = len(payload)
    reserved = payload[1:4]
    match payload[0], length:
        case (1, 148) | (2, 92):
            # The last field of a handshake is zero but under load.
            fits = bytes(3) in (reserved, payload[-16:-13])
            noise = payload[12:-16]
        case 4, _:
            # Data of a session that is older than the flow: the counter is far from its end.
            fits = length >= 32 and length % 16 == 0 and payload[12:16] == bytes(4)
            fits = fits and (reserved == bytes(3) or port == _WARP_PORT)
            noise = payload[16:]
        case _:
            return ""
    # What is encrypted has no gaps; many a record of fixed size has.
    if not fits or bytes(3) in noise:
        return ""
    return "wireguard" if reserved == bytes(3) and port != _WARP_PORT else "warp"


def _ipsec(payload: bytes, port: int) -> str:
    """Tell IKE by its header and length on any port; on port 4500, what else it carries (RFC 3948)."""
    # RFC 3948, section 2.2: four zeros where ESP has its SPI.
    message = payload[4:] if payload[:4] == bytes(4) else payload
    if len(message) >= 28 and int.from_bytes(message[24:28]) == len(message):
        first = message[8:16] == bytes(8) and message[20:24] == bytes(4)
        if message[18] in _IKE_EXCHANGES.get(message[17], ()) and (first or port in _IPSEC_PORTS):
            return "ipsec"
    if port != 4500 or message is not payload:
        return ""
    # ESP counts from 1 (RFC 4303, section 2.2); a lone 0xff keeps the translation of addresses alive.
    is_esp = (
        len(payload) >= 32
        and len(payload) % 4 == 0
        and 0 < int.from_bytes(payload[4:8]) < 2**16
        and bytes(3) not in payload[8:]
    )
    return "ipsec" if is_esp or payload == b"\xff" else ""


def _l2tp(payload: bytes, _port: int) -> str:
    """RFC 2661, section 6.1, and RFC 3931: the first control message, whose type comes first."""
    is_first = payload[1:2] in (b"\2", b"\3") and payload[4:20] == _L2TP_START
    return "l2tp" if is_first and int.from_bytes(payload[2:4]) == len(payload) else ""


def _zerotier(payload: bytes) -> str:
    """Tell HELLO, which alone is not encrypted: the sender stands in its header and again in its identity."""
    if len(payload) < 112 or payload[41:46] != payload[13:18] or payload[8:13] == payload[13:18]:
        return ""
    is_hello = payload[18] < 8 and payload[27] & 0x1F == 1
    # Versions 1 and 2; a time in milliseconds has six octets at most.
    is_likely = payload[29] in (1, 2) and payload[33:35] == bytes(2) and payload[46] < 2
    return "zerotier" if is_hello and is_likely else ""


def _tailscale(payload: bytes, _port: int) -> str:
    """Tell a message by which Tailscale looks for ways: magic, key, nonce and box."""
    return "tailscale" if payload.startswith("TS💬".encode()) and len(payload) >= 78 else ""


def _zero_first(payload: bytes, port: int) -> str:
    """Tell those whose messages begin with a zero: trackers of BitTorrent, Tailscale, SoftEther, TeamViewer."""
    if payload[:12] == b"\0\0\x04\x17\x27\x10\x19\x80\0\0\0\0" and len(payload) == 16:  # BEP 15
        return "bittorrent"
    # A binding request of STUN, as all that makes calls sends it, but with its SOFTWARE attribute.
    if payload[4:8] == b"\x21\x12\xa4\x42" and payload[20:32] == b"\x80\x22\0\x08tailnode":
        return "tailscale"
    if payload[4:14] == b"\0\0\0\x07opcode":  # SoftEther asks for a way through address translation
        return "softether"
    is_first = port == _TEAMVIEWER_PORT or payload[:10] == bytes(10)
    return "teamviewer" if is_first and payload[11:13] == _TEAMVIEWER_MAGIC else ""


def _utp(payload: bytes, _port: int) -> str:
    """BEP 29: ST_SYN, to which nothing came before; with or without the extension of eight bits."""
    extension = payload[20:22] == b"\0\x08" and len(payload) == 30
    if payload[1:2] != (b"\2" if extension else b"\0") or not (extension or len(payload) == 20):
        return ""
    is_first = payload[8:12] == bytes(4) and payload[18:20] == bytes(2)
    # Connection and time are rarely round; many a record of fixed size is.
    return "bittorrent" if is_first and bytes(2) not in payload[2:8] else ""


def _dht(payload: bytes, _port: int) -> str:
    """BEP 5: a query, an answer or an error, all bencoded."""
    begins = payload.startswith((b"d1:ad", b"d1:rd", b"d1:el", b"d2:ip"))
    return "bittorrent" if begins and b"1:y1:" in payload and payload[-1:] == b"e" else ""


def _dnscrypt_answer(payload: bytes, _port: int) -> str:
    """DNSCrypt, version 2: what queries begin with differs for each resolver, what answers begin with does not."""
    return "dnscrypt" if payload.startswith(b"r6fnvWj8") else ""


def _rdp_datagram(payload: bytes, _port: int) -> str:
    """MS-RDPEUDP, section 3.1.5.1.1: SYN, nothing acknowledged, filled up to 1232 octets, and both sizes near it."""
    if len(payload) != 1232 or payload[:4] != b"\xff\xff\xff\xff" or not payload[7] & 1:
        return ""
    sizes = (int.from_bytes(payload[12:14]), int.from_bytes(payload[14:16]))
    return "rdp" if all(1132 <= size <= 1232 for size in sizes) else ""


_DATAGRAM_SHAPES: Final[dict[int, Callable[[bytes, int], str]]] = {
    0x00: _zero_first,
    0x01: _wireguard,
    0x02: _wireguard,
    0x04: _wireguard,
    0x38: _openvpn,
    0x41: _utp,
    0x50: _openvpn,
    0x54: _tailscale,
    0x64: _dht,
    0x72: _dnscrypt_answer,
    0xC8: _l2tp,
    0xFF: _rdp_datagram,
}
"""By the first octet; what begins with a random one is looked at afterwards."""

RESOLVERS: Final = frozenset(
    ip_address(address).packed
    for addresses in (
        # Cloudflare, with its two filtering services and NAT64
        "1.1.1.1 1.0.0.1 1.1.1.2 1.0.0.2 1.1.1.3 1.0.0.3",
        "2606:4700:4700::1111 2606:4700:4700::1001 2606:4700:4700::64 2606:4700:4700::6400",
        "2606:4700:4700::1112 2606:4700:4700::1002 2606:4700:4700::1113 2606:4700:4700::1003",
        # Google
        "8.8.8.8 8.8.4.4 2001:4860:4860::8888 2001:4860:4860::8844",
        "2001:4860:4860::64 2001:4860:4860::6464",
        # Quad9
        "9.9.9.9 9.9.9.10 9.9.9.11 9.9.9.12",
        "149.112.112.112 149.112.112.9 149.112.112.10 149.112.112.11 149.112.112.12",
        "2620:fe::fe 2620:fe::9 2620:fe::10 2620:fe::11 2620:fe::12",
        "2620:fe::fe:9 2620:fe::fe:10 2620:fe::fe:11 2620:fe::fe:12",
        # AdGuard
        "94.140.14.14 94.140.15.15 94.140.14.15 94.140.15.16 94.140.14.140 94.140.14.141",
        "2a10:50c0::ad1:ff 2a10:50c0::ad2:ff 2a10:50c0::bad1:ff 2a10:50c0::bad2:ff",
        "2a10:50c0::1:ff 2a10:50c0::2:ff",
        # OpenDNS
        "208.67.222.222 208.67.220.220 208.67.222.123 208.67.220.123 208.67.222.2 208.67.220.2",
        "146.112.41.2 2620:119:fc::2 2620:119:35::35 2620:119:53::53",
        "2620:119:35::123 2620:119:53::123",
        # CleanBrowsing
        "185.228.168.9 185.228.168.10 185.228.168.168 185.228.169.9 185.228.169.11 185.228.169.168",
        "2a0d:2a00:1:: 2a0d:2a00:1::1 2a0d:2a00:1::2 2a0d:2a00:2:: 2a0d:2a00:2::1 2a0d:2a00:2::2",
        # Control D
        "76.76.2.0 76.76.2.1 76.76.2.2 76.76.2.3 76.76.2.4 76.76.2.5 76.76.2.11",
        "76.76.10.0 76.76.10.1 76.76.10.2 76.76.10.3 76.76.10.4 76.76.10.5 76.76.10.11",
        "2606:1a40:: 2606:1a40::1 2606:1a40::2 2606:1a40::3 2606:1a40::4 2606:1a40::5",
        "2606:1a40:1:: 2606:1a40:1::1 2606:1a40:1::2 2606:1a40:1::3 2606:1a40:1::4 2606:1a40:1::5",
        # Mullvad
        "194.242.2.2 194.242.2.3 194.242.2.4 194.242.2.5 194.242.2.6 194.242.2.9",
        "2a07:e340::2 2a07:e340::3 2a07:e340::4 2a07:e340::5 2a07:e340::6 2a07:e340::9",
        # NextDNS, the addresses that need no account
        "45.90.28.0 45.90.30.0 2a07:a8c0:: 2a07:a8c1::",
        # DNS4EU
        "86.54.11.1 86.54.11.100 2a13:1001::86:54:11:1 2a13:1001::86:54:11:100",
        # Canadian Shield
        "149.112.121.10 149.112.121.20 149.112.121.30 149.112.122.10 149.112.122.20 149.112.122.30",
        "2620:10a:80bb::10 2620:10a:80bb::20 2620:10a:80bb::30",
        "2620:10a:80bc::10 2620:10a:80bc::20 2620:10a:80bc::30",
        # Alibaba, Hurricane Electric, Wikimedia, Digitale Gesellschaft, UncensoredDNS, IIJ
        "223.5.5.5 223.6.6.6 74.82.42.42 185.71.138.138 185.95.218.42 185.95.218.43",
        "2a05:fc84::42 2a05:fc84::43 91.239.100.100 89.233.43.71 103.2.57.5",
    )
    for address in addresses.split()
)
"""Addresses, in 4 or 16 octets, of public resolvers that serve DNS over HTTPS on port 443 under their own address.

None of them is an address of a content network, which would serve other names as well.
"""
