"""Protocols that the packet classifier tells apart, and the category that decides about each.

A protocol seen in packets is decided by the row of its category: to block VPN services blocks their names and their
packets alike. Named are those that get round a name-based filter, and those that the table itself speaks of. Not named are
those that show nothing by design (Psiphon, Shadowsocks, V2Ray): whoever may reach only what was asked for by name does without.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gate_core.categories import BY_ID as CATEGORIES_BY_ID


@dataclass(frozen=True, slots=True)
class Protocol:
    """One protocol, whatever the port it is spoken on."""

    id: str
    title: str
    category: str
    """Id of the category that decides about it."""


PROTOCOLS: Final = (
    Protocol("wireguard", "WireGuard", "vpn"),
    Protocol("openvpn", "OpenVPN", "vpn"),
    Protocol("ipsec", "IPsec and IKE", "vpn"),
    Protocol("l2tp", "L2TP", "vpn"),
    Protocol("pptp", "PPTP and GRE", "vpn"),
    Protocol("sstp", "SSTP", "vpn"),
    Protocol("softether", "SoftEther", "vpn"),
    Protocol("tailscale", "Tailscale", "vpn"),
    Protocol("zerotier", "ZeroTier", "vpn"),
    Protocol("warp", "Cloudflare WARP", "vpn"),
    Protocol("tor", "Tor", "tor"),
    Protocol("dot", "DNS over TLS", "encrypted-dns"),
    Protocol("doq", "DNS over QUIC", "encrypted-dns"),
    Protocol("doh", "DNS over HTTPS", "encrypted-dns"),
    Protocol("dnscrypt", "DNSCrypt", "encrypted-dns"),
    # Not encrypted, but for the same end: a resolver on another port than 53 is asked past ours.
    Protocol("dns", "DNS on other ports", "encrypted-dns"),
    Protocol("http-proxy", "HTTP proxy (CONNECT)", "proxy"),
    Protocol("socks", "SOCKS proxy", "proxy"),
    # Where it is real, the server that the connection is for has another name, which nobody can read.
    Protocol("ech", "Encrypted ClientHello (ECH)", "proxy"),
    # With one option, an SSH client is a SOCKS proxy on the pupil's own machine.
    Protocol("ssh", "SSH", "proxy"),
    Protocol("bittorrent", "BitTorrent", "peer-to-peer"),
    Protocol("teamviewer", "TeamViewer", "remote-desktop"),
    Protocol("anydesk", "AnyDesk", "remote-desktop"),
    Protocol("rdp", "Remote Desktop (RDP)", "remote-desktop"),
)
"""All protocols, by category."""

BY_ID: Final = {protocol.id: protocol for protocol in PROTOCOLS}


def of_category(mask: int) -> tuple[Protocol, ...]:
    """Return the protocols that the categories of a ``mask`` decide about, in the order of the table."""
    return tuple(p for p in PROTOCOLS if CATEGORIES_BY_ID[p.category].mask & mask)
