"""Upstreams as the configuration writes them: whom the sinkhole forwards to."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from gate_core.clients import Address
from gate_core.names import MalformedNameError, parse_name

DNS_PORT: Final = 53
TLS_PORT: Final = 853
"""RFC 7858, section 3.1."""

_TLS: Final = "tls://"
_BROADCAST: Final = IPv4Address("255.255.255.255")
_FORMS: Final = "192.0.2.1, 192.0.2.1:5353, [2001:db8::1]:5353 or tls://192.0.2.1#dns.example.net"


class MalformedUpstreamError(ValueError):
    """A text that names no upstream; the message is the end of a sentence that begins with it."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """One resolver or server to forward to."""

    address: Address
    port: int = DNS_PORT
    tls_name: str = ""
    """Name that its certificate must have (RFC 8310, section 8.1); "" where it is asked in clear text."""

    def __str__(self) -> str:
        """Return the shortest text that ``parse_upstream`` takes for it."""
        if self.port == (TLS_PORT if self.tls_name else DNS_PORT):
            where = str(self.address)
        elif isinstance(self.address, IPv6Address):
            where = f"[{self.address}]:{self.port}"
        else:
            where = f"{self.address}:{self.port}"
        return f"{_TLS}{where}#{self.tls_name}" if self.tls_name else where


def parse_upstream(text: str) -> Upstream:
    """Return the upstream in ``text``.

    >>> parse_upstream("tls://[2001:db8::1]:8853#dns.example.net").port
    8853

    Raises:
        MalformedUpstreamError: It is none.
    """
    encrypted = text.startswith(_TLS)
    where, mark, name = text.removeprefix(_TLS).partition("#")
    if encrypted != bool(mark):
        raise MalformedUpstreamError(
            "lacks 'tls://' or the name in its certificate, such as tls://192.0.2.1#dns.example.net"
        )
    host, port_text = _split(where)
    try:
        address = ip_address(host)
        port = int(port_text) if port_text else TLS_PORT if encrypted else DNS_PORT
    except ValueError:
        raise MalformedUpstreamError(f"is not an upstream such as {_FORMS}") from None
    if address.is_unspecified or address.is_multicast or address == _BROADCAST:
        raise MalformedUpstreamError("is not the address of a single machine")
    if not 1 <= port <= 65535:
        raise MalformedUpstreamError("has a port that is not from 1 to 65535")
    try:
        return Upstream(address, port, parse_name(name) if encrypted else "")
    except MalformedNameError as e:
        raise MalformedUpstreamError(f"has no good name for its certificate: {e}") from None


def _split(where: str) -> tuple[str, str]:
    """Return address and port of ``192.0.2.1:53``, ``[2001:db8::1]:53`` or an address alone; what is neither, whole."""
    if where.startswith("["):
        host, _, rest = where[1:].partition("]")
        if not rest or (rest[0] == ":" and _is_number(rest[1:])):
            return host, rest[1:]
    elif where.count(":") == 1:
        host, _, port = where.partition(":")
        if _is_number(port):
            return host, port
    return where, ""


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5
